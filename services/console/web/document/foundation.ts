import * as A from "@automerge/automerge/slim";
import type { DocHandle } from "@automerge/automerge-repo/slim";
import { type Content, EMPTY } from "./content";

/**
 * Gives a document the fields it lacks, before its first edit here.
 *
 * Two people who open the same bare document (one made through the HTTP interface, say) and each create `text` would
 * create two different texts, of which automerge shows one: the other person's words would vanish. So the change that
 * creates a field is the same everywhere, byte for byte (fixed actor, time 0, no dependencies), and being the same
 * change it merges with itself.
 */
export function layFoundation(handle: DocHandle<Content>): void {
  const found: Partial<Content> = handle.doc();
  const missing = FIELDS.filter((field) => found[field] === undefined);
  if (missing.length === 0) return;
  handle.update((doc) => A.applyChanges(doc, missing.map(fieldChange))[0]);
}

const FIELDS: readonly (keyof Content)[] = ["title", "text", "todos", "authors"];

function fieldChange(field: keyof Content): A.Change {
  const actor = `f0${FIELDS.indexOf(field).toString(16).padStart(30, "0")}`;
  const blank = A.init<Record<string, unknown>>({ actor });
  const laid = A.change(blank, { time: 0 }, (doc) => {
    doc[field] = structuredClone(EMPTY[field]);
  });
  const change = A.getLastLocalChange(laid);
  if (change === undefined) throw new Error(`laying "${field}" made no change`);
  return change;
}
