import assert from "node:assert/strict";
import { test } from "node:test";
import { friendlyName } from "../../web/presence/friendlyName";
import { cleanName } from "../../web/presence/identity";
import { type PresenceMessage, decodePresence, encodePresence } from "../../web/presence/message";
import { PALETTE_SIZE, paletteIndex } from "../../web/presence/palette";
import { Roster } from "../../web/presence/roster";

const HERE: PresenceMessage = {
  kind: "here",
  author: { name: "Quiet Heron", colour: 3 },
  place: { at: "text", anchor: "12@ab", head: "e" as never },
  ttl: 13_000,
  asks: true,
};

test("messages survive the way there", () => {
  for (const message of [HERE, { ...HERE, place: { at: "todo", id: "7" } }, { kind: "gone" }] as PresenceMessage[]) {
    assert.deepEqual(decodePresence(structuredClone(encodePresence(message))), message);
  }
});

test("what is not a presence message is nobody's presence", () => {
  const good = encodePresence(HERE);
  const bad: unknown[] = [
    null,
    "here",
    {},
    { ...good, mark: "another application" },
    { ...good, kind: "left" },
    { ...good, author: null },
    { ...good, author: { name: 7, colour: 1 } },
    { ...good, place: { at: "moon" } },
    { ...good, place: { at: "text", anchor: "1@ab", head: "<img>" } },
    { ...good, place: { at: "todo", id: 7 } },
    { ...good, ttl: 0 },
    { ...good, ttl: Number.NaN },
    { ...good, ttl: 1e12 },
  ];
  for (const message of bad) assert.equal(decodePresence(message), null, JSON.stringify(message));
});

test("names and colours from elsewhere are made fit to show", () => {
  const message = decodePresence(encodePresence({ ...HERE, author: { name: `  a\u0000\n${"b".repeat(99)}`, colour: 1e9 } }));
  assert.equal(message?.kind, "here");
  assert.ok(message.kind === "here" && message.author.name.length === 40 && message.author.name.startsWith("a b"));
  assert.ok(message.author.colour < PALETTE_SIZE);
  for (const value of [-1, 1.5, Number.NaN, "1", null, undefined, {}]) assert.equal(paletteIndex(value), 0);
  assert.equal(cleanName("\u202e\t "), "");
});

test("invented names are two words, whatever the dice say", () => {
  for (const dice of [0, 0.25, 0.5, 0.999999]) assert.match(friendlyName(() => dice), /^\p{Lu}\p{Ll}+ \p{Lu}\p{Ll}+$/u);
});

test("people come, stay while they are heard, and go", () => {
  const met = Roster.EMPTY.hear("a", HERE, 0).hear("b", { ...HERE, ttl: 150_000 }, 0);
  assert.deepEqual(met.people.map(({ id, isAway }) => [id, isAway]), [["a", false], ["b", true]]);
  assert.equal(met.expire(12_999), met, "nothing changed, so nothing has to be drawn");
  const later = met.hear("a", HERE, 10_000);
  assert.deepEqual(later.people.map(({ id }) => id), ["a", "b"], "the order is that of their coming");
  assert.deepEqual(later.expire(22_999).people.map(({ id }) => id), ["a", "b"]);
  assert.deepEqual(later.expire(23_000).people.map(({ id }) => id), ["b"]);
  assert.deepEqual(met.hear("a", { kind: "gone" }, 1).people.map(({ id }) => id), ["b"]);
  assert.equal(met.hear("stranger", { kind: "gone" }, 1), met);
});
