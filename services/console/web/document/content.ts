import { type Doc, type Prop, isImmutableString } from "@automerge/automerge/slim";

/** What the console edits. A document made by somebody else may hold more, less, or other types: read it by `read`. */
export type Content = {
  title: string;
  text: string;
  todos: Todo[];
  /** Who is behind an actor id. An author writes the own entry with the first edit of a visit. */
  authors: Record<string, Author>;
};

export type Todo = { id: string; title: string; done: boolean };

export type Author = { name: string; colour: number };

export const TITLE_PATH: readonly Prop[] = ["title"];
export const TEXT_PATH: readonly Prop[] = ["text"];

export const EMPTY: Content = { title: "", text: "", todos: [], authors: {} };

/** The fields that hold something of another type than ours, and so must not be edited. */
export function foreignFields(doc: Doc<Content>): (keyof Content)[] {
  const found: Record<string, unknown> = doc;
  const isOurs: Record<keyof Content, (value: unknown) => boolean> = {
    title: (value) => typeof value === "string" || isImmutableString(value),
    // A string that is one value and not a sequence of characters can be read, but people cannot share in editing it.
    text: (value) => typeof value === "string",
    todos: Array.isArray,
    authors: isRecord,
  };
  return (Object.keys(isOurs) as (keyof Content)[]).filter(
    (field) => found[field] !== undefined && !isOurs[field](found[field]),
  );
}

/** Whatever of our content is in `doc`, and the empty value for what is not. */
export function read(doc: Doc<Content>): Content {
  const found: Record<string, unknown> = doc;
  return {
    title: textOr(found["title"], ""),
    text: textOr(found["text"], ""),
    todos: Array.isArray(found["todos"]) ? found["todos"].flatMap(readTodo) : [],
    authors: readAuthors(found["authors"]),
  };
}

function readTodo(value: unknown): Todo[] {
  if (!isRecord(value) || typeof value["id"] !== "string") return [];
  return [{ id: value["id"], title: textOr(value["title"], ""), done: value["done"] === true }];
}

function readAuthors(value: unknown): Record<string, Author> {
  if (!isRecord(value)) return {};
  const authors: Record<string, Author> = {};
  for (const [actor, author] of Object.entries(value)) {
    if (!isRecord(author)) continue;
    const colour = author["colour"];
    authors[actor] = { name: textOr(author["name"], ""), colour: typeof colour === "number" ? colour : 0 };
  }
  return authors;
}

function textOr(value: unknown, otherwise: string): string {
  if (isImmutableString(value)) return value.toString();
  return typeof value === "string" ? value : otherwise;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
