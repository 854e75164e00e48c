// Networks break in the middle of things; nothing that was edited may be lost by it.

import assert from "node:assert/strict";

import { getConflicts, splice } from "@automerge/automerge";

import { converged } from "../harness/client.js";
import { until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

scenario("connections cut again and again in the middle of edits lose nothing", async (world) => {
  const server = await world.sharedServer();
  const proxies = [await world.proxy(server), await world.proxy(server)];
  const [a, b] = proxies.map((proxy) => world.client(proxy, { retryMs: 60 }));
  const mine = a.repo.create({ edits: {}, text: "" });
  await a.saved(mine);
  const theirs = await b.find(mine.url);

  /** @type {string[]} */
  const made = [];
  let textLength = 0;
  const random = world.random.fork();
  /** @param {import("../harness/client.js").Handle} handle @param {string} author */
  const edit = (handle, author) => {
    const name = `${author}${made.length}`;
    made.push(name);
    handle.change((doc) => {
      doc.edits[name] = "x".repeat(random.between(1, 60));
      splice(doc, ["text"], random.between(0, doc.text.length + 1), 0, `<${name}>`);
    });
    textLength += name.length + 2;
  };
  for (const proxy of proxies) {
    const knife = world.random.fork();
    proxy.abrupt = () => knife.chance(0.5);
    proxy.harass(() => knife.between(50, 6_000));
  }
  await until(
    "both clients are cut often enough",
    () => {
      if (random.chance(0.5)) edit(mine, "a");
      if (random.chance(0.5)) edit(theirs, "b");
      return proxies.every((proxy) => proxy.cuts >= 12 && proxy.cutsInsideFrame >= 4) && made.length >= 200;
    },
    { within: 40_000, every: 8, detail: () => proxies.map(({ cuts, cutsInsideFrame }) => ({ cuts, cutsInsideFrame })) },
  );
  proxies.forEach((proxy) => proxy.heal());

  await converged([mine, theirs], "after the last cut");
  const fresh = await world.client(server).find(mine.url);
  await converged([mine, theirs, fresh], "with a fresh client");
  assert.deepEqual(Object.keys(fresh.doc().edits).sort(), made.sort());
  assert.equal(fresh.doc().text.length, textLength, "no typed character is missing or doubled");
  assert.equal(fresh.history()?.length, made.length + 1, "each edit is there exactly once");
});

scenario("a large upload cut inside its frame is there in the end", async (world) => {
  const server = await world.sharedServer();
  const proxy = await world.proxy(server);
  const random = world.random.fork();
  proxy.lifetime = () => (proxy.cutsInsideFrame < 4 ? random.between(20_000, 300_000) : Infinity);
  const a = world.client(proxy);
  const mine = a.repo.create({ blob: random.bytes(400_000) });
  await a.saved(mine);
  assert.ok(proxy.cutsInsideFrame >= 4, `the upload was cut inside a frame (${proxy.cutsInsideFrame} times)`);
  const theirs = await world.client(server).find(mine.url);
  assert.deepEqual(theirs.doc(), mine.doc());
});

scenario("edits made on both sides while offline merge after the reconnection", async (world) => {
  const server = await world.sharedServer();
  const [left, right] = [await world.proxy(server), await world.proxy(server)];
  const [a, b] = [world.client(left), world.client(right)];
  const mine = a.repo.create(/** @type {any} */ ({ text: "the middle", map: { shared: "before", doomed: true }, list: [1, 2, 3] }));
  await a.saved(mine);
  const theirs = await b.find(mine.url);

  left.sever();
  right.sever();
  await Promise.all([a.disconnected(), b.disconnected()]);
  /** @param {import("../harness/client.js").Handle} handle @param {string} author */
  const editOffline = (handle, author) => {
    for (let n = 0; n < 25; n++) handle.change((doc) => splice(doc, ["text"], 0, 0, `${author}${n} `));
    handle.change((doc) => splice(doc, ["text"], doc.text.length, 0, ` end of ${author}`));
    handle.change((doc) => (doc.map[author] = `by ${author}`));
    handle.change((doc) => (doc.map.shared = `by ${author}`));
    handle.change((doc) => doc.list.push(author));
  };
  editOffline(mine, "a");
  editOffline(theirs, "b");
  mine.change((doc) => delete doc.map.doomed);
  assert.ok(!a.isConnected && !b.isConnected, "nobody came online in between");
  assert.notDeepEqual(mine.heads(), theirs.heads());

  left.heal();
  right.heal();
  await converged([mine, theirs], "after the reconnection");
  const doc = mine.doc();
  assert.deepEqual(theirs.doc(), doc);
  for (let n = 0; n < 25; n++) assert.ok(doc.text.includes(`a${n} `) && doc.text.includes(`b${n} `), doc.text);
  assert.match(doc.text, / end of a/);
  assert.match(doc.text, / end of b/);
  assert.deepEqual([doc.map.a, doc.map.b, doc.map.doomed], ["by a", "by b", undefined]);
  assert.deepEqual([...doc.list].sort(), [1, 2, 3, "a", "b"]);
  const conflict = Object.values(getConflicts(doc.map, "shared") ?? {}).sort();
  assert.deepEqual(conflict, ["by a", "by b"], "both values of the key that both wrote are kept");
  assert.deepEqual(getConflicts(theirs.doc().map, "shared"), getConflicts(doc.map, "shared"));
});

for (const signal of /** @type {const} */ (["SIGTERM", "SIGKILL"])) {
  scenario(`clients that edit through a restart of the server (${signal}) end with all edits`, async (world) => {
    const server = await world.server();
    const [a, b] = [world.client(server), world.client(server)];
    const mine = a.repo.create({ edits: {} });
    await a.saved(mine);
    const theirs = await b.find(mine.url);
    /** @type {string[]} */
    const made = [];
    const timer = setInterval(() => {
      for (const [author, handle] of /** @type {const} */ ([["a", mine], ["b", theirs]])) {
        const name = `${author}${made.length}`;
        made.push(name);
        handle.change((doc) => (doc.edits[name] = made.length));
      }
    }, 10);
    try {
      for (let round = 1; round <= 3; round++) {
        const before = made.length;
        await until("edits go on", () => made.length >= before + 30);
        await server.restart(signal);
        await Promise.all([a.connected(), b.connected()]);
      }
    } finally {
      clearInterval(timer);
    }
    await converged([mine, theirs], "after three restarts");
    const fresh = await world.client(server).find(mine.url);
    await converged([mine, theirs, fresh], "with a fresh client");
    assert.deepEqual(Object.keys(fresh.doc().edits).sort(), made.sort());
  });
}
