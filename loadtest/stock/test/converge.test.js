// Two applications, one document: the least a sync server must do.

import assert from "node:assert/strict";

import { converged, headsOf } from "../harness/client.js";
import { scenario } from "../harness/world.js";

for (const path of ["", "/", "/automerge"]) {
  scenario(`two clients converge over ws://host:port${path}`, async (world) => {
    const server = await world.sharedServer();
    const [a, b] = [world.client(server.ws + path), world.client(server.ws + path)];
    const mine = a.repo.create({ title: "first", items: /** @type {string[]} */ ([]) });
    await a.saved(mine);
    const theirs = await b.find(mine.url);
    assert.deepEqual(theirs.doc(), { title: "first", items: [] });

    mine.change((doc) => doc.items.push("from a"));
    theirs.change((doc) => doc.items.push("from b"));
    mine.change((doc) => (doc.title = "second"));
    await converged([mine, theirs], "edits of both sides");
    assert.deepEqual(theirs.doc(), mine.doc());
    assert.equal(theirs.doc().title, "second");
    assert.deepEqual([...theirs.doc().items].sort(), ["from a", "from b"]);
  });
}

scenario("clients on different paths meet in the same document", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [world.client(`${server.ws}/`), world.client(`${server.ws}/automerge`)];
  const mine = a.repo.create({ from: "/" });
  await a.saved(mine);
  const theirs = await b.find(mine.url);
  theirs.change((doc) => (doc.answer = "from /automerge"));
  await converged([mine, theirs], "an edit from /automerge");
  assert.deepEqual(mine.doc(), { from: "/", answer: "from /automerge" });
});

scenario("an edit reaches the others without being asked for, each exactly once", async (world) => {
  const server = await world.sharedServer();
  const [a, b, c] = [world.client(server), world.client(server), world.client(server)];
  const mine = a.repo.create({ counter: 0 });
  await a.saved(mine);
  const [second, third] = [await b.find(mine.url), await c.find(mine.url)];
  for (let n = 1; n <= 20; n++) {
    mine.change((doc) => (doc.counter = n));
    await converged([mine, second, third], `edit ${n}`);
    assert.equal(third.doc().counter, n);
  }
  assert.equal(third.history()?.length, 21, "the creating change and one for each edit");
});

scenario("documents do not leak into one another", async (world) => {
  const server = await world.sharedServer();
  const [a, b] = [world.client(server), world.client(server)];
  const [one, two] = [a.repo.create({ name: "one" }), a.repo.create({ name: "two" })];
  await a.saved(one);
  await a.saved(two);
  const theirs = await b.find(one.url);
  two.change((doc) => (doc.name = "two, edited"));
  one.change((doc) => (doc.name = "one, edited"));
  await a.saved(two);
  await converged([one, theirs], "the shared document");
  assert.deepEqual(theirs.doc(), { name: "one, edited" });
  assert.deepEqual(headsOf(theirs), headsOf(one));
  assert.deepEqual(Object.keys(b.repo.handles), [one.documentId], "the server announces no document that was not asked for");
});
