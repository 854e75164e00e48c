// Remote heads gossip: how a client learns what another client's storage, or the server's, holds.

import assert from "node:assert/strict";

import { generateSyncMessage, init, initSyncState } from "@automerge/automerge";
import { decodeHeads } from "@automerge/automerge-repo";

import { headsOf, isSaved } from "../harness/client.js";
import { MemoryStorage } from "../harness/memory-storage.js";
import { until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

/**
 * @typedef {import("../harness/client.js").Handle} Handle
 * @typedef {import("../harness/client.js").StorageId} StorageId
 */

/**
 * A client with storage that takes part in the gossip.
 *
 * @param {import("../harness/world.js").World} world
 * @param {{ ws: string }} server
 */
async function gossiper(world, server) {
  const client = world.client(server, { gossip: true, storage: new MemoryStorage(), isEphemeral: false });
  await client.connected();
  return { client, storageId: /** @type {StorageId} */ (await client.repo.storageId()) };
}

/** Every frame of gossip a client is sent. @param {import("../harness/client.js").Client} client */
function gossipTo(client) {
  /** @type {import("../harness/client.js").Message[]} */
  const frames = [];
  client.onFrame((frame) => frame.type === "remote-heads-changed" && frames.push(frame));
  return frames;
}

/**
 * @param {Handle} watcher
 * @param {StorageId} storageId
 * @param {Handle} author
 */
async function untilKnown(watcher, storageId, author) {
  await until("the watcher knows the author's heads", () => {
    const known = watcher.getSyncInfo(storageId)?.lastHeads;
    return known && String(decodeHeads(known).sort()) === String(headsOf(author));
  });
}

scenario("a subscriber hears of another client's heads and of the server's", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [await gossiper(world, server), await gossiper(world, server)];
  const mine = a.client.repo.create({ n: 0 });
  await a.client.saved(mine);
  const theirs = await b.client.find(mine.url);
  const serverId = await b.client.serverStorageId();
  b.client.repo.subscribeToRemotes([serverId, a.storageId]);
  /** @type {{ storageId: string, timestamp: number }[]} */
  const events = [];
  theirs.on("remote-heads", (event) => events.push(event));

  for (let n = 1; n <= 5; n++) {
    mine.change((doc) => (doc.n = n));
    await untilKnown(theirs, a.storageId, mine);
    await until("the watcher reads the edit as saved on the server", () => isSaved(theirs, serverId) && theirs.doc().n === n);
  }
  const ofAuthor = events.filter(({ storageId }) => storageId === a.storageId);
  assert.ok(ofAuthor.length >= 5, `${ofAuthor.length} events for the author's storage`);
  assert.ok(events.some(({ storageId }) => storageId === serverId));
  for (const { timestamp } of events) {
    assert.equal(typeof timestamp, "number");
    assert.ok(Math.abs(Date.now() - timestamp) < 60_000, `${timestamp} is a time in milliseconds`);
  }
  const times = ofAuthor.map(({ timestamp }) => timestamp);
  assert.deepEqual(times, [...new Set(times)].sort((x, y) => x - y), "clients drop what is not newer than what they know");
});

scenario("a subscription made before the document is opened counts", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [await gossiper(world, server), await gossiper(world, server)];
  b.client.repo.subscribeToRemotes([a.storageId]);
  const mine = a.client.repo.create({ n: 0 });
  await a.client.saved(mine);
  const theirs = await b.client.find(mine.url);
  mine.change((doc) => (doc.n = 1));
  await untilKnown(theirs, a.storageId, mine);
});

scenario("a later subscriber is told what is known already", async (world) => {
  const server = await world.sharedServer();
  const [a, b, c] = [await gossiper(world, server), await gossiper(world, server), await gossiper(world, server)];
  const mine = a.client.repo.create({ n: 0 });
  await a.client.saved(mine);
  const [second, third] = [await b.client.find(mine.url), await c.client.find(mine.url)];
  b.client.repo.subscribeToRemotes([a.storageId]);
  mine.change((doc) => (doc.n = 1));
  await untilKnown(second, a.storageId, mine);
  c.client.repo.subscribeToRemotes([a.storageId]);
  await untilKnown(third, a.storageId, mine);
});

scenario("gossip goes on after a restart of the server", async (world) => {
  const server = await world.server();
  const [a, b] = [await gossiper(world, server), await gossiper(world, server)];
  const mine = a.client.repo.create({ n: 0 });
  await a.client.saved(mine);
  const theirs = await b.client.find(mine.url);
  b.client.repo.subscribeToRemotes([a.storageId]);
  mine.change((doc) => (doc.n = 1));
  await untilKnown(theirs, a.storageId, mine);
  await server.restart();
  await Promise.all([a.client.connected(), b.client.connected()]);
  mine.change((doc) => (doc.n = 2));
  await untilKnown(theirs, a.storageId, mine);
});

scenario("gossip goes only to subscribers, and only about documents they have open", async (world) => {
  const server = await world.sharedServer();
  const [a, subscriber, stranger] = [await gossiper(world, server), await gossiper(world, server), await gossiper(world, server)];
  const [open, closed] = [a.client.repo.create({ n: 0 }), a.client.repo.create({ n: 0 })];
  await a.client.saved(open);
  await a.client.saved(closed);
  const [theirs, strangers] = [await subscriber.client.find(open.url), await stranger.client.find(open.url)];
  const [toSubscriber, toStranger] = [gossipTo(subscriber.client), gossipTo(stranger.client)];
  subscriber.client.repo.subscribeToRemotes([a.storageId]);

  // The published client throws, and its process ends, when it hears of a document it does not have.
  closed.change((doc) => (doc.n = 1));
  await a.client.saved(closed);
  open.change((doc) => (doc.n = 1));
  await untilKnown(theirs, a.storageId, open);
  open.change((doc) => (doc.n = 2));
  await untilKnown(theirs, a.storageId, open);
  await until("the stranger has the edits", () => strangers.doc().n === 2);
  assert.deepEqual(new Set(toSubscriber.map(({ documentId }) => documentId)), new Set([open.documentId]));
  assert.deepEqual(toStranger, [], "who has not subscribed hears nothing");
});

scenario("the gossip's frame, and the end of a subscription", async (world) => {
  const server = await world.sharedServer();
  const [a, witness] = [await gossiper(world, server), await gossiper(world, server)];
  const mine = a.client.repo.create({ n: 0 });
  await a.client.saved(mine);
  const theirs = await witness.client.find(mine.url);
  witness.client.repo.subscribeToRemotes([a.storageId]);
  const wire = await world.wire(server);
  await wire.join(`wire-${world.random.seed}`);
  wire.sendAbout("request", mine.documentId, { data: generateSyncMessage(init(), initSyncState())[1] });
  await wire.next(({ type }) => type === "sync", "the document's heads");
  const control = { type: "remote-subscription-change", senderId: wire.peerId, targetId: wire.serverId };
  wire.send({ ...control, add: [a.storageId], remove: undefined });
  const isGossip = (/** @type {{ type: string }} */ { type }) => type === "remote-heads-changed";

  mine.change((doc) => (doc.n = 1));
  await until("the heads of the edit are announced", () => {
    const last = wire.frames.findLast(isGossip);
    return last && String(decodeHeads(last.newHeads[a.storageId].heads).sort()) === String(headsOf(mine));
  });
  const index = wire.frames.findLastIndex(isGossip);
  const { newHeads, ...rest } = wire.frames[index];
  assert.deepEqual(rest, { type: "remote-heads-changed", senderId: wire.serverId, targetId: wire.peerId, documentId: mine.documentId });
  assert.deepEqual(Object.keys(newHeads), [a.storageId]);
  assert.equal(typeof newHeads[a.storageId].timestamp, "number");
  const raw = Buffer.from(wire.raw[index]);
  const afterKey = raw.indexOf("timestamp") + "timestamp".length;
  assert.equal(raw[afterKey], 0xfb, "the timestamp is a float64: an 8-byte integer would become a BigInt");

  wire.send({ ...control, add: undefined, remove: [a.storageId] });
  // The server has read the removal when it answers what was sent after it.
  const syncs = () => wire.frames.filter(({ type }) => type === "sync").length;
  const before = syncs();
  wire.sendAbout("request", mine.documentId, { data: generateSyncMessage(init(), initSyncState())[1] });
  await until("a reply to a later frame", () => syncs() > before);
  const heard = wire.frames.filter(isGossip).length;
  mine.change((doc) => (doc.n = 2));
  await untilKnown(theirs, a.storageId, mine);
  mine.change((doc) => (doc.n = 3));
  await untilKnown(theirs, a.storageId, mine);
  assert.equal(wire.frames.filter(isGossip).length, heard, "nothing is announced after the subscription's end");
});
