import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "./eventually";
import { Stage } from "./stage";
import type { Window } from "./window";

const stage = new Stage();

async function facts(window: Window): Promise<{ author: string | null; offset: string | null }> {
  const summary = window.page.locator(".history-facts");
  return { author: await summary.getAttribute("data-author"), offset: await summary.getAttribute("data-offset") };
}

async function goTo(window: Window, change: number): Promise<void> {
  await window.slider.fill(`${change}`);
  await window.page.getByText(new RegExp(`^Change ${change} of `)).waitFor();
}

test("any earlier state can be looked at, with who made it, when, and where it is in the log", async () => {
  const [one, two] = await stage.openTwo();
  await one.type("ABCDE");
  await one.addTodo("one's");
  await two.showsText("ABCDE");
  await two.editor.focus();
  await two.press("Control+End");
  await two.type("FGH");
  await one.showsText("ABCDEFGH");
  await Promise.all([one.isIn("connected saved"), two.isIn("connected saved")]);

  await one.button("History").click();
  await eventually("every change has its offset", () => facts(one), ({ offset }) => offset !== null);
  // The creation, five letters, the to-do, three letters.
  assert.equal(await one.slider.getAttribute("max"), "10");
  assert.equal(await one.pastText(), "ABCDEFGH");
  assert.equal((await facts(one)).author, "Grace");

  const offsets: number[] = [];
  for (let change = 1; change <= 10; change += 1) {
    await goTo(one, change);
    await eventually("the text then", () => one.pastText(), (text) => text === "ABCDEFGH".slice(0, textLengthAfter(change)));
    assert.deepEqual(await one.todos(), change >= 7 ? ["- one's"] : []);
    const { author, offset } = await facts(one);
    assert.equal(author, change <= 7 ? "Ada" : "Grace");
    offsets.push(Number(offset));
  }
  assert.ok(offsets.every((offset, at) => at === 0 || offset > (offsets[at - 1] ?? 0)), offsets.join());

  await goTo(one, 4);
  await one.page.locator(".past-inserted", { hasText: /^C$/ }).waitFor();
  assert.ok(await one.page.locator(".history-facts time").isVisible());
  const { content } = await stage.server.json(`v1/documents/${await one.documentId()}?change=4`);
  assert.equal((content as { text?: unknown }).text, await one.pastText(), "the server agrees about that state");
});

function textLengthAfter(change: number): number {
  if (change <= 6) return change - 1;
  return change === 7 ? 5 : change - 2;
}

test("the past cannot be edited, the present goes on meanwhile, and now is one click away", async () => {
  const [one, two] = await stage.openTwo();
  await one.type("past");
  await one.addTodo("thing");
  await two.showsText("past");
  await one.isIn("connected saved");
  await one.button("History").click();
  await one.slider.waitFor();
  await goTo(one, 3);
  assert.equal(await one.pastText(), "pa");
  await one.page.getByText("The past · read only").waitFor();
  assert.equal(await one.editor.isVisible(), false);
  await one.pastEditor.focus();
  await one.press("x");
  await one.press("Backspace");
  assert.equal(await one.pastText(), "pa");
  assert.equal(await one.page.getByLabel("New to-do").count(), 0);
  assert.ok(await one.page.getByRole("textbox", { name: "Title" }).evaluate((title: HTMLInputElement) => title.readOnly));
  await two.page.locator(".avatar[data-name=Ada][data-at=history]").waitFor();

  await two.editor.focus();
  await two.press("Control+End");
  await two.type("!");
  await eventually("the timeline grows", () => one.slider.getAttribute("max"), (max) => max === "7");
  assert.equal(await one.pastText(), "pa", "and stays where it is");

  await one.button("Play").click();
  await eventually("it plays to the end", () => one.slider.inputValue(), (value) => value === "7");
  assert.equal(await one.pastText(), "past!");
  await one.button("Play").waitFor();
  await one.button("Earlier").click();
  await eventually("a step back", () => one.pastText(), (text) => text === "past");

  await one.button("Back to now").click();
  await one.showsText("past!");
  await one.type("?");
  await eventually("editing goes on", () => two.text(), (text) => text.includes("?"));
});

test("without the server there still is a history, without offsets", async () => {
  const one = await stage.open("Ada");
  await one.type("ab");
  await one.isIn("connected saved");
  await stage.server.kill();
  await one.type("c");
  await one.isIn("offline waiting");
  await one.button("History").click();
  await one.page.getByText("The server's log cannot be reached").waitFor();
  assert.deepEqual(await facts(one), { author: "Ada", offset: null });
  await goTo(one, 2);
  assert.equal(await one.pastText(), "a");
  await stage.server.restart();
});
