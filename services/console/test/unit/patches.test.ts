import assert from "node:assert/strict";
import { test } from "node:test";
import { ChangeSet, EditorState } from "@codemirror/state";
import { editorText, patchesToChange, replacement } from "../../web/editor/patches";
import { A, randomNumbers } from "./automerge";

type Doc = { text: string; other: string };

const PIECES = ["a", "b c", "\n", "\r\n", "é", "🌱", "👩‍👩‍👧", "long enough to matter"];

test("any edits of a document, as patches, take the editor to the same text", () => {
  for (let seed = 1; seed <= 150; seed += 1) {
    const random = randomNumbers(seed);
    let doc = A.from<Doc>({ text: "Begin\r\n🌱 here", other: "elsewhere" });
    let editor = EditorState.create({ doc: editorText(doc.text), extensions: EditorState.lineSeparator.of("\n") });
    for (let round = 0; round < 12; round += 1) {
      const before = A.getHeads(doc);
      // Two authors at once, so that one batch of patches touches several places.
      let twin = A.clone(doc);
      doc = edit(doc, random);
      twin = edit(twin, random);
      doc = A.merge(doc, twin);
      const patches = A.diff(doc, before, A.getHeads(doc));
      const changes = patchesToChange(patches, ["text"], editor.doc.length);
      assert.ok(changes instanceof ChangeSet, `seed ${seed}: ${JSON.stringify(patches)}`);
      editor = editor.update({ changes }).state;
      assert.equal(editor.sliceDoc(), doc.text, `seed ${seed}, round ${round}`);
    }
  }
});

function edit(doc: A.Doc<Doc>, random: (below: number) => number): A.Doc<Doc> {
  return A.change(doc, (draft) => {
    for (let splice = random(3); splice >= 0; splice -= 1) {
      const at = random(draft.text.length + 1);
      const remove = Math.min(random(4), draft.text.length - at);
      A.splice(draft, ["text"], at, remove, random(3) === 0 ? "" : PIECES[random(PIECES.length)]);
    }
    if (random(4) === 0) A.splice(draft, ["other"], 0, 0, "x");
  });
}

test("a text that was replaced as a whole is not expressed as an editor change", () => {
  const before = A.from<Doc>({ text: "one", other: "" });
  const after = A.change(A.clone(before), (draft) => {
    draft.text = "two";
  });
  const patches = A.diff(after, A.getHeads(before), A.getHeads(after));
  assert.equal(patchesToChange(patches, ["text"], 3), null);
});

test("patches that do not fit the editor are refused instead of thrown on", () => {
  const tooFar: A.Patch[] = [{ action: "splice", path: ["text", 9], value: "x" }];
  assert.equal(patchesToChange(tooFar, ["text"], 3), null);
  assert.equal(patchesToChange([{ action: "del", path: ["text", 2], length: 5 }], ["text"], 3), null);
});

test("a replacement is minimal and right", () => {
  assert.equal(replacement("same", "same"), null);
  assert.deepEqual(replacement("abcd", "abXcd"), { from: 2, to: 2, insert: "X" });
  assert.deepEqual(replacement("aaa", "aa"), { from: 2, to: 3, insert: "" });
  assert.deepEqual(replacement("", "new"), { from: 0, to: 0, insert: "new" });
  const random = randomNumbers(7);
  const word = (): string => Array.from({ length: random(8) }, () => "ab"[random(2)]).join("");
  for (let round = 0; round < 2_000; round += 1) {
    const [before, after] = [word(), word()];
    const change = replacement(before, after);
    const result = change === null ? before : before.slice(0, change.from) + change.insert + before.slice(change.to);
    assert.equal(result, after);
  }
});
