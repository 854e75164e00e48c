// Peers of every kind: with storage and without, returning, and claiming to be one another.

import assert from "node:assert/strict";

import { generateSyncMessage, init, initSyncState } from "@automerge/automerge";

import { converged, headsOf } from "../harness/client.js";
import { MemoryStorage } from "../harness/memory-storage.js";
import { until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

const emptyRequest = () => generateSyncMessage(init(), initSyncState())[1];

scenario("peers with and without storage, ephemeral or not, converge", async (world) => {
  const server = await world.sharedServer();
  const clients = [undefined, true, false].flatMap((isEphemeral) => [
    world.client(server, { isEphemeral }),
    world.client(server, { isEphemeral, storage: new MemoryStorage() }),
  ]);
  const first = clients[0].repo.create({ editors: /** @type {string[]} */ ([]) });
  await clients[0].saved(first);
  const handles = [first, ...(await Promise.all(clients.slice(1).map((client) => client.find(first.url))))];
  for (const [index, handle] of handles.entries()) handle.change((doc) => doc.editors.push(`client ${index}`));
  await converged(handles, "all kinds of peers");
  assert.deepEqual([...first.doc().editors].sort(), handles.map((_, index) => `client ${index}`));
});

scenario("a client that returns with its stored data fetches and sends only what is missing", async (world) => {
  const server = await world.server();
  const storage = new MemoryStorage();
  const me = { peerId: `returning-${world.random.seed}`, storage, isEphemeral: false };
  const [author, reader] = [world.client(server), world.client(server, me)];
  const mine = author.repo.create({ blobs: {} });
  for (let n = 0; n < 40; n++) {
    const blob = world.random.bytes(8_000);
    mine.change((/** @type {any} */ doc) => (doc.blobs[n] = blob));
  }
  const size = 40 * 8_000;
  await author.saved(mine);
  const before = await reader.find(mine.url);
  await converged([mine, before], "the whole document");
  assert.ok(reader.syncBytes > size, `the first life fetched everything (${reader.syncBytes} bytes)`);
  await reader.repo.flush();
  const storageId = await reader.repo.storageId();
  reader.close();

  mine.change((/** @type {any} */ doc) => (doc.missed = "while away"));
  await author.saved(mine);
  await server.restart();
  await author.connected();

  const second = world.client(server, me);
  const after = await second.find(mine.url);
  assert.equal(await second.repo.storageId(), storageId);
  await converged([mine, after], "what was missing");
  assert.equal(after.doc().missed, "while away");
  assert.ok(second.syncBytes < size / 10, `the second life fetched ${second.syncBytes} bytes`);
  assert.ok(second.sentSyncBytes < size / 10, `the second life sent ${second.sentSyncBytes} bytes`);
});

scenario("edits stored while offline are uploaded by the client's next life", async (world) => {
  const server = await world.sharedServer();
  const proxy = await world.proxy(server);
  const storage = new MemoryStorage();
  const me = { peerId: `offline-${world.random.seed}`, storage, isEphemeral: false };
  const first = world.client(proxy, me);
  const mine = first.repo.create({ edits: /** @type {number[]} */ ([]) });
  await first.saved(mine);
  proxy.sever();
  await first.disconnected();
  for (let n = 0; n < 30; n++) mine.change((doc) => doc.edits.push(n));
  await first.repo.flush();
  first.close();

  const reader = await world.client(server).find(mine.url);
  assert.deepEqual(reader.doc(), { edits: [] });
  const second = world.client(server, me);
  const again = await second.find(mine.url);
  assert.deepEqual(headsOf(again), headsOf(mine), "the next life has the edits from its storage");
  await converged([again, reader], "the stored edits");
  assert.deepEqual(reader.doc().edits, Array.from({ length: 30 }, (_, n) => n));
});

scenario("a client that returns to a server without its data brings everything back", async (world) => {
  const [old, fresh] = [await world.server(), await world.server()];
  const storage = new MemoryStorage();
  const me = { peerId: `moving-${world.random.seed}`, storage, isEphemeral: false };
  const first = world.client(old, me);
  const mine = first.repo.create({ kept: "by the client" });
  await first.saved(mine);
  await first.repo.flush();
  first.close();
  const second = world.client(fresh, me);
  const again = await second.find(mine.url);
  await second.saved(again);
  const found = await world.client(fresh).find(mine.url);
  assert.deepEqual(found.doc(), { kept: "by the client" });
});

scenario("a peer id that joins again replaces its old connection, whose late end harms nothing", async (world) => {
  const server = await world.sharedServer();
  const author = world.client(server);
  const handle = author.repo.create({ n: 0 });
  await author.saved(handle);
  const peerId = `twice-${world.random.seed}`;

  const polite = await world.wire(server);
  await polite.join(peerId);
  const stalled = await world.wire(server);
  await stalled.join(peerId);
  await polite.untilClosed();
  // This one never answers the closing handshake, so the server sees it end long after its successor has joined.
  stalled.stall();

  const current = await world.wire(server);
  await current.join(peerId);
  const followed = current.follow(handle.documentId);
  await until("the new connection has the document", () => followed.doc.n === 0);
  stalled.terminate();
  // The end of the old connection has been dealt with once a later connection is served.
  await (await world.wire(server)).join(`later-${world.random.seed}`);

  for (let n = 1; n <= 3; n++) {
    handle.change((doc) => (doc.n = n));
    await until(`edit ${n} of another client reaches the new connection`, () => followed.doc.n === n);
  }
  assert.equal(current.closed, undefined);
});

scenario("a stock client takes over from a dead connection with its peer id", async (world) => {
  const server = await world.sharedServer();
  const author = world.client(server);
  const mine = author.repo.create({ edits: /** @type {string[]} */ ([]) });
  await author.saved(mine);
  const peerId = `successor-${world.random.seed}`;
  const dead = await world.wire(server);
  await dead.join(peerId);
  dead.sendAbout("request", mine.documentId, { data: emptyRequest() });
  await dead.next(({ type }) => type === "sync", "the document's heads");
  dead.stall();

  const successor = world.client(server, { peerId });
  const theirs = await successor.find(mine.url);
  theirs.change((doc) => doc.edits.push("before the end of the old connection"));
  await converged([mine, theirs], "before the end");
  dead.terminate();
  mine.change((doc) => doc.edits.push("after"));
  theirs.change((doc) => doc.edits.push("after, too"));
  await converged([mine, theirs], "after the end");
  assert.equal(mine.doc().edits.length, 3);
});

scenario("what the first connection of a peer id was sent is sent again to the second", async (world) => {
  const server = await world.sharedServer();
  const author = world.client(server);
  const mine = author.repo.create({ text: "z".repeat(1_000) });
  await author.saved(mine);
  const peerId = `amnesiac-${world.random.seed}`;
  for (let life = 1; life <= 3; life++) {
    // No storage: each life starts from nothing, though the server has seen the peer id before.
    const client = world.client(server, { peerId });
    const found = await client.find(mine.url);
    await converged([mine, found], `life ${life}`);
    assert.deepEqual(found.doc(), mine.doc());
    mine.change((doc) => (doc.text = `after life ${life}`));
    client.close();
  }
});
