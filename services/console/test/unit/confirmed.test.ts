import assert from "node:assert/strict";
import { test } from "node:test";
import { Confirmed } from "../../web/sync/confirmed";
import { A } from "./automerge";

type Doc = { count: number };

function increment(doc: A.Doc<Doc>): A.Doc<Doc> {
  return A.change(doc, (draft) => {
    draft.count += 1;
  });
}

test("nothing is confirmed before the server speaks", () => {
  const doc = increment(A.from<Doc>({ count: 0 }));
  assert.equal(new Confirmed().missing(doc), 2);
});

test("a change is confirmed with the heads above it", () => {
  const first = A.from<Doc>({ count: 0 });
  const held = A.getHeads(first);
  const doc = increment(increment(A.clone(first)));
  const confirmed = new Confirmed();
  confirmed.report(held);
  assert.equal(confirmed.missing(doc), 2);
  confirmed.report(A.getHeads(doc));
  assert.equal(confirmed.missing(doc), 0);
});

test("heads that are still unknown here confirm nothing, and unsettle nothing", () => {
  const ours = increment(A.from<Doc>({ count: 0 }));
  const confirmed = new Confirmed();
  confirmed.report(A.getHeads(ours));
  assert.equal(confirmed.missing(ours), 0);

  const theirs = increment(A.clone(ours));
  confirmed.report(A.getHeads(theirs));
  assert.equal(confirmed.missing(ours), 0, "what was confirmed stays so while theirs is on its way");
  const both = A.merge(increment(A.clone(ours)), theirs);
  assert.equal(confirmed.missing(both), 1, "theirs confirms itself; our newest edit is not under it");
});

test("a concurrent edit of ours is not confirmed by a head beside it", () => {
  const base = A.from<Doc>({ count: 0 });
  const theirs = increment(A.clone(base));
  const ours = A.merge(increment(A.clone(base)), theirs);
  const confirmed = new Confirmed();
  confirmed.report(A.getHeads(theirs));
  assert.equal(confirmed.missing(ours), 1);
});

test("a server that turns out to hold less is believed", () => {
  const first = A.from<Doc>({ count: 0 });
  const held = A.getHeads(first);
  const doc = increment(A.clone(first));
  const confirmed = new Confirmed(A.getHeads(doc));
  assert.equal(confirmed.missing(doc), 0);
  confirmed.report(held);
  assert.equal(confirmed.missing(doc), 1);
  confirmed.report([]);
  assert.equal(confirmed.missing(doc), 2, "also when it holds nothing at all");
});

test("remembered heads of a document that is not here confirm nothing", () => {
  assert.equal(new Confirmed(["00".repeat(32)]).missing(A.from<Doc>({ count: 0 })), 1);
});
