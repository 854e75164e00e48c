import type { Patch, Prop } from "@automerge/automerge/slim";
import { ChangeSet, Text } from "@codemirror/state";
import { indexBelow } from "../history/difference";

const LINE_BREAK = "\n";

/** The text of a document as the editor holds it: lines end at "\n" alone, so that offsets mean the same to both. */
export function editorText(text: string): Text {
  return Text.of(text.split(LINE_BREAK));
}

/**
 * Automerge's patches to the text at `path` as one editor change, or null when one of them is more than inserted or
 * removed characters (the text was replaced as a whole, say): then compare the texts instead.
 */
export function patchesToChange(patches: readonly Patch[], path: readonly Prop[], length: number): ChangeSet | null {
  let whole = ChangeSet.empty(length);
  for (const patch of patches) {
    if (path.some((part, depth) => depth < patch.path.length && patch.path[depth] !== part)) continue;
    if (patch.action === "mark" || patch.action === "unmark") continue;
    const from = indexBelow(path, patch.path);
    if (from === null) return null;
    if (patch.action === "splice") {
      if (from > whole.newLength) return null;
      whole = whole.compose(ChangeSet.of({ from, insert: editorText(patch.value) }, whole.newLength));
    } else if (patch.action === "del") {
      const to = from + (patch.length ?? 1);
      if (to > whole.newLength) return null;
      whole = whole.compose(ChangeSet.of({ from, to }, whole.newLength));
    } else {
      return null;
    }
  }
  return whole;
}

/** The smallest single replacement that turns one text into the other, or null when they are equal. */
export function replacement(before: string, after: string): { from: number; to: number; insert: string } | null {
  if (before === after) return null;
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < shorter - start && before.at(-1 - end) === after.at(-1 - end)) end += 1;
  return { from: start, to: before.length - end, insert: after.slice(start, after.length - end) };
}
