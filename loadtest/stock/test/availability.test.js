// Documents that do not exist, do not exist yet, or are just arriving.

import assert from "node:assert/strict";

import { change, from, generateSyncMessage, getHeads, init, initSyncState, receiveSyncMessage, save } from "@automerge/automerge";
import { generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";

import { converged } from "../harness/client.js";
import { until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

const unknownId = () => parseAutomergeUrl(generateAutomergeUrl()).documentId;

/**
 * The first sync message of a peer that has this document: its heads, no changes yet.
 *
 * @param {import("@automerge/automerge").Doc<any>} doc
 */
function announcement(doc) {
  const [state, message] = generateSyncMessage(doc, initSyncState());
  assert.ok(message);
  return { state, message };
}

scenario("an unknown document is reported unavailable", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  await client.connected();
  for (let n = 0; n < 3; n++) {
    const id = unknownId();
    const started = Date.now();
    await assert.rejects(client.find(id, 10_000), /is unavailable/);
    assert.ok(Date.now() - started < 10_000);
    assert.equal(client.repo.handles[id].state, "unavailable");
  }
});

scenario("a request for an unknown document is answered with doc-unavailable once", async (world) => {
  const server = await world.sharedServer();
  const wire = await world.wire(server);
  await wire.join(`wire-${world.random.seed}`);
  const [first, second] = [unknownId(), unknownId()];
  const { message } = announcement(init());
  wire.sendAbout("request", first, { data: message });
  wire.sendAbout("request", second, { data: message });
  for (const id of [first, second]) await wire.next((frame) => frame.documentId === id && frame.type === "doc-unavailable", `doc-unavailable for ${id}`);
  const answers = wire.frames.filter(({ type, documentId }) => type === "doc-unavailable" && documentId === first);
  assert.equal(answers.length, 1);
  assert.deepEqual(answers[0], { type: "doc-unavailable", senderId: wire.serverId, targetId: wire.peerId, documentId: first });
});

scenario("a document that appears later reaches those who asked before", async (world) => {
  const server = await world.sharedServer();
  const [early, author] = [world.client(server), world.client(server)];
  const id = unknownId();
  await assert.rejects(early.find(id, 10_000), /is unavailable/);
  const waiting = early.repo.handles[id];

  const theirs = author.repo.import(save(from({ appeared: "later" })), { docId: id });
  await until("the document is pushed to who asked before", () => waiting.state === "ready");
  await converged([waiting, theirs], "the pushed document");
  assert.deepEqual(waiting.doc(), { appeared: "later" });

  waiting.change((/** @type {any} */ doc) => (doc.answer = 42));
  await converged([waiting, theirs], "an edit by who asked before");
  assert.equal(/** @type {any} */ (theirs.doc()).answer, 42);
  const late = await world.client(server).find(id);
  assert.deepEqual(late.doc(), { appeared: "later", answer: 42 });
});

scenario("a client that has forgotten its first attempt finds the document later", async (world) => {
  const server = await world.sharedServer();
  const id = unknownId();
  // The published client keeps "unavailable" for the life of a Repo, so the second attempt is a new one's.
  await assert.rejects(world.client(server).find(id, 10_000), /is unavailable/);
  const author = world.client(server);
  const handle = author.repo.import(save(from({ appeared: "later" })), { docId: id });
  await author.saved(handle);
  const found = await world.client(server).find(id);
  assert.deepEqual(found.doc(), { appeared: "later" });
});

scenario("a find that overtakes the upload waits for it", async (world) => {
  const server = await world.sharedServer();
  const doc = change(from({ text: "x".repeat(2_000) }), (draft) => (draft.text = "uploaded"));
  const uploader = await world.wire(server);
  await uploader.join(`uploader-${world.random.seed}`);
  const id = unknownId();
  let { state, message } = announcement(doc);
  uploader.sendAbout("sync", id, { data: message });
  const reply = await uploader.next(({ type, documentId }) => type === "sync" && documentId === id, "a sync reply");

  const seeker = world.client(server);
  await seeker.connected();
  /** @type {string[]} */
  const seen = [];
  seeker.onFrame(({ type }) => seen.push(type));
  const found = seeker.find(id);
  found.catch(() => {});
  // A second document's answer shows that the server has read the request for the first.
  await assert.rejects(seeker.find(unknownId(), 10_000), /is unavailable/);
  assert.equal(seeker.repo.handles[id].state, "requesting", "the seeker is kept waiting while the upload is under way");

  let received;
  [received, state] = receiveSyncMessage(doc, state, reply.data);
  const [, changes] = generateSyncMessage(received, state);
  uploader.sendAbout("sync", id, { data: changes });
  assert.deepEqual((await found).doc(), { text: "uploaded" });
});

scenario("a find that waits for an upload which never comes is told so", async (world) => {
  const server = await world.sharedServer();
  const uploader = await world.wire(server);
  await uploader.join(`uploader-${world.random.seed}`);
  const id = unknownId();
  uploader.sendAbout("sync", id, { data: announcement(from({ never: "sent" })).message });
  await uploader.next(({ type, documentId }) => type === "sync" && documentId === id, "a sync reply");
  const seeker = world.client(server);
  await seeker.connected();
  const found = seeker.find(id, 20_000);
  found.catch(() => {});
  uploader.terminate();
  await assert.rejects(found, /is unavailable/);
});

scenario("whoever asks while a document is being created has it in the end", async (world) => {
  const server = await world.sharedServer();
  const [author, seeker] = [world.client(server), world.client(server)];
  await Promise.all([author.connected(), seeker.connected()]);
  for (let n = 0; n < 25; n++) {
    const mine = author.repo.create({ n });
    // The request may be the first to arrive: then `find` may fail, but the document must still come.
    await seeker.find(mine.url).catch((error) => assert.match(error.message, /is unavailable/));
    const handle = seeker.repo.handles[mine.documentId];
    await until(`document ${n} has come`, () => handle.state === "ready");
    assert.deepEqual(handle.doc(), { n });
  }
});

scenario("a document without content is found and can be edited by both", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [world.client(server), world.client(server)];
  const mine = a.repo.create();
  await a.saved(mine);
  const theirs = await b.find(mine.url);
  assert.deepEqual(theirs.doc(), {});
  theirs.change((doc) => (doc.first = "content"));
  await converged([mine, theirs], "the first content");
  assert.deepEqual(mine.doc(), { first: "content" });
});

scenario("a document without any change does not make find hang, and comes with its first change", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [world.client(server), world.client(server)];
  await Promise.all([a.connected(), b.connected()]);
  const id = unknownId();
  /** @type {import("../harness/client.js").Handle} */
  const mine = a.repo.import(save(init()), { docId: id });
  mine.doneLoading();
  assert.deepEqual(getHeads(mine.doc()), []);
  await b.find(id, 10_000).catch((error) => assert.match(error.message, /is unavailable/));
  const theirs = b.repo.handles[id];
  mine.change((doc) => (doc.first = "content"));
  await until("the first change has come", () => theirs.state === "ready" && theirs.doc().first === "content");
});
