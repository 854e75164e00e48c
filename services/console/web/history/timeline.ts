import type { Heads } from "@automerge/automerge/slim";
import type { ServerChange } from "./serverHistory";

/** A change of the document as this window has it. */
export type LocalChange = { hash: string; actor: string; deps: Heads; time: number };

/** One step of the document's history. */
export type Entry = {
  /** Counts from 1. */
  number: number;
  hash: string;
  actor: string;
  /** Milliseconds since 1970, on the author's clock; 0 when the author did not say. */
  written: number;
  /** What the server's log knows about it; null while only this window has the change. */
  logged: { offset: number; committed: number } | null;
  /** The heads of the document after this change and all before it. */
  heads: Heads;
};

/**
 * The history in the server's order, then what the server does not have yet.
 *
 * The server's list says which change stands where in the log, this window's document says what each depends on, and
 * both together give the heads (so, the state) after every step.
 */
export function timeline(logged: readonly ServerChange[], local: readonly LocalChange[]): Entry[] {
  const here = new Map(local.map((change) => [change.hash, change]));
  const entries: Entry[] = [];
  let heads: Heads = [];
  const append = (change: LocalChange, at: Entry["logged"]): void => {
    heads = headsAfter(heads, change);
    const { hash, actor, time: written } = change;
    entries.push({ number: entries.length + 1, hash, actor, written, logged: at, heads });
  };

  for (const { hash, time, offset, committed } of logged) {
    const change = here.get(hash);
    // It is still on its way here, and later ones may build on it: they join the timeline when it has come.
    if (change === undefined) break;
    here.delete(hash);
    append({ ...change, time }, { offset, committed });
  }
  // What is left is in the document's own order, in which every change also follows its dependencies. A change that
  // depends on one the loop above did not reach is in `here` with it, so no step lacks its ground.
  for (const change of here.values()) append(change, null);
  return entries;
}

function headsAfter(heads: Heads, { hash, deps }: LocalChange): Heads {
  return [...heads.filter((head) => !deps.includes(head)), hash];
}
