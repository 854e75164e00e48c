import assert from "node:assert/strict";
import { test } from "node:test";
import { type DocHandle, Repo } from "@automerge/automerge-repo";
import { type Content, EMPTY, foreignFields, read } from "../../web/document/content";
import { Edits } from "../../web/document/edits";
import { parseLink } from "../../web/document/link";
import { A } from "./automerge";

function edits(handle: DocHandle<Content>, name = "Quiet Heron"): Edits {
  return new Edits(handle, () => ({ name, colour: 2 }));
}

function bare(binary: Uint8Array): DocHandle<Content> {
  return new Repo().import<Content>(binary);
}

test("every edit is one change, and the first one signs", () => {
  const handle = new Repo().create<Content>(structuredClone(EMPTY));
  const edit = edits(handle);
  const steps: (() => void)[] = [
    () => edit.setTitle("Plans"),
    () => edit.spliceText([{ at: 0, remove: 0, insert: "abc" }, { at: 1, remove: 1, insert: "BB" }]),
    () => edit.addTodo("Water the plants"),
    () => edit.setTodoDone(handle.doc().todos[0]?.id ?? "", true),
    () => edit.setTodoTitle(handle.doc().todos[0]?.id ?? "", "Water all plants"),
  ];
  for (const step of steps) {
    const before = A.getHeads(handle.doc());
    step();
    assert.equal(A.getChangesMetaSince(handle.doc(), before).length, 1);
  }
  const { title, text, todos, authors } = read(handle.doc());
  assert.deepEqual({ title, text }, { title: "Plans", text: "aBBc" });
  assert.deepEqual(todos.map(({ title, done }) => [title, done]), [["Water all plants", true]]);
  assert.deepEqual(authors, { [A.getActorId(handle.doc())]: { name: "Quiet Heron", colour: 2 } });

  edit.removeTodo(todos[0]?.id ?? "");
  assert.deepEqual(read(handle.doc()).todos, []);
  const heads = A.getHeads(handle.doc());
  edit.removeTodo("gone already");
  assert.deepEqual(A.getHeads(handle.doc()), heads);
});

test("two people who start writing in a bare document at once keep both their words", () => {
  const binary = A.save(A.emptyChange(A.init()));
  const [one, two] = [bare(binary), bare(binary)];
  edits(one, "One").spliceText([{ at: 0, remove: 0, insert: "one" }]);
  edits(two, "Two").spliceText([{ at: 0, remove: 0, insert: "two" }]);
  edits(two, "Two").addTodo("also this");
  edits(one, "One").addTodo("and this");
  const merged = A.merge(A.clone(one.doc()), A.clone(two.doc()));
  const { text, todos, authors } = read(merged);
  assert.ok(text === "onetwo" || text === "twoone", text);
  assert.deepEqual(todos.map(({ title }) => title).sort(), ["also this", "and this"]);
  assert.deepEqual(Object.values(authors).map(({ name }) => name).sort(), ["One", "Two"]);
});

test("a document of another shape is read as far as it goes", () => {
  const doc = A.from<Record<string, unknown>>({
    title: new A.ImmutableString("Fixed"),
    text: ["not", "a", "text"],
    todos: [{ id: "1", title: "real" }, "odd", { title: "no id" }, { id: "2", done: "yes" }],
    authors: { aa: { name: "Known", colour: 1 }, bb: "odd" },
    extra: 1,
  }) as unknown as A.Doc<Content>;
  assert.deepEqual(read(doc), {
    title: "Fixed",
    text: "",
    todos: [{ id: "1", title: "real", done: false }, { id: "2", title: "", done: false }],
    authors: { aa: { name: "Known", colour: 1 } },
  });
  assert.deepEqual(foreignFields(doc), ["text"]);
  const handle = bare(A.save(doc));
  edits(handle).setTitle("Changed");
  assert.equal(read(handle.doc()).title, "Changed");
});

test("links are told apart", () => {
  const { url, documentId } = new Repo().create();
  assert.deepEqual(parseLink(""), { kind: "none" });
  assert.deepEqual(parseLink("#"), { kind: "none" });
  for (const hash of [`#${url}`, `#${documentId}`, `#${encodeURIComponent(url)}`]) {
    assert.deepEqual(parseLink(hash), { kind: "document", url });
  }
  assert.deepEqual(parseLink(`#${url.slice(0, -1)}`), { kind: "invalid", text: url.slice(0, -1) });
  assert.equal(parseLink("#%E0%A4%A").kind, "invalid");
});
