import * as A from "@automerge/automerge/slim";
import type { DocHandle } from "@automerge/automerge-repo/slim";
import { type Author, type Content, TEXT_PATH, TITLE_PATH, type Todo } from "./content";
import { layFoundation } from "./foundation";

/** A range of the text replaced by other text. Offsets are UTF-16 code units, as in JavaScript strings. */
export type Splice = { at: number; remove: number; insert: string };

/** Every edit the page can make to a document. One call is one change in its history. */
export class Edits {
  readonly #handle: DocHandle<Content>;
  readonly #author: () => Author;

  constructor(handle: DocHandle<Content>, author: () => Author) {
    this.#handle = handle;
    this.#author = author;
  }

  setTitle(title: string): void {
    this.#change((doc) => {
      if (typeof doc.title === "string") A.updateText(doc, [...TITLE_PATH], title);
      else doc.title = title;
    });
  }

  /** The splices apply one after the other: each counts in the text that the ones before it left. */
  spliceText(splices: readonly Splice[]): void {
    this.#change((doc) => {
      // A fresh path each time, because `splice` consumes the array it is given.
      for (const { at, remove, insert } of splices) A.splice(doc, [...TEXT_PATH], at, remove, insert);
    });
  }

  addTodo(title: string): void {
    this.#change((doc) => {
      doc.todos.push({ id: randomId(), title, done: false });
    });
  }

  setTodoTitle(id: string, title: string): void {
    this.#changeTodo(id, (doc, index) => {
      const todo: Todo | undefined = doc.todos[index];
      if (typeof todo?.title === "string") A.updateText(doc, ["todos", index, "title"], title);
      else if (todo !== undefined) todo.title = title;
    });
  }

  setTodoDone(id: string, done: boolean): void {
    this.#changeTodo(id, (doc, index) => {
      const todo: Todo | undefined = doc.todos[index];
      if (todo !== undefined) todo.done = done;
    });
  }

  removeTodo(id: string): void {
    this.#changeTodo(id, (doc, index) => {
      doc.todos.splice(index, 1);
    });
  }

  #changeTodo(id: string, edit: (doc: Content, index: number) => void): void {
    const index = this.#handle.doc().todos?.findIndex((todo) => todo.id === id) ?? -1;
    // Somebody else may have removed it a moment ago.
    if (index >= 0) this.#change((doc) => edit(doc, index));
  }

  #change(edit: (doc: Content) => void): void {
    layFoundation(this.#handle);
    const actor = A.getActorId(this.#handle.doc());
    const author = this.#author();
    this.#handle.change((doc) => {
      edit(doc);
      const known = doc.authors[actor];
      if (known?.name !== author.name || known.colour !== author.colour) doc.authors[actor] = { ...author };
    });
  }
}

/** 64 random bits. (`crypto.randomUUID` is missing on pages that came over plain HTTP from another machine.) */
function randomId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
