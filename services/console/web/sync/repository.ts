import { initializeWasm } from "@automerge/automerge/slim";
import automergeWasm from "@automerge/automerge/automerge.wasm?url";
import { Repo } from "@automerge/automerge-repo/slim";
import { IndexedDBStorageAdapter } from "@automerge/automerge-repo-storage-indexeddb";
import type { Door } from "../access/door";
import { webSocketUrl } from "../access/server";
import { Connection } from "./connection";

const DATABASE = "aetherflow";

export type Repository = {
  repo: Repo;
  connection: Connection;
  /** Whether edits survive the closing of this tab before the server has them. */
  keepsEdits: boolean;
};

export async function openRepository(door: Door): Promise<Repository> {
  const [keepsEdits] = await Promise.all([canStore(), initializeWasm(automergeWasm)]);
  const connection = new Connection(webSocketUrl(), door);
  const repo = new Repo({
    network: [connection],
    ...(keepsEdits ? { storage: new IndexedDBStorageAdapter(DATABASE) } : {}),
  });

  addEventListener("online", () => connection.retry());
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "visible") connection.retry();
    // The last chance to write what the repo still holds back for its save interval: the tab may never be seen again.
    else void repo.flush().catch(reportFlush);
  });
  return { repo, connection, keepsEdits };
}

/** IndexedDB exists but fails to open in some private windows, and the repo would wait for it for ever. */
async function canStore(): Promise<boolean> {
  return new Promise((resolve) => {
    try {
      const request = indexedDB.open(`${DATABASE}-probe`);
      request.onsuccess = () => {
        request.result.close();
        resolve(true);
      };
      request.onerror = () => resolve(false);
    } catch {
      resolve(false);
    }
  });
}

function reportFlush(error: unknown): void {
  console.warn("could not write to the local store", error);
}
