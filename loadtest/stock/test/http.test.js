// The HTTP interface and stock clients see the same documents.

import assert from "node:assert/strict";

import { change, decodeChange, from, getAllChanges, getHeads, load, save, splice, toJS, view } from "@automerge/automerge";
import { encodeHeads, generateAutomergeUrl, parseAutomergeUrl } from "@automerge/automerge-repo";

import { converged, headsOf } from "../harness/client.js";
import { SOON_MS, until } from "../harness/until.js";
import { scenario } from "../harness/world.js";

/** @typedef {import("../harness/server.js").Server} Server */

const HASH = /^[0-9a-f]{64}$/;
const unknownId = () => parseAutomergeUrl(generateAutomergeUrl()).documentId;

/**
 * @param {Server} server
 * @param {string} path
 * @param {RequestInit} [init]
 */
function call(server, path, init) {
  return fetch(server.http + path, { signal: AbortSignal.timeout(SOON_MS), ...init });
}

/**
 * @param {Server} server
 * @param {string} path
 * @param {number} status that is expected
 * @param {RequestInit} [init]
 * @returns {Promise<any>}
 */
async function json(server, path, status, init) {
  const reply = await call(server, path, init);
  const text = await reply.text();
  assert.equal(reply.status, status, `${init?.method ?? "GET"} ${path}: ${text}`);
  assert.match(reply.headers.get("content-type") ?? "", /^application\/(problem\+)?json/);
  return JSON.parse(text);
}

/** @param {unknown} body @returns {RequestInit} */
const jsonBody = (body) => ({ method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** @param {Uint8Array} body @returns {RequestInit} */
const fileBody = (body) => ({ method: "POST", headers: { "content-type": "application/octet-stream" }, body: new Uint8Array(body) });

/**
 * @param {Server} server
 * @param {string} path
 */
async function download(server, path) {
  const reply = await call(server, path);
  assert.equal(reply.status, 200, path);
  return load(new Uint8Array(await reply.arrayBuffer()));
}

/** Expects an error, in the form all of them have. @param {Server} server @param {string} path @param {number} status @param {RequestInit} [init] */
async function problem(server, path, status, init) {
  const reply = await call(server, path, init);
  const text = await reply.text();
  assert.equal(reply.status, status, `${init?.method ?? "GET"} ${path}: ${text}`);
  assert.match(reply.headers.get("content-type") ?? "", /^application\/problem\+json/, path);
  const body = JSON.parse(text);
  assert.equal(body.status, status);
  for (const field of ["type", "title", "detail"]) assert.equal(typeof body[field], "string", `${field} of ${text}`);
}

scenario("a document posted as JSON is found by a stock client, with texts that can be edited", async (world) => {
  const server = await world.sharedServer();
  const content = {
    title: "posted",
    number: 42,
    fraction: 0.25,
    negative: -1,
    large: 2 ** 40,
    yes: true,
    no: false,
    nothing: null,
    list: [1, "two", { three: [3] }, [], {}],
    map: { inner: { deep: "text 🖋" }, "": "empty key" },
  };
  const created = await json(server, "/v1/documents", 201, jsonBody(content));
  assert.equal(created.url, `automerge:${created.documentId}`);
  assert.ok(Number.isInteger(created.offset) && created.offset >= 1, `offset ${created.offset}`);
  for (const head of created.heads) assert.match(head, HASH);

  const handle = await world.client(server).find(created.url);
  assert.deepEqual(toJS(handle.doc()), content);
  assert.deepEqual(headsOf(handle), [...created.heads].sort());
  // A JSON string becomes a text, as a string given to a stock client does.
  handle.change((doc) => splice(doc, ["title"], 0, 0, "once "));
  const other = await world.client(server).find(created.url);
  await converged([handle, other], "the edit of a posted text");
  assert.equal(other.doc().title, "once posted");
});

scenario("a POST without content creates an empty document that clients can fill", async (world) => {
  const server = await world.sharedServer();
  for (const init of [{ method: "POST" }, jsonBody({})]) {
    const created = await json(server, "/v1/documents", 201, init);
    const handle = await world.client(server).find(created.url);
    assert.deepEqual(toJS(handle.doc()), {});
    handle.change((doc) => (doc.first = "content"));
    const other = await world.client(server).find(created.url);
    await converged([handle, other], "the first content");
  }
});

scenario("GET as JSON equals what a client has, also by URL, and follows its edits", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  const handle = client.repo.create({ text: "from a client", list: [1, 2, [3, { four: null }]], map: { yes: true, half: 0.5 } });
  for (let n = 0; n < 3; n++) {
    handle.change((/** @type {any} */ doc) => splice(doc, ["text"], 0, 0, `${n} `));
    await client.saved(handle);
    for (const id of [handle.documentId, handle.url]) {
      const found = await json(server, `/v1/documents/${id}`, 200);
      assert.deepEqual(found.content, toJS(handle.doc()));
      assert.deepEqual([...found.heads].sort(), headsOf(handle));
      assert.equal(found.documentId, handle.documentId);
      assert.equal(found.url, handle.url);
      assert.equal(found.changes, n + 2);
    }
  }
});

scenario("what is created by HTTP while a client waits for it is pushed to the client", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  const id = unknownId();
  await assert.rejects(client.find(id, 10_000), /is unavailable/);
  await json(server, `/v1/documents/${id}/import`, 200, fileBody(save(from({ by: "HTTP" }))));
  const waiting = client.repo.handles[id];
  await until("the document is pushed", () => waiting.state === "ready");
  assert.deepEqual(waiting.doc(), { by: "HTTP" });
});

scenario("the history lists every change once, in an order that respects dependencies, page by page", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [world.client(server), world.client(server)];
  const started = Date.now();
  const mine = a.repo.create({ n: 0, list: /** @type {string[]} */ ([]) });
  await a.saved(mine);
  const theirs = await b.find(mine.url);
  for (let n = 1; n <= 10; n++) {
    mine.change((doc) => doc.list.push(`a${n}`), { message: `edit ${n} of a` });
    theirs.change((doc) => doc.list.push(`b${n}`));
  }
  await converged([mine, theirs], "both authors");
  await a.saved(mine);

  const base = `/v1/documents/${mine.documentId}/history`;
  const { documentId, total, changes, next } = await json(server, base, 200);
  const expected = new Map(getAllChanges(mine.doc()).map((bytes) => decodeChange(bytes)).map((one) => [one.hash, one]));
  assert.deepEqual([documentId, total, next], [mine.documentId, 21, null]);
  assert.deepEqual(changes.map((/** @type {any} */ one) => one.hash).sort(), [...expected.keys()].sort());
  const seen = new Set();
  for (const [position, one] of changes.entries()) {
    const change = /** @type {import("@automerge/automerge").DecodedChange} */ (expected.get(one.hash));
    assert.equal(one.index, position + 1);
    assert.deepEqual([one.actor, one.seq, one.operations], [change.actor, change.seq, change.ops.length]);
    assert.equal(one.message ?? null, change.message ?? null);
    assert.equal(one.time, change.time * 1_000, "milliseconds, though automerge counts seconds");
    assert.ok(Number.isInteger(one.offset) && one.offset >= 1);
    assert.ok(one.committed >= started - 5_000 && one.committed <= Date.now() + 5_000, `committed ${one.committed}`);
    for (const dependency of change.deps) assert.ok(seen.has(dependency), `change ${one.index} stands after its dependencies`);
    seen.add(one.hash);
  }

  const paged = [];
  /** @type {number | null} */
  let after = 0;
  for (let pages = 0; after !== null; pages++) {
    assert.ok(pages < 10, "paging ends");
    const page = await json(server, `${base}?after=${after}&limit=5`, 200);
    assert.ok(page.changes.length <= 5);
    paged.push(...page.changes);
    after = page.next;
  }
  assert.deepEqual(paged, changes);
});

scenario("the state at ?change=N and at ?heads= is the state of that moment", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  /** @type {import("../harness/client.js").Handle} */
  const handle = client.repo.create({ n: 0, text: "" });
  const moments = [{ content: toJS(handle.doc()), heads: getHeads(handle.doc()) }];
  for (let n = 1; n <= 12; n++) {
    handle.change((doc) => {
      doc.n = n;
      splice(doc, ["text"], 0, 0, `${n},`);
    });
    moments.push({ content: toJS(handle.doc()), heads: getHeads(handle.doc()) });
  }
  await client.saved(handle);
  const base = `/v1/documents/${handle.documentId}`;
  for (const [index, { content, heads }] of moments.entries()) {
    const urlHeads = encodeHeads(heads);
    for (const query of [`change=${index + 1}`, `heads=${heads}`, `heads=${urlHeads}`]) {
      const found = await json(server, `${base}?${query}`, 200);
      assert.deepEqual(found.content, content, query);
      assert.deepEqual(found.heads, heads, query);
    }
  }
  const then = await download(server, `${base}/export?change=7`);
  assert.deepEqual(toJS(then), moments[6].content);
  assert.deepEqual(getHeads(then), moments[6].heads);
  assert.deepEqual(toJS(view(handle.doc(), moments[6].heads)), moments[6].content);
});

scenario("an export loads with automerge and has every change", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  const handle = client.repo.create({ blob: world.random.bytes(50_000), when: new Date(0), n: 0 });
  for (let n = 1; n <= 30; n++) handle.change((doc) => (doc.n = n));
  await client.saved(handle);
  const exported = await download(server, `/v1/documents/${handle.documentId}/export`);
  assert.deepEqual(toJS(exported), toJS(handle.doc()));
  assert.deepEqual(getHeads(exported), getHeads(handle.doc()));
  assert.equal(getAllChanges(exported).length, 31);
});

scenario("an imported file is found by clients, with its history", async (world) => {
  const server = await world.sharedServer();
  let doc = from({ n: 0, text: "imported" });
  for (let n = 1; n <= 50; n++) doc = change(doc, (draft) => (draft.n = n));
  const created = await json(server, "/v1/documents/import", 201, fileBody(save(doc)));
  assert.deepEqual(created.heads, getHeads(doc));
  const handle = await world.client(server).find(created.url);
  assert.deepEqual(toJS(handle.doc()), toJS(doc));
  assert.equal(getAllChanges(handle.doc()).length, 51);
});

scenario("an import into an existing document merges, reaches its clients, and is idempotent", async (world) => {
  const server = await world.sharedServer();
  const client = world.client(server);
  /** @type {import("../harness/client.js").Handle} */
  const handle = client.repo.create({ list: ["start"] });
  await client.saved(handle);
  const branch = change(load(save(handle.doc())), (/** @type {any} */ draft) => draft.list.push("from the file"));
  handle.change((doc) => doc.list.push("from the client"));
  await client.saved(handle);
  const path = `/v1/documents/${handle.documentId}`;
  for (let times = 1; times <= 2; times++) {
    await json(server, `${path}/import`, 200, fileBody(save(branch)));
    await until("the client has the merge", () => handle.doc().list.length === 3);
    const found = await json(server, path, 200);
    assert.deepEqual([...found.content.list].sort(), ["from the client", "from the file", "start"]);
    assert.equal(found.changes, 3, `after import ${times}`);
    assert.deepEqual([...found.heads].sort(), headsOf(handle));
  }
});

scenario("a POST is durable when it is answered: SIGKILL right after the reply", async (world) => {
  const server = await world.server();
  for (let round = 0; round < 3; round++) {
    const created = await json(server, "/v1/documents", 201, jsonBody({ round }));
    server.kill();
    await server.restart();
    const found = await json(server, `/v1/documents/${created.documentId}`, 200);
    assert.deepEqual([found.content, found.heads, found.changes], [{ round }, created.heads, 1]);
  }
});

scenario("the list of documents holds each once, page by page", async (world) => {
  const server = await world.server();
  const created = [];
  for (let n = 0; n < 12; n++) created.push((await json(server, "/v1/documents", 201, jsonBody({ n }))).documentId);
  const client = world.client(server);
  const handle = client.repo.create({ by: "a client" });
  await client.saved(handle);
  created.push(handle.documentId);
  const listed = [];
  /** @type {string | null} */
  let after = null;
  do {
    const page = await json(server, `/v1/documents?limit=5${after ? `&after=${after}` : ""}`, 200);
    assert.ok(page.documents.length <= 5);
    listed.push(...page.documents.map((/** @type {any} */ one) => one.documentId));
    after = page.next;
    assert.ok(listed.length <= created.length, "paging ends");
  } while (after);
  assert.deepEqual([...listed].sort(), created.sort());
});

scenario("errors are problem+json, and nothing is created by them", async (world) => {
  const server = await world.server();
  const client = world.client(server);
  const handle = client.repo.create({ n: 1 });
  await client.saved(handle);
  const path = `/v1/documents/${handle.documentId}`;
  const absent = `/v1/documents/${unknownId()}`;
  for (const suffix of ["", "/history", "/export"]) await problem(server, absent + suffix, 404);
  // The last digit belongs to the checksum: any other one is wrong.
  const mistyped = handle.documentId.slice(0, -1) + (handle.documentId.endsWith("1") ? "2" : "1");
  for (const id of ["not-base58-0OIl", mistyped, "2".repeat(500)]) await problem(server, `/v1/documents/${id}`, 400);
  for (const query of ["change=nonsense", "change=-1", "heads=nonsense"]) await problem(server, `${path}?${query}`, 400);
  for (const body of ["{", "[1]", '"text"', "5"]) {
    await problem(server, "/v1/documents", 400, { method: "POST", headers: { "content-type": "application/json" }, body });
  }
  for (const file of [new Uint8Array([1, 2, 3]), new Uint8Array(save(from({ a: 1 }))).slice(0, -3)]) {
    await problem(server, "/v1/documents/import", 400, fileBody(file));
    await problem(server, `${path}/import`, 400, fileBody(file));
    await problem(server, `${absent}/import`, 400, fileBody(file));
  }
  await problem(server, "/v1/no-such-thing", 404);
  const { documents } = await json(server, "/v1/documents", 200);
  assert.deepEqual(documents, [{ documentId: handle.documentId }]);
  assert.equal((await json(server, path, 200)).changes, 1);
});

scenario("health is told on both listeners, metrics on the admin one", async (world) => {
  const server = await world.sharedServer();
  for (const base of [server.http, server.admin]) {
    const healthy = await fetch(`${base}/healthz`);
    assert.deepEqual([healthy.status, await healthy.json()], [200, { status: "ok" }]);
    assert.equal((await fetch(`${base}/readyz`)).status, 200);
  }
  const metrics = await fetch(`${server.admin}/metrics`);
  assert.equal(metrics.status, 200);
  assert.match(await metrics.text(), /^# TYPE /m);
});
