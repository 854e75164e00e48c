import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "./eventually";
import { Stage } from "./stage";
import type { Window } from "./window";

const stage = new Stage();

test("the server is killed in the middle of a sentence, and nothing is missing afterwards", async () => {
  const { server } = stage;
  const [one, two] = await stage.openTwo();
  await one.type("Before. ");
  await one.addTodo("kept");
  await two.showsText("Before. ");

  const sentence = "This sentence is typed while the server dies";
  const typing = (async () => {
    await one.editor.focus();
    await one.page.keyboard.type(sentence, { delay: 15 });
  })();
  await eventually("the sentence has begun", () => two.text(), (text) => text.startsWith("Before. This"));
  await server.kill();
  await typing;
  await Promise.all([one.isIn("offline waiting"), two.page.locator(".saved[data-phase=offline]").waitFor()]);
  assert.match(await one.badge(), /^Offline · \d+ edits? waits?$/);

  await one.type(" and after it.");
  await two.addTodo("added offline");
  await two.isIn("offline waiting");
  assert.equal(await one.text(), `Before. ${sentence} and after it.`);

  await server.restart();
  const expected = `Before. ${sentence} and after it.`;
  for (const window of [one, two]) {
    await window.showsText(expected);
    await eventually("the to-dos", () => window.todos(), (todos) => todos.join("|") === "- kept|- added offline");
    await window.isIn("connected saved");
    assert.equal(await window.badge(), "All changes saved");
  }

  const three = await stage.open("Edsger", await one.documentUrl());
  await three.showsText(expected);
  assert.deepEqual(await three.todos(), ["- kept", "- added offline"]);
  await eventually("all three see each other", () => three.people(), (people) => people.join() === "Ada,Grace");
});

test("what the badge calls saved survives the end of every process that knew it", async () => {
  const { server } = stage;
  let url = server.url;
  let written = "";
  for (let round = 1; round <= 3; round += 1) {
    // A profile of its own each time, so that what it shows can only come from the server's disk.
    const author = await stage.open(`Author ${round}`, url);
    await author.showsText(written);
    url = await author.documentUrl();
    await author.editor.focus();
    await author.press("Control+End");
    await author.type(`Round ${round}. `);
    written += `Round ${round}. `;
    await author.isIn("connected saved");
    await server.kill();
    await author.context.close();
    await server.restart();
  }
  const witness = await stage.open("Witness", url);
  await witness.showsText(written);
});

test("the badge does not say saved before the server has the edits", async () => {
  const { server } = stage;
  const one = await stage.open("Ada");
  await one.isIn("connected saved");
  await server.kill();
  await one.isIn("offline saved");
  assert.equal(await one.badge(), "Offline · all saved");
  await one.type("abc");
  await one.isIn("offline waiting");
  assert.equal(await one.badge(), "Offline · 3 edits wait");
  await server.restart();
  await one.button("Retry now").click({ timeout: 2_000 }).catch(() => {
    // It had found the way back by itself.
  });
  await one.isIn("connected saved");
  const { content } = await server.json(`v1/documents/${await one.documentId()}`);
  assert.equal((content as { text?: unknown }).text, "abc");
});

test("edits made offline outlive their tab", async () => {
  const { server } = stage;
  const one = await stage.open("Ada");
  await one.type("online. ");
  await one.isIn("connected saved");
  const url = await one.documentUrl();
  await server.kill();
  await one.type("offline.");
  await one.isIn("offline waiting");
  await localStoreIsQuiet(one);
  await one.page.goto("about:blank");
  await one.close();

  await server.restart();
  const again = await stage.open("Ada", url, one.context);
  await again.showsText("online. offline.");
  await again.isIn("connected saved");
  const witness = await stage.open("Witness", url);
  await witness.showsText("online. offline.");
});

/** The repo writes at most every 100 ms; when nothing has been written for longer, everything has been. */
async function localStoreIsQuiet(window: Window): Promise<void> {
  const seen: number[] = [];
  await eventually(
    "the local store has settled",
    async () => seen.push(await window.page.evaluate(countStoredBytes)),
    () => seen.length > 20 && new Set(seen.slice(-20)).size === 1,
  );
}

function countStoredBytes(): Promise<number> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("aetherflow");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const reading = opening.result.transaction("documents").objectStore("documents").getAll();
      reading.onerror = () => reject(reading.error);
      reading.onsuccess = () => {
        opening.result.close();
        const pieces = reading.result as { binary: Uint8Array }[];
        resolve(pieces.reduce((sum, { binary }) => sum + binary.byteLength, 0));
      };
    };
  });
}
