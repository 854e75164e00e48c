import { type ReadonlySignal, signal } from "@preact/signals";
import type { Author } from "../document/content";
import { friendlyName } from "./friendlyName";
import { PALETTE_SIZE, paletteIndex } from "./palette";

const KEY = "aetherflow.identity";
const NAME_LENGTH_MAX = 40;

/** How the others see the person at this browser: a name and a colour, kept in localStorage. */
export class Identity {
  readonly #author = signal<Author>(recall() ?? invent());
  readonly author: ReadonlySignal<Author> = this.#author;

  constructor() {
    remember(this.#author.peek());
    // Another tab of this browser is the same person.
    addEventListener("storage", (event) => {
      if (event.key === KEY) this.#author.value = recall() ?? this.#author.peek();
    });
  }

  change(author: Partial<Author>): void {
    const next = { ...this.#author.peek(), ...author };
    this.#author.value = { name: cleanName(next.name) || friendlyName(), colour: paletteIndex(next.colour) };
    remember(this.#author.peek());
  }
}

/** A name fit for display: no line breaks or control characters, not longer than a label can bear. */
export function cleanName(name: string): string {
  return [...name.replace(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim()].slice(0, NAME_LENGTH_MAX).join("");
}

function invent(): Author {
  return { name: friendlyName(), colour: Math.floor(Math.random() * PALETTE_SIZE) };
}

function recall(): Author | null {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "null");
    if (typeof found !== "object" || found === null || !("name" in found) || !("colour" in found)) return null;
    if (typeof found.name !== "string" || cleanName(found.name) === "") return null;
    return { name: cleanName(found.name), colour: paletteIndex(found.colour) };
  } catch {
    return null;
  }
}

function remember(author: Author): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(author));
  } catch {
    // Without storage the name lasts as long as the tab.
  }
}
