import assert from "node:assert/strict";
import { test } from "node:test";
import { friendlyName } from "../../web/presence/friendlyName";
import { cleanName } from "../../web/presence/identity";
import { type PresenceMessage, decodePresence, encodePresence } from "../../web/presence/message";
import { ownColour } from "../../web/presence/ownColour";
import { PALETTE_SIZE, paletteIndex } from "../../web/presence/palette";
import { Roster } from "../../web/presence/roster";

const HERE: PresenceMessage = {
  kind: "here",
  author: { name: "Quiet Heron", colour: 3 },
  place: { at: "text", anchor: "12@ab", head: "e" as never },
  ttl: 13_000,
  asks: true,
  since: 1_790_000_000_000.25,
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

test("whoever does not say since when came first", () => {
  for (const since of [undefined, -1, Number.NaN, "now"]) {
    const message = decodePresence({ ...encodePresence(HERE), since });
    assert.equal(message?.kind === "here" && message.since, 0);
  }
});

/** Pages that hear of each other's colour, and change their own, in this order, until nothing moves. */
function settle(wanted: readonly { name: string; colour: number; since: number }[], order: readonly number[]): number[] {
  const shown = wanted.map(({ colour }) => colour);
  const people = (but: number) =>
    wanted.flatMap(({ name, since }, n) =>
      n === but
        ? []
        : [{ id: `${n}`, author: { name, colour: shown[n]! }, place: { at: "page" as const }, isAway: false, since, expiresAt: 1 }],
    );
  for (let rounds = 0; ; rounds += 1) {
    assert.ok(rounds <= wanted.length, "it goes on for ever");
    let moved = false;
    for (const n of order) {
      const { name, colour, since } = wanted[n]!;
      const next = ownColour(shown[n]!, { author: { name, colour }, since }, people(n));
      moved ||= next !== shown[n];
      shown[n] = next;
    }
    if (!moved) return shown;
  }
}

test("people who are here at the same time differ, and those who were here first keep their colour", () => {
  const alike = Array.from({ length: PALETTE_SIZE }, (_, n) => ({ name: `person ${n}`, colour: 3, since: n + 1 }));
  for (const order of [alike.map((_, n) => n), alike.map((_, n) => alike.length - 1 - n), [3, 1, 7, 0, 2, 6, 5, 4]]) {
    const shown = settle(alike, order);
    assert.equal(new Set(shown).size, PALETTE_SIZE, `${shown}`);
    assert.equal(shown[0], 3);
  }
  const crowd = Array.from({ length: PALETTE_SIZE + 5 }, (_, n) => ({ name: `person ${n}`, colour: n % 3, since: n + 1 }));
  assert.equal(new Set(settle(crowd, crowd.map((_, n) => n))).size, PALETTE_SIZE, "all are used when there are too few");
});

test("a colour that was given way to is not taken back, and one person's tabs look alike", () => {
  const late = { author: { name: "late", colour: 3 }, since: 2 };
  const early = { id: "a", author: { name: "early", colour: 3 }, place: { at: "page" as const }, isAway: false, since: 1, expiresAt: 1 };
  assert.equal(ownColour(3, late, [early]), 4);
  assert.equal(ownColour(4, late, []), 4, "the other one left");
  assert.equal(ownColour(3, { ...late, since: 0 }, [early]), 3, "the other one came later");
  assert.equal(ownColour(3, { ...late, author: { name: "early", colour: 3 } }, [early]), 3);
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
