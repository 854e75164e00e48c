import type { DocumentId } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, type Signal, effect, signal } from "@preact/signals";
import type { Connection } from "../sync/connection";
import { fetchJson } from "./server";

/** What this tab may do with a document. `asked` says whether the server said so, or it is only presumed. */
export type May = { read: boolean; write: boolean; administer: boolean; asked: boolean };

const DEADLINE_MS = 5_000;
/** Nobody tells a window that it may do more than before. */
const ASK_AGAIN_MS = 10_000;
const EVERYTHING: May = { read: true, write: true, administer: true, asked: false };

/** What may be done with one document, kept up to date: asked again whenever there is a sign that it has changed. */
export class Standing {
  readonly #may: Signal<May>;
  readonly may: ReadonlySignal<May>;
  /** Resolves with the first answer, or when there is none to be had. */
  readonly settled: Promise<void>;
  readonly #documentId: DocumentId;
  readonly #connection: Connection;
  readonly #abort = new AbortController();
  readonly #cleanups: (() => void)[] = [];
  #asking = false;
  #isDue = false;

  constructor(documentId: DocumentId, connection: Connection) {
    this.#documentId = documentId;
    this.#connection = connection;
    this.#may = signal(recall(documentId) ?? EVERYTHING);
    this.may = this.#may;
    this.settled = this.ask();
    const timer = setInterval(() => {
      const { read, write } = this.may.peek();
      if (!(read && write) && connection.isConnected.peek() && document.visibilityState === "visible") void this.ask();
    }, ASK_AGAIN_MS);
    let isFirst = true;
    this.#cleanups.push(
      () => clearInterval(timer),
      effect(() => {
        void connection.objections.value;
        const isConnected = connection.isConnected.value;
        if (!isFirst && isConnected) void this.ask();
        isFirst = false;
      }),
    );
  }

  dispose(): void {
    this.#abort.abort();
    for (const cleanup of this.#cleanups) cleanup();
  }

  /** Asks the server; once more if there is reason to while the answer is on its way. */
  async ask(): Promise<void> {
    if (this.#asking) {
      this.#isDue = true;
      return;
    }
    this.#asking = true;
    try {
      do {
        this.#isDue = false;
        await this.#askOnce();
      } while (this.#isDue && !this.#abort.signal.aborted);
    } finally {
      this.#asking = false;
    }
  }

  async #askOnce(): Promise<void> {
    try {
      const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(DEADLINE_MS)]);
      const answer = await fetchJson(`v1/documents/${encodeURIComponent(this.#documentId)}/access`, signal);
      const before = this.may.peek();
      const next = readMay(answer);
      if (this.#abort.signal.aborted || next === null || JSON.stringify(next) === JSON.stringify(before)) return;
      this.#may.value = next;
      remember(this.#documentId, next);
      // Whoever was cut off hears nothing of the document until they come anew.
      if (next.read && !before.read) this.#connection.renew();
    } catch {
      // A server that cannot be asked has not changed its mind; it is asked again when the connection is back.
    }
  }
}

export function readMay(answer: unknown): May | null {
  const allows = typeof answer === "object" && answer !== null && "allows" in answer ? answer.allows : null;
  if (!Array.isArray(allows)) return null;
  const has = (operation: string): boolean => allows.includes(operation);
  return { read: has("read"), write: has("write"), administer: has("administer"), asked: true };
}

function key(documentId: DocumentId): string {
  return `aetherflow.may.${documentId}`;
}

/** Beside the token, and as long: another tab may be somebody else. */
function remember(documentId: DocumentId, may: May): void {
  try {
    sessionStorage.setItem(key(documentId), JSON.stringify(may));
  } catch {
    // It is asked again.
  }
}

function recall(documentId: DocumentId): May | null {
  try {
    // Written by `remember` alone; and the server decides, whatever is written here.
    return JSON.parse(sessionStorage.getItem(key(documentId)) ?? "null") as May | null;
  } catch {
    return null;
  }
}
