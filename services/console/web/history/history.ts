import * as A from "@automerge/automerge/slim";
import type { DocHandle } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, computed, signal } from "@preact/signals";
import { type Content, TEXT_PATH, read } from "../document/content";
import { type TextDifference, textDifference } from "./difference";
import { Playback } from "./playback";
import { type HistoryPage, type ServerChange, fetchHistoryPage } from "./serverHistory";
import { type Entry, timeline } from "./timeline";

/** The document as it was after one step of its history. */
export type Moment = { entry: Entry; content: Content; difference: TextDifference };

/** How far the server's part of the history is known. */
export type Loading =
  | { kind: "loading"; known: number; total: number }
  | { kind: "complete" }
  | { kind: "failed"; reason: string };

/** Edits come in bursts; the server is asked once for each burst. */
const REFRESH_MS = 400;

/** The past of one document: what happened, and the state after any step. Asks the server only while it is open. */
export class History {
  readonly #isOpen = signal(false);
  readonly #entries = signal<readonly Entry[]>([]);
  readonly #position = signal(0);
  readonly #loading = signal<Loading>({ kind: "complete" });
  readonly isOpen: ReadonlySignal<boolean> = this.#isOpen;
  readonly entries: ReadonlySignal<readonly Entry[]> = this.#entries;
  readonly loading: ReadonlySignal<Loading> = this.#loading;
  /** The number of the entry that is shown. */
  readonly position: ReadonlySignal<number> = this.#position;
  readonly moment: ReadonlySignal<Moment | null> = computed(() => this.#momentAt(this.#position.value));
  readonly playback = new Playback((position) => {
    this.#position.value = position;
  });

  readonly #handle: DocHandle<Content>;
  #logged: ServerChange[] = [];
  #fetching = new AbortController();
  #refresh: number | undefined;

  constructor(handle: DocHandle<Content>) {
    this.#handle = handle;
    handle.on("heads-changed", this.#onChange);
  }

  dispose(): void {
    this.close();
    this.#handle.off("heads-changed", this.#onChange);
  }

  open(): void {
    if (this.#isOpen.peek()) return;
    this.#arrange();
    this.#position.value = this.#entries.peek().length;
    this.#isOpen.value = true;
    void this.#fetch();
  }

  close(): void {
    this.playback.stop();
    this.#fetching.abort();
    clearTimeout(this.#refresh);
    this.#refresh = undefined;
    this.#isOpen.value = false;
  }

  /** Shows the state after the first `number` changes. */
  goTo(number: number): void {
    this.playback.stop();
    this.#position.value = Math.min(Math.max(1, Math.round(number)), this.#entries.peek().length);
  }

  /** Plays from the moment shown; from the beginning when that is the last one. */
  play(): void {
    const { length } = this.#entries.peek();
    const from = this.#position.peek();
    this.playback.start(from >= length ? 1 : from, length);
  }

  #momentAt(position: number): Moment | null {
    const entries = this.#entries.value;
    const entry = entries[position - 1];
    if (!this.#isOpen.value || entry === undefined) return null;
    const doc = this.#handle.doc();
    const patches = A.diff(doc, entries[position - 2]?.heads ?? [], entry.heads);
    return { entry, content: read(A.view(doc, entry.heads)), difference: textDifference(patches, TEXT_PATH) };
  }

  readonly #onChange = (): void => {
    if (!this.#isOpen.peek() || this.#refresh !== undefined) return;
    this.#refresh = window.setTimeout(() => {
      this.#refresh = undefined;
      this.#arrange();
      void this.#fetch();
    }, REFRESH_MS);
  };

  /** Puts the timeline together anew, staying at the change that is shown. */
  #arrange(): void {
    const shown = this.#entries.peek()[this.#position.peek() - 1];
    const local = A.getChangesMetaSince(this.#handle.doc(), []).map(({ hash, actor, deps, time }) => {
      // Automerge counts seconds.
      return { hash, actor, deps, time: time * 1000 };
    });
    const entries = timeline(this.#logged, local);
    const unmoved = shown !== undefined && entries[shown.number - 1]?.hash === shown.hash;
    if (shown !== undefined && !unmoved) {
      this.#position.value = (entries.findIndex(({ hash }) => hash === shown.hash) + 1) || entries.length;
    }
    this.#entries.value = entries;
  }

  async #fetch(): Promise<void> {
    this.#fetching.abort();
    this.#fetching = new AbortController();
    const { signal: aborted } = this.#fetching;
    try {
      const isWhole = await this.#fetchFrom(this.#logged.length, aborted);
      // The log only grows at its end. If it seems not to (a restored server, say), what is known of it is void.
      if (!isWhole) await this.#fetchFrom(0, aborted);
      this.#loading.value = { kind: "complete" };
    } catch (error) {
      if (aborted.aborted) return;
      this.#loading.value = { kind: "failed", reason: error instanceof Error ? error.message : String(error) };
    }
    this.#arrange();
  }

  /** Returns whether what is known now is the server's whole list. */
  async #fetchFrom(start: number, aborted: AbortSignal): Promise<boolean> {
    let total = 0;
    for (let next: number | null = start; next !== null; ) {
      const page: HistoryPage = await fetchHistoryPage(this.#handle.documentId, next, aborted);
      aborted.throwIfAborted();
      this.#logged = [...this.#logged.slice(0, next), ...page.changes];
      ({ total, next } = page);
      this.#loading.value = { kind: "loading", known: this.#logged.length, total };
    }
    return new Set(this.#logged.map(({ hash }) => hash)).size === total;
  }
}
