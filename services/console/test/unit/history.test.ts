import assert from "node:assert/strict";
import { test } from "node:test";
import { textDifference } from "../../web/history/difference";
import type { ServerChange } from "../../web/history/serverHistory";
import { type LocalChange, timeline } from "../../web/history/timeline";
import { A, randomNumbers } from "./automerge";

type Doc = { text: string };

/** A document with two authors whose changes are interwoven. */
function written(seed: number): A.Doc<Doc> {
  const random = randomNumbers(seed);
  let one = A.from<Doc>({ text: "" }, { actor: "aa" });
  let two = A.clone(one, { actor: "bb" });
  const type = (doc: A.Doc<Doc>): A.Doc<Doc> =>
    A.change(doc, { time: 1000 + random(100) }, (draft) => A.splice(draft, ["text"], random(draft.text.length + 1), 0, "x"));
  for (let step = 0; step < 30; step += 1) {
    if (random(2) === 0) one = type(one);
    else two = type(two);
    if (random(4) === 0) one = A.merge(one, two);
    if (random(4) === 0) two = A.merge(two, one);
  }
  return A.merge(one, two);
}

function local(doc: A.Doc<Doc>): LocalChange[] {
  return A.getChangesMetaSince(doc, []).map(({ hash, actor, deps, time }) => ({ hash, actor, deps, time: time * 1000 }));
}

function logged(changes: readonly LocalChange[]): ServerChange[] {
  return changes.map(({ hash, actor, time }, index) => ({
    hash,
    actor,
    time,
    operations: 1,
    offset: 10 + index * 2,
    committed: time + 5,
  }));
}

test("every step of the timeline has the heads of exactly the changes up to it", () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const doc = written(seed);
    const entries = timeline(logged(local(doc)), local(doc));
    assert.equal(entries.length, A.getAllChanges(doc).length);
    let replayed = A.init<Doc>();
    for (const [index, entry] of entries.entries()) {
      const change = A.getAllChanges(doc).find((bytes) => A.decodeChange(bytes).hash === entry.hash);
      assert.ok(change);
      [replayed] = A.applyChanges(replayed, [change]);
      assert.equal(entry.number, index + 1);
      assert.deepEqual([...entry.heads].sort(), [...A.getHeads(replayed)].sort());
      assert.deepEqual(A.toJS(A.view(doc, entry.heads)), A.toJS(replayed));
    }
  }
});

test("the server's order leads, and changes it lacks follow without an offset", () => {
  const doc = written(3);
  const all = local(doc);
  const known = logged(all).slice(0, -4);
  const entries = timeline(known, all);
  assert.deepEqual(entries.map(({ hash }) => hash), all.map(({ hash }) => hash));
  assert.ok(entries.slice(0, -4).every((entry, index) => entry.logged?.offset === known[index]?.offset));
  assert.ok(entries.slice(-4).every((entry) => entry.logged === null));
});

test("without the server the document's own order serves", () => {
  const doc = written(4);
  assert.deepEqual(timeline([], local(doc)).map(({ hash }) => hash), local(doc).map(({ hash }) => hash));
});

test("the server's changes wait for those that are not here yet", () => {
  const doc = written(5);
  const all = local(doc);
  const entries = timeline(logged(all), all.slice(0, 10));
  assert.deepEqual(entries.map(({ hash }) => hash), all.slice(0, 10).map(({ hash }) => hash));
  assert.deepEqual(timeline([], []), []);
});

test("a difference names what was inserted and where something went", () => {
  const splice = (index: number, value: string): A.Patch => ({ action: "splice", path: ["text", index], value });
  const remove = (index: number, length: number): A.Patch => ({ action: "del", path: ["text", index], length });
  const at = (...patches: A.Patch[]) => textDifference(patches, ["text"]);

  assert.deepEqual(at(), { inserted: [], removedAt: [] });
  assert.deepEqual(at(splice(2, "abc")), { inserted: [{ from: 2, to: 5 }], removedAt: [] });
  assert.deepEqual(at(splice(2, "abc"), splice(0, "xy")).inserted, [{ from: 0, to: 2 }, { from: 4, to: 7 }]);
  assert.deepEqual(at(splice(2, "abc"), splice(3, "-")).inserted, [{ from: 2, to: 6 }]);
  assert.deepEqual(at(splice(0, "ab"), splice(2, "cd")).inserted, [{ from: 0, to: 4 }]);
  assert.deepEqual(at(remove(4, 2)), { inserted: [], removedAt: [4] });
  assert.deepEqual(at(splice(2, "abc"), remove(0, 3)), { inserted: [{ from: 0, to: 2 }], removedAt: [0] });
  assert.deepEqual(at(splice(2, "abc"), remove(1, 9)), { inserted: [], removedAt: [1] });
  assert.deepEqual(at({ action: "splice", path: ["title", 0], value: "x" }), { inserted: [], removedAt: [] });
});
