// Frames no stock client sends. Whoever sends one may lose its own connection, with a reason; nobody else notices.
//
// Each case says what the server must do with the connection:
//   closes   it is closed with a code and a reason;
//   ignores  it goes on working: frames of the future, and those that the stock server drops silently as well;
//   either   one of both, where the stock server's own conduct is an accident;
//   leaves   it is closed as normal, or goes on.

import assert from "node:assert/strict";
import { after } from "node:test";

import { generateSyncMessage, init, initSyncState } from "@automerge/automerge";
import { generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";

import { Client, converged } from "../harness/client.js";
import { SOON_MS, until } from "../harness/until.js";
import { encode } from "../harness/wire.js";
import { scenario } from "../harness/world.js";

/**
 * @typedef {import("../harness/wire.js").Wire} Wire
 * @typedef {import("../harness/client.js").Handle} Handle
 * @typedef {import("../harness/server.js").Server} Server
 * @typedef {"closes" | "ignores" | "either" | "leaves"} Outcome
 * @typedef {(wire: Wire, documentId: string) => void} Attack sends the frame; the document is one that exists
 */

/** How long a server may take to deal with one bad frame. */
const VERDICT_MS = SOON_MS / 3;

/** @param {number[]} bytes */
const raw = (...bytes) => Uint8Array.from(bytes);
const emptyRequest = () => /** @type {Uint8Array} */ (generateSyncMessage(init(), initSyncState())[1]);
const otherId = () => parseAutomergeUrl(generateAutomergeUrl()).documentId;

/** @type {[string, Outcome, Attack][]} */
const BEFORE_JOIN = [
  ["a sync frame", "either", (wire, id) => wire.sendAbout("sync", id, { data: emptyRequest() })],
  ["a request", "either", (wire, id) => wire.sendAbout("request", id, { data: emptyRequest() })],
  ["an ephemeral frame", "either", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 1, data: encode(1) })],
  ["a subscription", "either", (wire) => wire.send({ type: "remote-subscription-change", senderId: "", targetId: "", add: [] })],
  ["a join without senderId", "closes", (wire) => wire.send({ type: "join", peerMetadata: {}, supportedProtocolVersions: ["1"] })],
  ["a join with a number as senderId", "closes", (wire) => wire.send({ type: "join", senderId: 7, peerMetadata: {} })],
  ["a join with null as senderId", "closes", (wire) => wire.send({ type: "join", senderId: null, peerMetadata: {} })],
  ["a join with an empty senderId", "either", (wire) => wire.send({ type: "join", senderId: "", peerMetadata: {} })],
  ["a join with a senderId of 1 MiB", "closes", (wire) => wire.send({ type: "join", senderId: "x".repeat(1 << 20), peerMetadata: {} })],
  ["a join with text as peerMetadata", "either", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: "text" })],
  ["a join with null as peerMetadata", "either", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: null })],
  ["a join with a number as storageId", "either", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: { storageId: 5 } })],
  ["a join with text as isEphemeral", "either", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: { isEphemeral: "no" } })],
  ["a join with text as versions", "either", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: {}, supportedProtocolVersions: "1" })],
  ["a join with numbers as versions", "closes", (wire) => wire.send({ type: "join", senderId: "m", peerMetadata: {}, supportedProtocolVersions: [1] })],
];

/** Neither map nor message: what these mean does not depend on the join. @type {[string, Outcome, Attack][]} */
const NO_FRAMES = [
  ["a text frame", "closes", (wire) => wire.sendText("hello")],
  ["a text frame of JSON", "closes", (wire) => wire.sendText('{"type":"join","senderId":"json"}')],
  ["an empty frame", "closes", (wire) => wire.sendBytes(raw())],
  ["garbage that is no CBOR", "closes", (wire) => wire.sendBytes(raw(0xff, 0xfe, 0x1c, 0x1d))],
  ["a truncated map", "closes", (wire, id) => wire.sendBytes(encode({ type: "sync", documentId: id, data: emptyRequest() }).slice(0, -5))],
  ["a map and something after it", "either", (wire) => wire.sendBytes(Uint8Array.from([...encode({ type: "future" }), 1, 2, 3]))],
  ["the number 7", "closes", (wire) => wire.sendBytes(encode(7))],
  ["null", "closes", (wire) => wire.sendBytes(encode(null))],
  ["undefined", "closes", (wire) => wire.sendBytes(raw(0xf7))],
  ["a list", "closes", (wire) => wire.sendBytes(encode(["sync", "x"]))],
  ["a text", "closes", (wire) => wire.sendBytes(encode("sync"))],
  ["a map without type", "closes", (wire) => wire.send({ senderId: wire.peerId })],
  ["a number as type", "closes", (wire) => wire.send({ type: 5, senderId: wire.peerId })],
  ["a list of 2^40 elements, announced", "closes", (wire) => wire.sendBytes(raw(0x9b, 0, 0, 1, 0, 0, 0, 0, 0, 1))],
  ["a byte string of 2^40 bytes, announced", "closes", (wire) => wire.sendBytes(raw(0x5b, 0, 0, 1, 0, 0, 0, 0, 0, 1))],
  ["a map of 2^32 entries, announced", "closes", (wire) => wire.sendBytes(raw(0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 1))],
  ["lists nested 100,000 deep", "closes", (wire) => wire.sendBytes(new Uint8Array(100_000).fill(0x81))],
  ["tags nested 100,000 deep", "closes", (wire) => wire.sendBytes(new Uint8Array(100_000).fill(0xc1))],
  ["a frame of 1 GiB, announced", "closes", (wire) => wire.sendHeaderOf(1n << 30n)],
  ["a frame of 2^62 bytes, announced", "closes", (wire) => wire.sendHeaderOf(1n << 62n)],
];

/** @type {[string, Outcome, Attack][]} */
const AFTER_JOIN = [
  ["an unknown type", "ignores", (wire, id) => wire.sendAbout("of-the-future", id, { data: raw(1, 2, 3) })],
  ["an unknown type without other fields", "ignores", (wire) => wire.send({ type: "of-the-future", senderId: wire.peerId })],
  ["unknown fields", "ignores", (wire, id) => wire.sendAbout("request", id, { data: emptyRequest(), colour: { of: ["the", "future"] } })],
  ["another sender's name", "ignores", (wire, id) => wire.sendAbout("request", id, { senderId: "somebody-else", data: emptyRequest() })],
  ["no sender", "either", (wire, id) => wire.send({ type: "request", documentId: id, data: emptyRequest() })],
  ["a wrong target", "either", (wire, id) => wire.sendAbout("request", id, { targetId: "not-this-server", data: emptyRequest() })],
  ["a second join with the same name", "either", (wire) => wire.send({ type: "join", senderId: wire.peerId, peerMetadata: {} })],
  ["a second join with another name", "either", (wire) => wire.send({ type: "join", senderId: `${wire.peerId}-2`, peerMetadata: {} })],
  ["leave", "leaves", (wire) => wire.send({ type: "leave", senderId: wire.peerId })],
  ["a peer frame", "either", (wire) => wire.send({ type: "peer", senderId: wire.peerId, targetId: wire.serverId, peerMetadata: {} })],
  ["an error frame", "either", (wire) => wire.send({ type: "error", senderId: wire.peerId, targetId: wire.serverId, message: "!" })],
  ["doc-unavailable for a document not asked for", "ignores", (wire) => wire.sendAbout("doc-unavailable", otherId())],
  ["doc-unavailable for the other's document", "ignores", (wire, id) => wire.sendAbout("doc-unavailable", id)],

  ["sync without data", "closes", (wire, id) => wire.sendAbout("sync", id)],
  ["sync with null as data", "closes", (wire, id) => wire.sendAbout("sync", id, { data: null })],
  ["sync with text as data", "closes", (wire, id) => wire.sendAbout("sync", id, { data: "text" })],
  ["sync with a list as data", "closes", (wire, id) => wire.sendAbout("sync", id, { data: [0x42, 0, 0, 0] })],
  ["sync with empty data", "closes", (wire, id) => wire.sendAbout("sync", id, { data: raw() })],
  ["sync with garbage data", "closes", (wire, id) => wire.sendAbout("sync", id, { data: raw(1, 2, 3, 4, 5) })],
  ["sync with data cut short", "closes", (wire, id) => wire.sendAbout("sync", id, { data: emptyRequest().slice(0, 3) })],
  ["sync with 4 billion heads announced", "closes", (wire, id) => wire.sendAbout("sync", id, { data: raw(0x42, 0xff, 0xff, 0xff, 0xff, 0x0f) })],
  ["sync with a change of garbage", "closes", (wire, id) => wire.sendAbout("sync", id, { data: raw(0x42, 0, 0, 0, 1, 4, 0x85, 0x6f, 0x4a, 0x83) })],
  ["a request with garbage data", "closes", (wire) => wire.sendAbout("request", otherId(), { data: raw(0x99, 0, 0) })],

  ["sync without documentId", "closes", (wire) => wire.send({ type: "sync", senderId: wire.peerId, targetId: wire.serverId, data: emptyRequest() })],
  ["a number as documentId", "closes", (wire) => wire.send({ type: "sync", senderId: wire.peerId, documentId: 5, data: emptyRequest() })],
  ["an empty documentId", "closes", (wire) => wire.sendAbout("request", "", { data: emptyRequest() })],
  ["a documentId that is no base58", "closes", (wire) => wire.sendAbout("request", "0OIl/../etc", { data: emptyRequest() })],
  ["a documentId with a wrong checksum", "closes", (wire, id) => wire.sendAbout("request", id.slice(0, -1) + (id.endsWith("z") ? "y" : "z"), { data: emptyRequest() })],
  ["a documentId of 1 MiB", "closes", (wire) => wire.sendAbout("request", "2".repeat(1 << 20), { data: emptyRequest() })],

  ["ephemeral without data", "closes", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 1 })],
  ["ephemeral with text as data", "closes", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 1, data: "text" })],
  ["ephemeral with data that is no CBOR", "either", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 1, data: raw(0xff, 0x1c) })],
  ["ephemeral with text as count", "closes", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: "1", data: encode(1) })],
  ["ephemeral with a negative count", "either", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: -1, data: encode(1) })],
  ["ephemeral with a fraction as count", "either", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 1.5, data: encode(1) })],
  ["ephemeral with 2^63 as count", "either", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: "s", count: 2n ** 63n, data: encode(1) })],
  ["ephemeral without sessionId", "closes", (wire, id) => wire.sendAbout("ephemeral", id, { count: 1, data: encode(1) })],
  ["ephemeral with a number as sessionId", "closes", (wire, id) => wire.sendAbout("ephemeral", id, { sessionId: 1, count: 1, data: encode(1) })],

  ["a subscription to text", "closes", (wire) => wire.send({ type: "remote-subscription-change", senderId: wire.peerId, targetId: wire.serverId, add: "text" })],
  ["a subscription to numbers", "closes", (wire) => wire.send({ type: "remote-subscription-change", senderId: wire.peerId, targetId: wire.serverId, add: [1, 2] })],
  ["a subscription to 100,000 storages", "either", (wire) => wire.send({ type: "remote-subscription-change", senderId: wire.peerId, targetId: wire.serverId, add: Array.from({ length: 100_000 }, (_, n) => `storage ${n}`) })],
  ["an empty subscription", "ignores", (wire) => wire.send({ type: "remote-subscription-change", senderId: wire.peerId, targetId: wire.serverId, add: undefined, remove: undefined })],
  ["remote heads without newHeads", "closes", (wire, id) => wire.sendAbout("remote-heads-changed", id)],
  ["remote heads of garbage", "closes", (wire, id) => wire.sendAbout("remote-heads-changed", id, { newHeads: { storage: 5 } })],
  ["remote heads that are no hashes", "either", (wire, id) => wire.sendAbout("remote-heads-changed", id, { newHeads: { s: { heads: ["no hash"], timestamp: 1 } } })],
  ["remote heads of a document nobody has", "ignores", (wire) => wire.sendAbout("remote-heads-changed", otherId(), { newHeads: {} })],
];

/**
 * Two stock clients with a document between them, who must not notice anything. They stay for all cases.
 *
 * @typedef {{ server: Server, clients: Client[], mine: Handle, theirs: Handle }} Bystanders
 * @type {Bystanders | undefined}
 */
let bystanders;

/** @param {Server} server @returns {Promise<Bystanders>} */
async function bystandersOn(server) {
  if (bystanders?.server !== server) {
    dismissBystanders();
    const clients = [new Client(server.ws), new Client(server.ws)];
    const mine = clients[0].repo.create({ n: 0 });
    await clients[0].saved(mine);
    bystanders = { server, clients, mine, theirs: await clients[1].find(mine.url) };
  }
  return bystanders;
}

function dismissBystanders() {
  bystanders?.clients.forEach((client) => client.close());
  bystanders = undefined;
}
after(dismissBystanders);

/** @param {Bystanders} bystanders */
async function assertUndisturbed({ server, clients, mine, theirs }) {
  const content = mine.doc().n + 1;
  mine.change((doc) => (doc.n = content));
  await converged([mine, theirs], "the bystanders' next edit", VERDICT_MS);
  assert.deepEqual(theirs.doc(), { n: content }, "the bystanders' document holds their edits only");
  for (const client of clients) assert.deepEqual(client.violations, [], "frames no client should be sent");
  assert.ok(server.alive, "the server lives");
  for (const base of [server.http, server.admin]) assert.equal((await fetch(`${base}/healthz`)).status, 200, `${base}/healthz`);
}

/** @param {Wire} wire */
function assertClosedWithReason(wire) {
  const { code, reason } = /** @type {import("../harness/wire.js").Closed} */ (wire.closed);
  assert.ok(code >= 1002 && code !== 1005 && code !== 1006, `closed with a code that says why, not ${code}`);
  // "Message too big" says it all, and is often sent by the WebSocket library itself.
  if (code !== 1009) assert.notEqual(reason, "", `closed (${code}) with a reason`);
}

/**
 * Sees what became of the connection: one that goes on answers a request for an unknown document.
 *
 * @param {Wire} wire
 * @param {Outcome} outcome
 */
async function assertOutcome(wire, outcome) {
  if (outcome === "closes") {
    await wire.untilClosed(VERDICT_MS);
    return assertClosedWithReason(wire);
  }
  const probe = otherId();
  wire.sendAbout("request", probe, { data: emptyRequest() });
  const answered = () => wire.frames.some(({ type, documentId }) => type === "doc-unavailable" && documentId === probe);
  await until("the connection answers or is closed", () => answered() || wire.closed, { within: VERDICT_MS });
  if (wire.closed && !(outcome === "leaves" && wire.closed.code === 1000)) {
    assert.equal(outcome, "either", `closed with ${wire.closed.code} ${wire.closed.reason}`);
    assertClosedWithReason(wire);
  }
}

for (const [name, outcome, attack] of [...NO_FRAMES, ...BEFORE_JOIN]) {
  scenario(`before the join, ${name} (${outcome})`, async (world) => {
    const server = await world.sharedServer();
    const others = await bystandersOn(server);
    const wire = await world.wire(server);
    wire.peerId = `hostile-${world.random.seed}`;
    attack(wire, others.mine.documentId);
    if (outcome === "closes") {
      await assertOutcome(wire, outcome);
    } else {
      // A connection that goes on can still join.
      const { peerId } = wire;
      await wire.join(peerId).catch((error) => {
        if (!wire.closed) throw error;
      });
      await assertOutcome(wire, outcome);
    }
    await assertUndisturbed(others);
  });
}

for (const [name, outcome, attack] of [...NO_FRAMES, ...AFTER_JOIN]) {
  scenario(`after the join, ${name} (${outcome})`, async (world) => {
    const server = await world.sharedServer();
    const others = await bystandersOn(server);
    const wire = await world.wire(server);
    await wire.join(`hostile-${world.random.seed}`);
    attack(wire, others.mine.documentId);
    await assertOutcome(wire, outcome);
    await assertUndisturbed(others);
  });
}

scenario("edits and messages in another's name have no effect", async (world) => {
  const server = await world.sharedServer();
  const [victim, reader] = [world.client(server), world.client(server)];
  const mine = victim.repo.create({ n: 0 });
  await victim.saved(mine);
  const theirs = await reader.find(mine.url);
  /** @type {unknown[]} */
  const heard = [];
  theirs.on("ephemeral-message", ({ senderId, message }) => heard.push([senderId, message]));

  const wire = await world.wire(server);
  await wire.join(`impostor-${world.random.seed}`);
  wire.sendAbout("ephemeral", mine.documentId, { senderId: victim.peerId, sessionId: "forged", count: 1, data: encode("forged") });
  wire.sendAbout("ephemeral", mine.documentId, { sessionId: "own", count: 1, data: encode("own") });
  await until("the message in the own name is heard", () => heard.length > 0);
  assert.deepEqual(heard, [[wire.peerId, "own"]]);
  mine.change((doc) => (doc.n = 1));
  await converged([mine, theirs], "the victim's next edit");
  assert.equal(wire.closed, undefined, "the stock server drops such frames silently");
});

scenario("a flood of broken connections leaves the server healthy", async (world) => {
  const server = await world.sharedServer();
  const others = await bystandersOn(server);
  const frames = [raw(0xff), encode(null), encode({ type: "sync" }), new Uint8Array(1_000).fill(0x81)];
  const wires = await Promise.all(Array.from({ length: 200 }, () => world.wire(server)));
  for (const [index, wire] of wires.entries()) wire.sendBytes(frames[index % frames.length]);
  for (const wire of wires.filter((_, index) => index % frames.length === 0)) await wire.untilClosed();
  for (const wire of wires) wire.terminate();
  await assertUndisturbed(others);
});

scenario("messages that readers relay under their author's name go nowhere, and close nobody", async (world) => {
  const server = await world.sharedServer();
  const author = world.client(server);
  const mine = author.repo.create({ n: 0 });
  await author.saved(mine);
  const readers = [world.client(server), world.client(server)];
  // A stock client passes every message that it receives on to all its peers but the author: back to the server.
  const heard = await Promise.all(
    readers.map(async (reader) => {
      /** @type {unknown[]} */
      const list = [];
      (await reader.find(mine.url)).on("ephemeral-message", ({ message }) => list.push(message));
      return list;
    }),
  );
  let frames = 0;
  for (const reader of readers) reader.onFrame(({ type }) => (frames += type === "ephemeral" ? 1 : 0));
  for (let n = 0; n < 50; n++) mine.broadcast(n);
  await until("all readers hear all messages", () => heard.every((list) => list.length === 50));
  const marker = await world.wire(server);
  await marker.join(`marker-${world.random.seed}`);
  marker.sendAbout("ephemeral", mine.documentId, { sessionId: "m", count: 1, data: encode("the end") });
  await until("the marker is heard by all", () => heard.every((list) => list.at(-1) === "the end"));
  assert.equal(frames, readers.length * 51, "no reader is sent a message twice");
  for (const reader of readers) assert.ok(reader.isConnected);
});
