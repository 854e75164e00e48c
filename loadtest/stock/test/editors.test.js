// Twenty people in one document, editing everything a document can hold.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";

import { Counter, splice } from "@automerge/automerge";

import { converged } from "../harness/client.js";
import { scenario } from "../harness/world.js";

const EDITORS = 20;
const ROUNDS = 3;
const CHANGES_PER_ROUND = 6;

/**
 * One random edit. Whatever it destroys, it leaves a mark of its own in `marks`, where nothing is ever deleted.
 *
 * @param {any} doc
 * @param {import("../harness/random.js").Random} random
 * @param {string} mark
 * @returns {number} by how much it moved the counter
 */
function edit(doc, random, mark) {
  doc.marks[mark] = true;
  const step = random.between(-5, 6);
  switch (random.between(0, 8)) {
    case 0:
      splice(doc, ["text"], random.between(0, doc.text.length + 1), 0, `${mark} 🖋`);
      break;
    case 1:
      splice(doc, ["text"], 0, Math.min(doc.text.length, random.between(0, 4)));
      break;
    case 2:
      doc.list.splice(random.between(0, doc.list.length + 1), 0, { by: mark, tags: [mark] });
      break;
    case 3:
      if (doc.list.length > 0) doc.list.splice(random.between(0, doc.list.length), 1);
      break;
    case 4:
      doc.map[`k${random.between(0, 10)}`] = random.chance(0.5) ? mark : random.between(0, 1_000);
      break;
    case 5:
      delete doc.map[`k${random.between(0, 10)}`];
      break;
    case 6:
      doc.nested[`n${random.between(0, 4)}`] = { deep: { deeper: [mark, null, 0.5] } };
      break;
    default:
      doc.counter.increment(step);
      return step;
  }
  return 0;
}

scenario(`${EDITORS} concurrent editors end with one document`, async (world) => {
  const server = await world.sharedServer();
  const clients = Array.from({ length: EDITORS }, () => world.client(server, { retryMs: 1_000 }));
  const first = clients[0].repo.create({ text: "start", list: [], map: {}, nested: {}, marks: {}, counter: new Counter(0) });
  await clients[0].saved(first);
  const others = await Promise.all(clients.slice(1).map((client) => client.find(first.url)));
  const handles = [first, ...others];

  let counter = 0;
  /** @type {string[]} */
  const marks = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (let n = 0; n < EDITORS * CHANGES_PER_ROUND; n++) {
      const mark = `r${round}n${n}`;
      marks.push(mark);
      handles[n % EDITORS].change((doc) => (counter += edit(doc, world.random, mark)));
    }
    // All twenty live in this process: were they never to rest, they would be too busy to answer the server's pings.
    await converged(handles, `all editors after round ${round}`, 40_000);
  }

  const fresh = await world.client(server).find(first.url);
  await converged([...handles, fresh], "a fresh client too");
  for (const [index, handle] of [...handles, fresh].entries()) {
    // Not JSON text: the order of a map's keys is the order in which this client learned of them.
    assert.ok(isDeepStrictEqual(handle.doc(), first.doc()), `equal heads, equal content (client ${index})`);
  }
  assert.deepEqual(Object.keys(fresh.doc().marks).sort(), marks.sort(), "every edit is there");
  assert.equal(fresh.doc().counter.value, counter, "every increment counts once");
  assert.equal(fresh.history()?.length, marks.length + 1);
});
