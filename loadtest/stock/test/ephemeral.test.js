// Ephemeral messages: cursors and the like. They go to whoever has the document open, in order, and nowhere else.

import assert from "node:assert/strict";

import { encode } from "../harness/wire.js";
import { until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

/**
 * Everything a client's application hears on a document.
 *
 * @param {import("../harness/client.js").Handle} handle
 */
function listen(handle) {
  /** @type {{ from: string, message: any }[]} */
  const heard = [];
  handle.on("ephemeral-message", ({ senderId, message }) => heard.push({ from: senderId, message }));
  return heard;
}

/**
 * Broadcasts until the listener hears it. What was sent before by the same client has arrived by then, or never will:
 * the absence of a message is proven by the presence of a later one, not by waiting.
 *
 * @param {import("../harness/client.js").Handle} handle
 * @param {{ message: any }[]} heard the listener's list
 * @param {string} marker
 */
async function mark(handle, heard, marker) {
  await until(
    `the marker ${marker} is heard`,
    () => {
      if (heard.some(({ message }) => message === marker)) return true;
      handle.broadcast(marker);
      return false;
    },
    { every: 100 },
  );
}

scenario("ephemeral messages reach the others in order, not the author, not those without the document", async (world) => {
  const server = await world.sharedServer();
  const [author, reader, other] = [world.client(server), world.client(server), world.client(server)];
  const mine = author.repo.create({ name: "watched" });
  const elsewhere = author.repo.create({ name: "another document" });
  await author.saved(mine);
  await author.saved(elsewhere);
  const theirs = await reader.find(mine.url);
  const [heardByAuthor, heardByReader] = [listen(mine), listen(theirs)];
  const heardElsewhere = listen(await other.find(elsewhere.url));
  /** @type {string[]} */
  const framesToOther = [];
  other.onFrame(({ type, documentId }) => type === "ephemeral" && framesToOther.push(String(documentId)));
  const heads = mine.heads();

  const sent = Array.from({ length: 300 }, (_, n) => ({ n, cursor: { line: n, selected: n % 2 === 0 }, name: "é 🖱" }));
  for (const message of sent) mine.broadcast(message);
  await until("the reader has heard everything", () => heardByReader.length >= sent.length);
  assert.deepEqual(heardByReader, sent.map((message) => ({ from: author.peerId, message })));

  await mark(theirs, heardByAuthor, "from the reader");
  assert.ok(heardByAuthor.every(({ from }) => from === reader.peerId), "the author hears nothing of its own");
  await mark(elsewhere, heardElsewhere, "in the other document");
  assert.ok(heardElsewhere.every(({ message }) => message === "in the other document"));
  assert.deepEqual(new Set(framesToOther), new Set([elsewhere.documentId]));
  assert.deepEqual(mine.heads(), heads, "the document is as it was");
});

scenario("messages of one client in several documents all arrive", async (world) => {
  const server = await world.sharedServer();
  const [author, reader] = [world.client(server), world.client(server)];
  // Receivers drop a message whose count does not rise, and a client counts across its documents: a server that orders
  // by document only makes them drop some.
  const mine = Array.from({ length: 8 }, (_, index) => author.repo.create({ index }));
  await Promise.all(mine.map((handle) => author.saved(handle)));
  const heard = await Promise.all(mine.map(async ({ url }) => listen(await reader.find(url))));
  for (let n = 0; n < 400; n++) mine[n % mine.length].broadcast(n);
  await until("all messages of all documents are heard", () => heard.reduce((sum, list) => sum + list.length, 0) >= 400, {
    detail: () => heard.map((list) => list.length),
  });
  for (const [index, list] of heard.entries()) {
    assert.deepEqual(list.map(({ message }) => message), Array.from({ length: 50 }, (_, round) => round * 8 + index));
  }
});

scenario("messages and edits flow side by side", async (world) => {
  const server = await world.sharedServer();
  const [author, reader] = [world.client(server), world.client(server)];
  const mine = author.repo.create({ n: 0 });
  await author.saved(mine);
  const theirs = await reader.find(mine.url);
  const heard = listen(theirs);
  for (let n = 1; n <= 100; n++) {
    mine.change((doc) => (doc.n = n));
    mine.broadcast(n);
  }
  await until("messages and edits have arrived", () => heard.length === 100 && theirs.doc().n === 100);
  assert.deepEqual(heard.map(({ message }) => message), Array.from({ length: 100 }, (_, n) => n + 1));
});

scenario("ephemeral messages are not stored", async (world) => {
  const server = await world.server();
  const [author, reader] = [world.client(server), world.client(server)];
  const mine = author.repo.create({ name: "watched" });
  await author.saved(mine);
  const heard = listen(await reader.find(mine.url));
  for (let n = 0; n < 20; n++) mine.broadcast({ early: n });
  await until("the reader has heard all", () => heard.length === 20);

  const late = listen(await world.client(server).find(mine.url));
  await mark(mine, late, "to the late joiner");
  assert.deepEqual([...new Set(late.map(({ message }) => message))], ["to the late joiner"]);

  await server.restart();
  await author.connected();
  const afterRestart = listen(await world.client(server).find(mine.url));
  await mark(mine, afterRestart, "after the restart");
  assert.ok(!afterRestart.some(({ message }) => message.early !== undefined), "nothing of before the restart is heard");
  assert.ok(afterRestart.every(({ message }) => message === "after the restart"));
});

scenario("a forwarded message keeps all fields but the target", async (world) => {
  const server = await world.sharedServer();
  const owner = world.client(server);
  const handle = owner.repo.create({ name: "watched" });
  await owner.saved(handle);
  const heard = listen(handle);

  const wire = await world.wire(server);
  await wire.join(`wire-${world.random.seed}`);
  const data = encode({ cursor: 7 });
  /** @type {import("../harness/client.js").Message[]} */
  const frames = [];
  owner.onFrame((frame) => frame.type === "ephemeral" && frames.push(frame));
  wire.sendAbout("ephemeral", handle.documentId, { sessionId: "a session", count: 41, data });
  await until("the message is heard", () => heard.length === 1);
  assert.deepEqual(heard, [{ from: wire.peerId, message: { cursor: 7 } }]);
  const [{ senderId, targetId, sessionId, count, documentId, ...rest }] = frames;
  assert.deepEqual([senderId, targetId, sessionId, count], [wire.peerId, owner.peerId, "a session", 41]);
  assert.equal(documentId, handle.documentId);
  assert.deepEqual(new Uint8Array(/** @type {Uint8Array} */ (rest.data)), data);
});

scenario("a message for a document nobody has open disturbs nobody", async (world) => {
  const server = await world.sharedServer();
  const owner = world.client(server);
  const handle = owner.repo.create({ name: "watched" });
  await owner.saved(handle);
  const heard = listen(handle);
  const wire = await world.wire(server);
  await wire.join(`wire-${world.random.seed}`);
  const unknown = world.client(server).repo.create({}).documentId;
  wire.sendAbout("ephemeral", unknown, { sessionId: "s", count: 1, data: encode("to nobody") });
  wire.sendAbout("ephemeral", handle.documentId, { sessionId: "s", count: 2, data: encode("to the owner") });
  await until("the next message is heard", () => heard.length > 0);
  assert.deepEqual(heard.map(({ message }) => message), ["to the owner"]);
  assert.equal(wire.closed, undefined);
});
