// The first frames of a connection, and what keeps it alive.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";

import { findBigInt } from "../harness/client.js";
import { until, within } from "../harness/until.js";
import { scenario } from "../harness/world.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

scenario("the peer frame has exactly the fields of the protocol", async (world) => {
  const server = await world.sharedServer();
  const wire = await world.wire(server);
  const { type, senderId, targetId, peerMetadata, selectedProtocolVersion, ...rest } = await wire.join("peer one");
  assert.equal(type, "peer");
  assert.ok(typeof senderId === "string" && senderId.length > 0);
  assert.equal(targetId, "peer one");
  assert.equal(selectedProtocolVersion, "1");
  assert.match(peerMetadata.storageId, UUID);
  // Clients keep the sync state of a server only if it is not ephemeral.
  assert.ok(peerMetadata.isEphemeral === false || peerMetadata.isEphemeral === undefined);
  assert.deepEqual(Object.keys(peerMetadata).filter((key) => key !== "storageId" && key !== "isEphemeral"), []);
  assert.deepEqual(rest, {});
  assert.deepEqual(wire.frames.map((frame) => findBigInt(frame)), [undefined]);
});

for (const [versions, accepted] of /** @type {const} */ ([
  [undefined, true],
  [["1"], true],
  [["1", "2"], true],
  [["99", "1"], true],
  [["2"], false],
  [[], false],
])) {
  const offer = JSON.stringify(versions) ?? "no list";
  scenario(`protocol versions ${offer}: ${accepted ? "version 1 is chosen" : "an error and the end"}`, async (world) => {
    const server = await world.sharedServer();
    const wire = await world.wire(server);
    const peerId = `versions-${world.random.seed}`;
    if (accepted) {
      const peer = await wire.join(peerId, { supportedProtocolVersions: versions });
      assert.equal(peer.selectedProtocolVersion, "1");
      return;
    }
    wire.send({ type: "join", senderId: peerId, peerMetadata: {}, supportedProtocolVersions: versions });
    await wire.untilClosed();
    assert.equal(wire.frames.length, 1);
    const { type, senderId, targetId, message, ...rest } = wire.frames[0];
    assert.deepEqual([type, targetId, rest], ["error", peerId, {}]);
    assert.ok(typeof senderId === "string" && senderId.length > 0);
    assert.match(message, /version/i);
  });
}

for (const [what, peerMetadata] of /** @type {[string, unknown][]} */ ([
  ["empty", {}],
  ["with undefined fields", { storageId: undefined, isEphemeral: undefined }],
  ["with a storage id only", { storageId: "11111111-2222-4333-8444-555555555555" }],
  ["with isEphemeral only", { isEphemeral: true }],
  ["with fields of the future", { isEphemeral: false, colour: "blue", more: { deep: [1] } }],
])) {
  scenario(`peer metadata ${what} is accepted`, async (world) => {
    const wire = await world.wire(await world.sharedServer());
    await wire.join(`metadata-${world.random.seed}`, { peerMetadata });
  });
}

for (const peerId of ["with spaces and / and #", "ключ-🔑-\u0301", "x".repeat(200), "storage-server-localhost"]) {
  scenario(`the peer id ${JSON.stringify(peerId.slice(0, 30))} is accepted and echoed`, async (world) => {
    const wire = await world.wire(await world.sharedServer());
    const peer = await wire.join(peerId);
    assert.equal(peer.targetId, peerId);
  });
}

scenario("a join in several WebSocket fragments is one join", async (world) => {
  const wire = await world.wire(await world.sharedServer());
  wire.sendFragmented({ type: "join", senderId: "in pieces", peerMetadata: {}, supportedProtocolVersions: ["1"] }, 4);
  const peer = await wire.next(({ type }) => type === "peer", "a peer frame");
  assert.equal(peer.targetId, "in pieces");
});

scenario("a connection that joins late is served like any other", async (world) => {
  const server = await world.sharedServer();
  const late = await world.wire(server);
  const [a, b] = [world.client(server), world.client(server)];
  const handle = a.repo.create({ n: 1 });
  await a.saved(handle);
  await b.find(handle.url);
  assert.deepEqual(late.frames, [], "nothing is sent before the join");
  await late.join(`late-${world.random.seed}`);
});

scenario("idle connections are pinged; who does not answer is dropped, who answers is kept", async (world) => {
  const server = await world.sharedServer();
  const [alive, dead] = [await world.wire(server), await world.wire(server, { autoPong: false })];
  await alive.join(`alive-${world.random.seed}`);
  await dead.join(`dead-${world.random.seed}`);
  await until("both are pinged", () => alive.pings > 0 && dead.pings > 0, { within: 30_000, every: 50 });
  await dead.untilClosed(45_000);
  const pings = alive.pings;
  assert.equal(alive.closed, undefined);
  await until("the one that answers is pinged on", () => alive.pings > pings, { within: 30_000, every: 50 });
});

scenario("bytes that are no HTTP end the connection and nothing else", async (world) => {
  const server = await world.sharedServer();
  for (const bytes of [Buffer.from("\0\0\0\0garbage\r\n\r\n"), Buffer.from(`GET ${"x".repeat(100_000)} HTTP/1.1\r\n`), Buffer.from([0x82, 0xff, 0xff])]) {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    await within("a TCP connection", once(socket, "connect"));
    socket.end(bytes);
    socket.resume();
    await within("the connection ends", new Promise((resolve) => socket.once("close", resolve)));
  }
  await (await world.wire(server)).join(`after-${world.random.seed}`);
});
