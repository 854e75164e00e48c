import type { Heads } from "@automerge/automerge/slim";
import { type DocHandle, type StorageId, decodeHeads } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, effect, signal } from "@preact/signals";
import type { Content } from "../document/content";
import { Confirmed } from "./confirmed";
import type { Connection } from "./connection";

/**
 * Where the newest edits are.
 * - `saved`: the server has confirmed every change in this window as durable
 * - `saving`: connected, `count` changes are on their way
 * - `waiting`: not connected, `count` changes are only here
 * - `unconfirmed`: connected to a server that does not say what it stores
 */
export type Saved = { kind: "saved" } | { kind: "saving" | "waiting"; count: number } | { kind: "unconfirmed" };

/** What a server had confirmed when the document was last open here; tells how much waits if it is opened offline. */
type Memory = { storage: StorageId; heads: Heads };

/** Derives the saved state of one document from the heads that the server's storage reports for it. */
export class Durability {
  readonly #saved = signal<Saved>({ kind: "waiting", count: 0 });
  readonly saved: ReadonlySignal<Saved> = this.#saved;
  readonly #handle: DocHandle<Content>;
  readonly #connection: Connection;
  readonly #stopWatching: () => void;
  #storage: StorageId | undefined;
  #confirmed: Confirmed;

  constructor(handle: DocHandle<Content>, connection: Connection) {
    this.#handle = handle;
    this.#connection = connection;
    const memory = this.#recall();
    this.#storage = memory?.storage;
    this.#confirmed = new Confirmed(memory?.heads);

    handle.on("heads-changed", this.#update);
    handle.on("remote-heads", this.#update);
    this.#stopWatching = effect(() => {
      void connection.phase.value;
      const storage = connection.storage.value;
      if (storage.kind === "known") this.#adopt(storage.id);
      this.#update();
    });
    addEventListener("pagehide", this.#remember);
  }

  dispose(): void {
    this.#stopWatching();
    removeEventListener("pagehide", this.#remember);
    this.#handle.off("heads-changed", this.#update);
    this.#handle.off("remote-heads", this.#update);
    this.#remember();
  }

  #adopt(storage: StorageId): void {
    // Another storage knows nothing of what this one confirmed.
    if (this.#storage !== undefined && this.#storage !== storage) this.#confirmed = new Confirmed();
    this.#storage = storage;
  }

  readonly #update = (): void => {
    const storage = this.#connection.storage.peek();
    if (storage.kind === "known") {
      const report = this.#handle.getSyncInfo(storage.id);
      if (report !== undefined) this.#confirmed.report(decodeHeads(report.lastHeads));
    }
    const count = this.#confirmed.missing(this.#handle.doc());
    if (count === 0) this.#saved.value = { kind: "saved" };
    else if (!this.#connection.isConnected.peek()) this.#saved.value = { kind: "waiting", count };
    else this.#saved.value = storage.kind === "none" ? { kind: "unconfirmed" } : { kind: "saving", count };
  };

  readonly #remember = (): void => {
    if (this.#storage === undefined) return;
    const memory: Memory = { storage: this.#storage, heads: this.#confirmed.heads };
    try {
      localStorage.setItem(this.#key, JSON.stringify(memory));
    } catch {
      // A full or forbidden store costs the exact number after an offline reload, nothing else.
    }
  };

  #recall(): Memory | null {
    try {
      // Written by `#remember` alone. Heads that make no sense are unknown to the document and so confirm nothing.
      return JSON.parse(localStorage.getItem(this.#key) ?? "null") as Memory | null;
    } catch {
      return null;
    }
  }

  get #key(): string {
    return `aetherflow.confirmed.${this.#handle.documentId}`;
  }
}
