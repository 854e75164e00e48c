// Who comes late gets everything, also from a server that has been restarted since.

import assert from "node:assert/strict";

import { change, from, getAllChanges, save, splice, stats } from "@automerge/automerge";

import { converged, headsOf } from "../harness/client.js";
import { scenario } from "../harness/world.js";

scenario("a late joiner loads the document, also after a restart of the server", async (world) => {
  const server = await world.server();
  const a = world.client(server);
  const mine = a.repo.create({ text: "" });
  for (let n = 0; n < 50; n++) mine.change((doc) => splice(doc, ["text"], doc.text.length, 0, `${n} `));
  await a.saved(mine);
  const early = await world.client(server).find(mine.url);
  assert.deepEqual(early.doc(), mine.doc());
  a.close();

  const second = await world.client(server).find(mine.url);
  assert.deepEqual(headsOf(second), headsOf(mine), "the author is gone");
  await server.restart();
  const third = await world.client(server).find(mine.url);
  assert.deepEqual(headsOf(third), headsOf(mine), "the server was restarted");
  assert.deepEqual(third.doc(), mine.doc());
});

scenario("a document of more than 5,000 changes loads, grows, and loads again after a restart", async (world) => {
  const server = await world.server();
  const a = world.client(server);
  let doc = from({ text: "", log: /** @type {number[]} */ ([]) });
  for (let n = 0; n < 5_200; n++) {
    doc = change(doc, (draft) => {
      splice(draft, ["text"], world.random.between(0, draft.text.length + 1), 0, String.fromCharCode(97 + (n % 26)));
      if (n % 100 === 0) draft.log.push(n);
    });
  }
  /** @type {import("../harness/client.js").Handle} */
  const mine = a.repo.import(save(doc));
  await a.saved(mine);

  const theirs = await world.client(server).find(mine.url);
  assert.deepEqual(headsOf(theirs), headsOf(mine));
  for (let n = 0; n < 300; n++) theirs.change((draft) => splice(draft, ["text"], 0, 0, "+"));
  await converged([mine, theirs], "300 further changes");
  a.close();

  await server.restart();
  const late = await world.client(server).find(mine.url);
  await converged([late, theirs], "after the restart");
  assert.deepEqual(late.doc(), theirs.doc());
  assert.ok(stats(late.doc()).numChanges >= 5_500, `${stats(late.doc()).numChanges} changes`);
  assert.equal(getAllChanges(late.doc()).length, getAllChanges(mine.doc()).length);
});

scenario("200 documents of one client are all found by another, and again after a restart", async (world) => {
  const server = await world.server();
  const a = world.client(server);
  const mine = Array.from({ length: 200 }, (_, index) =>
    a.repo.create({ index, text: `document ${index}`, list: Array(index % 7).fill(index) }),
  );
  for (const handle of mine) handle.change((/** @type {any} */ doc) => (doc.edited = true));
  await Promise.all(mine.map((handle) => a.saved(handle)));

  for (const when of ["before", "after"]) {
    const b = world.client(server);
    const theirs = await Promise.all(mine.map((handle) => b.find(handle.url, 30_000)));
    for (const [index, handle] of theirs.entries()) {
      assert.deepEqual(headsOf(handle), headsOf(mine[index]), `document ${index}, ${when} the restart`);
      assert.deepEqual(handle.doc(), mine[index].doc());
      assert.equal(handle.doc().index, index);
    }
    b.close();
    if (when === "before") {
      a.close();
      await server.restart();
    }
  }
});
