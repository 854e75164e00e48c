// What a client reads as saved is saved: the server may be killed at the very moment it is read.

import assert from "node:assert/strict";

import { change, from, getHeads } from "@automerge/automerge";
import { generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";

import { converged, headsOf, isSaved } from "../harness/client.js";
import { SOON_MS, until, within } from "../harness/until.js";
import { scenario } from "../harness/world.js";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * Kills the server from within the event by which the client learns that all its edits are saved, and the client with
 * it: one that lived on would upload its edits again and hide their loss.
 *
 * @param {import("../harness/client.js").Client} client
 * @param {import("../harness/client.js").Handle} handle
 * @param {import("../harness/server.js").Server} server
 */
async function killWhenSaved(client, handle, server) {
  const storageId = await client.serverStorageId();
  await within(
    "the client reads its edits as saved",
    new Promise((resolve) => {
      const look = () => {
        if (!isSaved(handle, storageId)) return;
        server.kill();
        client.close();
        handle.off("remote-heads", look);
        resolve(undefined);
      };
      handle.on("remote-heads", look);
      look();
    }),
  );
}

scenario("edits read as saved survive SIGKILL at that moment", async (world) => {
  const server = await world.server();
  const random = world.random.fork();
  let writer = world.client(server);
  /** @type {import("../harness/client.js").Handle} */
  let handle = writer.repo.create({ edits: {} });
  await writer.connected();
  /** @type {Record<string, string>} */
  const expected = {};
  for (let round = 0; round < 6; round++) {
    for (let n = random.between(1, 40); n > 0; n--) {
      const [name, value] = [`${round}.${n}`, "v".repeat(random.between(1, 400))];
      handle.change((doc) => (doc.edits[name] = value));
      expected[name] = value;
    }
    const heads = headsOf(handle);
    await killWhenSaved(writer, handle, server);
    await server.restart();

    writer = world.client(server);
    handle = await writer.find(handle.url);
    assert.deepEqual(headsOf(handle), heads, `round ${round}: exactly the changes that were read as saved`);
    assert.deepEqual(handle.doc(), { edits: expected });
  }
});

scenario("a new document read as saved survives SIGKILL at that moment", async (world) => {
  const server = await world.server();
  for (let round = 0; round < 4; round++) {
    const writer = world.client(server);
    await writer.connected();
    const handle = writer.repo.create({ round, text: "y".repeat(50_000 * round) });
    const heads = headsOf(handle);
    await killWhenSaved(writer, handle, server);
    await server.restart();
    const found = await world.client(server).find(handle.url);
    assert.deepEqual(headsOf(found), heads);
    assert.deepEqual(found.doc(), handle.doc());
  }
});

scenario("an edit that another client shows survives SIGKILL at that moment", async (world) => {
  const server = await world.server();
  for (let round = 0; round < 4; round++) {
    const [author, reader] = [world.client(server), world.client(server)];
    const mine = author.repo.create({ round, shown: false });
    await author.saved(mine);
    const theirs = await reader.find(mine.url);
    const shown = new Promise((resolve) => {
      theirs.on("heads-changed", () => {
        server.kill();
        author.close();
        reader.close();
        resolve(undefined);
      });
    });
    mine.change((doc) => (doc.shown = true));
    await within("the reader shows the edit", shown);
    const heads = headsOf(theirs);
    await server.restart();
    const found = await world.client(server).find(mine.url);
    assert.deepEqual(headsOf(found), heads, "nothing is shown to anybody before it is durable");
    assert.equal(found.doc().shown, true);
  }
});

scenario("the storage id is a UUID and survives SIGTERM and SIGKILL", async (world) => {
  const server = await world.server();
  const id = await world.client(server).serverStorageId();
  assert.match(id, UUID);
  for (const signal of /** @type {const} */ (["SIGTERM", "SIGKILL"])) {
    await server.restart(signal);
    assert.equal(await world.client(server).serverStorageId(), id, `after ${signal}`);
  }
  const other = await world.server();
  assert.notEqual(await world.client(other).serverStorageId(), id, "servers with data of their own have ids of their own");
});

scenario("SIGTERM ends the server with exit code 0, and nothing is lost by it", async (world) => {
  const server = await world.server();
  const a = world.client(server);
  const handles = Array.from({ length: 10 }, (_, index) => a.repo.create({ index }));
  await Promise.all(handles.map((handle) => a.saved(handle)));
  a.close();
  assert.equal(await server.stop("SIGTERM"), 0);
  await server.restart();
  const b = world.client(server);
  for (const handle of handles) {
    const found = await b.find(handle.url);
    assert.deepEqual(found.doc(), handle.doc());
  }
});

scenario("edits sent while the reply to earlier ones is under way are reported as saved, too", async (world) => {
  const server = await world.sharedServer();
  const wire = await world.wire(server);
  await wire.join(`pipelined-${world.random.seed}`);
  for (let round = 0; round < 60; round++) {
    const { documentId } = parseAutomergeUrl(generateAutomergeUrl());
    const followed = wire.follow(documentId, from({ n: 0 }));
    // Stock clients hold edits back for 100 ms, but not until the last ones are answered. Where in the server's work on
    // the earlier ones the later ones arrive differs from round to round.
    for (let n = 1; n <= 4; n++) {
      for (let turns = world.random.between(0, 12); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
      followed.doc = change(followed.doc, (doc) => (doc.n = n));
      followed.push();
    }
    await until(
      `round ${round}: the server says it has the last edit`,
      () => String([...followed.theirHeads].sort()) === String([...getHeads(followed.doc)].sort()),
      { within: SOON_MS / 3, detail: () => ({ theirs: followed.theirHeads, ours: getHeads(followed.doc) }) },
    );
  }
});

scenario("a client that was told nothing keeps trying until its edits are saved", async (world) => {
  const server = await world.server();
  const a = world.client(server);
  const handle = a.repo.create({ edits: 0 });
  await a.saved(handle);
  await server.stop("SIGKILL");
  await a.disconnected();
  handle.change((doc) => (doc.edits = 1));
  const storageId = /** @type {import("../harness/client.js").StorageId} */ (await knownStorageId(a));
  assert.ok(!isSaved(handle, storageId), "an edit made while the server is down is not read as saved");
  await server.restart();
  await until("the edit is saved after the restart", () => isSaved(handle, storageId), { within: SOON_MS });
  await converged([handle, await world.client(server).find(handle.url)], "a fresh client has it");
});

/** The server's storage id as the client remembers it while offline. @param {import("../harness/client.js").Client} client */
async function knownStorageId(client) {
  const [metadata] = Object.values(client.repo.peerMetadataByPeerId);
  return metadata?.storageId;
}
