// Whatever a document can hold comes out as it went in.

import assert from "node:assert/strict";

import { Counter, Float64, ImmutableString, Int, splice, Uint } from "@automerge/automerge";

import { headsOf } from "../harness/client.js";
import { scenario } from "../harness/world.js";

/**
 * Uploads a document, restarts the server, and returns what the author has and what a fresh client finds.
 *
 * @param {import("../harness/world.js").World} world
 * @param {Record<string, unknown>} content
 */
async function roundTrip(world, content) {
  const server = await world.server();
  const a = world.client(server);
  /** @type {import("../harness/client.js").Handle} */
  const mine = a.repo.create();
  // Not as the initial value: there automerge takes its own number classes for maps.
  mine.change((doc) => Object.assign(doc, content));
  await a.saved(mine);
  const live = await world.client(server).find(mine.url);
  assert.deepEqual(headsOf(live), headsOf(mine));
  await server.restart();
  const stored = await world.client(server).find(mine.url);
  assert.deepEqual(headsOf(stored), headsOf(mine));
  assert.deepStrictEqual(live.doc(), mine.doc());
  assert.deepStrictEqual(stored.doc(), mine.doc());
  return stored.doc();
}

scenario("a binary value of 1 MiB", async (world) => {
  const blob = world.random.bytes(1 << 20);
  const doc = await roundTrip(world, { blob, empty: new Uint8Array() });
  assert.deepEqual(doc.blob, blob);
  assert.deepEqual(doc.empty, new Uint8Array());
});

scenario("scalars of every kind", async (world) => {
  const date = new Date("2024-02-29T12:34:56.789Z");
  const doc = await roundTrip(world, {
    date,
    before1970: new Date(-1),
    counter: new Counter(-7),
    nothing: null,
    yes: true,
    no: false,
    fixed: new ImmutableString("not a text"),
    emptyText: "",
    emptyMap: {},
    emptyList: [],
    mixed: [null, 1, "two", { three: 3 }, [4], new Uint8Array([5]), date],
    "": "an empty key",
    "key with / and . and \u0000 and 🔑": 1,
  });
  assert.deepEqual([doc.date, doc.before1970], [date, new Date(-1)]);
  assert.equal(doc.counter.value, -7);
  assert.equal(doc.nothing, null);
  assert.equal(String(doc.fixed), "not a text");
  assert.deepEqual(doc.mixed, [null, 1, "two", { three: 3 }, [4], new Uint8Array([5]), date]);
  assert.deepEqual([doc[""], doc["key with / and . and \u0000 and 🔑"]], ["an empty key", 1]);
});

scenario("numbers large, small and fractional", async (world) => {
  const doc = await roundTrip(world, {
    zero: 0,
    tenth: 0.1,
    pi: Math.PI,
    tiny: Number.MIN_VALUE,
    // As a plain number automerge would take it for an integer, which it does not fit.
    huge: new Float64(Number.MAX_VALUE),
    fraction: 2 ** 52 - 0.5,
    third: -1 / 3,
    two31: 2 ** 31,
    two32: 2 ** 32,
    two52: 2 ** 52,
    minus: -(2 ** 52),
    int: new Int(-5),
    uint: new Uint(5),
    float: new Float64(5),
    largestSafe: Number.MAX_SAFE_INTEGER,
  });
  assert.deepEqual([doc.tenth, doc.pi, doc.third, doc.fraction], [0.1, Math.PI, -1 / 3, 2 ** 52 - 0.5]);
  assert.deepEqual([doc.tiny, doc.huge], [Number.MIN_VALUE, Number.MAX_VALUE]);
  assert.deepEqual([doc.two31, doc.two32, doc.two52, doc.minus], [2 ** 31, 2 ** 32, 2 ** 52, -(2 ** 52)]);
  assert.deepEqual([doc.int, doc.float], [-5, 5]);
  // automerge 3.5 itself gives unsigned and very large integers back as BigInt.
  assert.deepEqual([BigInt(doc.uint), BigInt(doc.largestSafe)], [5n, 2n ** 53n - 1n]);
});

scenario("nesting 60 deep, in maps and lists", async (world) => {
  /** @type {any} */
  let deep = "the bottom";
  for (let depth = 60; depth > 0; depth--) deep = depth % 2 ? { depth, inner: deep } : [depth, deep];
  let doc = (await roundTrip(world, { deep })).deep;
  for (let depth = 1; depth <= 60; depth++) doc = depth % 2 ? doc.inner : doc[1];
  assert.equal(doc, "the bottom");
});

scenario("long text with emoji, combining marks and other scripts, edited inside", async (world) => {
  const server = await world.server();
  const [a, b] = [world.client(server), world.client(server)];
  const phrase = "👩‍👩‍👧‍👦 e\u0301 naïve 日本語 العربية \u202Eright to left\u202C 𝒳𝒴𝒵 🏳️‍🌈\r\n\t";
  const mine = a.repo.create({ text: phrase.repeat(2_000) });
  await a.saved(mine);
  const theirs = await b.find(mine.url);
  assert.equal(theirs.doc().text, phrase.repeat(2_000));
  const edited = phrase.repeat(1_000) + "🧵inserted e\u0301" + phrase.repeat(1_000);
  theirs.change((doc) => splice(doc, ["text"], phrase.length * 1_000, 0, "🧵inserted e\u0301"));
  await b.saved(theirs);
  await server.restart();
  const stored = await world.client(server).find(mine.url);
  assert.equal(stored.doc().text, edited);
});
