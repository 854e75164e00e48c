import type { Cursor } from "@automerge/automerge/slim";
import type { Author } from "../document/content";
import { cleanName } from "./identity";
import { paletteIndex } from "./palette";

/** What somebody is at. Positions in the text are automerge cursors: they stay with their character while others type. */
export type Place =
  | { at: "text"; anchor: Cursor; head: Cursor }
  | { at: "todo"; id: string }
  | { at: "history" }
  | { at: "page" };

/** The ephemeral messages of one document. They may get lost, so each carries the whole state of its sender. */
export type PresenceMessage =
  /**
   * `ttl`: milliseconds until the sender counts as gone; `asks`: the sender does not know yet who else is here; `since`: when it
   * came, on its own clock, milliseconds since 1970 and a random fraction, so that no two came at once.
   */
  { kind: "here"; author: Author; place: Place; ttl: number; asks: boolean; since: number } | { kind: "gone" };

const MARK = "aetherflow/presence/1";
const TTL_MS_MAX = 10 * 60_000;
const CURSOR = /^(?:-?\d{1,15}@[0-9a-f]{1,128}|[se])$/;

export function encodePresence(message: PresenceMessage): Record<string, unknown> {
  return { mark: MARK, ...message };
}

/** Reads a message of any origin: whatever is not exactly as expected is nobody's presence. */
export function decodePresence(message: unknown): PresenceMessage | null {
  const found = asRecord(message);
  if (found?.["mark"] !== MARK) return null;
  if (found["kind"] === "gone") return { kind: "gone" };
  const author = asRecord(found["author"]);
  const place = decodePlace(asRecord(found["place"]));
  const ttl = found["ttl"];
  if (found["kind"] !== "here" || author === null || place === null || typeof author["name"] !== "string") return null;
  if (typeof ttl !== "number" || !(ttl > 0 && ttl <= TTL_MS_MAX)) return null;
  return {
    kind: "here",
    author: { name: cleanName(author["name"]) || "Someone", colour: paletteIndex(author["colour"]) },
    place,
    ttl,
    asks: found["asks"] === true,
    // Those who do not say came before it was said.
    since: timeOr(found["since"], 0),
  };
}

function decodePlace(place: Record<string, unknown> | null): Place | null {
  switch (place?.["at"]) {
    case "text": {
      const { anchor, head } = place;
      return isCursor(anchor) && isCursor(head) ? { at: "text", anchor, head } : null;
    }
    case "todo":
      return typeof place["id"] === "string" ? { at: "todo", id: place["id"] } : null;
    case "history":
      return { at: "history" };
    case "page":
      return { at: "page" };
    default:
      return null;
  }
}

function timeOr(value: unknown, otherwise: number): number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : otherwise;
}

function isCursor(value: unknown): value is Cursor {
  return typeof value === "string" && CURSOR.test(value);
}

function asRecord(value: unknown): Record<string, unknown> | null {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : null;
}
