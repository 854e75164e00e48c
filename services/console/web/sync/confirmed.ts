import * as A from "@automerge/automerge/slim";

/**
 * Which of a document's changes the server has said it holds durably.
 *
 * The server names the heads of what it has committed. A change is confirmed when it is one of those heads or an
 * ancestor of one.
 */
export class Confirmed {
  #heads: A.Heads;
  #reported: A.Heads | null = null;

  /** `heads`: what was confirmed on an earlier visit, if anything. */
  constructor(heads: A.Heads = []) {
    this.#heads = heads;
  }

  /** Heads below which everything is confirmed, as far as this document knows them. */
  get heads(): A.Heads {
    return this.#heads;
  }

  report(heads: A.Heads): void {
    this.#reported = heads;
  }

  /** Changes of `doc` that the server has not confirmed. Call after a report, and after any change of `doc`. */
  missing(doc: A.Doc<unknown>): number {
    if (this.#reported !== null) {
      const known = headsIn(doc, this.#reported);
      // A head we do not know yet is somebody's edit on its way to us. It stands above what was confirmed before, so
      // that stays confirmed. With all heads known, the report alone counts: also if it says less than the last one.
      const isAhead = known.length < this.#reported.length;
      this.#heads = isAhead ? [...new Set([...this.#heads, ...known])] : known;
    }
    return A.getChangesMetaSince(doc, headsIn(doc, this.#heads)).length;
  }
}

/** Those of `heads` that `doc` has. (`hasHeads` would say so too, but by rebuilding each change: slow in long texts.) */
function headsIn(doc: A.Doc<unknown>, heads: A.Heads): A.Heads {
  const missing = new Set(A.getMissingDeps(doc, heads));
  return heads.filter((head) => !missing.has(head));
}
