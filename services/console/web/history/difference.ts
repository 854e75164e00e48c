import type { Patch, Prop } from "@automerge/automerge/slim";

/** A range of characters, `to` excluded. */
export type Range = { from: number; to: number };

/** What a change did to a text, in terms of the text after it. */
export type TextDifference = { inserted: Range[]; removedAt: number[] };

/** Patches apply one after the other, so each moves the places that the ones before it touched. */
export function textDifference(patches: readonly Patch[], path: readonly Prop[]): TextDifference {
  let inserted: Range[] = [];
  let removedAt: number[] = [];
  for (const patch of patches) {
    const index = indexBelow(path, patch.path);
    if (index === null) continue;
    if (patch.action === "splice") {
      const { length } = patch.value;
      const shift = (at: number): number => (at >= index ? at + length : at);
      inserted = inserted.map(({ from, to }) => ({ from: shift(from), to: to > index ? to + length : to }));
      removedAt = removedAt.map(shift);
      inserted.push({ from: index, to: index + length });
    } else if (patch.action === "del") {
      const end = index + (patch.length ?? 1);
      const shift = (at: number): number => (at >= end ? at - (end - index) : Math.min(at, index));
      inserted = inserted.map(({ from, to }) => ({ from: shift(from), to: shift(to) }));
      removedAt = [...removedAt.map(shift), index];
    }
  }
  return { inserted: joined(inserted.filter(({ from, to }) => from < to)), removedAt: [...new Set(removedAt)].sort(ascending) };
}

/** The index of a patch that touches the sequence at `path`, or null. */
export function indexBelow(path: readonly Prop[], patchPath: readonly Prop[]): number | null {
  const index = patchPath[path.length];
  const isBelow = patchPath.length === path.length + 1 && path.every((part, depth) => patchPath[depth] === part);
  return isBelow && typeof index === "number" ? index : null;
}

function joined(ranges: Range[]): Range[] {
  const result: Range[] = [];
  for (const range of ranges.sort((a, b) => a.from - b.from)) {
    const last = result.at(-1);
    if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
    else result.push({ ...range });
  }
  return result;
}

function ascending(a: number, b: number): number {
  return a - b;
}
