import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "./eventually";
import { Stage } from "./stage";

const stage = new Stage();

test("what one types the other reads, both ways", async () => {
  const [one, two] = await stage.openTwo();
  await one.type("First line 🌱\nsecond");
  await two.showsText("First line 🌱\nsecond");

  await two.editor.focus();
  await two.press("Control+End");
  await two.type(" line");
  await one.showsText("First line 🌱\nsecond line");

  await one.page.getByRole("textbox", { name: "Title" }).fill("Plans");
  const title = two.page.getByRole("textbox", { name: "Title" });
  await eventually("the title arrives", () => title.inputValue(), (value) => value === "Plans");
});

test("two people type at the same time, and both windows end with the same words", async () => {
  const [one, two] = await stage.openTwo();
  await one.type("one: \ntwo: ");
  await two.showsText("one: \ntwo: ");
  await one.editor.focus();
  await one.press("Control+Home");
  await one.press("End");
  await two.editor.focus();
  await two.press("Control+End");
  await Promise.all([one.page.keyboard.type("the quick brown fox"), two.page.keyboard.type("jumps over the dog")]);
  const expected = "one: the quick brown fox\ntwo: jumps over the dog";
  await Promise.all([one.showsText(expected), two.showsText(expected)]);
  await Promise.all([one.isIn("connected saved"), two.isIn("connected saved")]);
});

test("undo takes back the own words and leaves the other's", async () => {
  const [one, two] = await stage.openTwo();
  await one.type("mine");
  await two.showsText("mine");
  await two.editor.focus();
  await two.press("Control+End");
  await two.type(" theirs");
  await one.showsText("mine theirs");
  await one.editor.focus();
  await one.press("Control+z");
  await Promise.all([one.showsText(" theirs"), two.showsText(" theirs")]);
});

test("to-dos are added, renamed, ticked and removed for both", async () => {
  const [one, two] = await stage.openTwo();
  const both = async (expected: string[]): Promise<void> => {
    for (const window of [one, two]) {
      await eventually("the to-dos", () => window.todos(), (todos) => todos.join("|") === expected.join("|"));
    }
  };
  await one.addTodo("Water the plants");
  await one.addTodo("Call the plumber");
  await both(["- Water the plants", "- Call the plumber"]);
  await two.page.getByLabel("Done: Water the plants").check();
  await both(["x Water the plants", "- Call the plumber"]);
  await two.page.getByLabel("Edit: Call the plumber").fill("Call the painter");
  await both(["x Water the plants", "- Call the painter"]);
  await one.page.getByLabel("Done: Water the plants").uncheck();
  await one.page.getByLabel("Edit: Call the painter").hover();
  await one.button("Remove: Call the painter").click();
  await both(["- Water the plants"]);
});

test("people see each other come, move and go", async () => {
  const [one, two] = await stage.openTwo();
  await eventually("one sees the other", () => one.people(), (people) => people.join() === "Grace");
  await eventually("the other sees one", () => two.people(), (people) => people.join() === "Ada");

  await one.type("hello world");
  await two.showsText("hello world");
  await two.editor.focus();
  await two.press("Control+Home");
  await eventually("their caret", () => one.carets(), ({ Grace }) => Grace === 0);
  await two.press("Control+ArrowRight");
  await eventually("it moves", () => one.carets(), ({ Grace }) => Grace === 5);
  await one.press("Control+Home");
  await one.type("Oh, ");
  await eventually("it stays with its word", () => one.carets(), ({ Grace }) => Grace === 9);
  await eventually("also in its owner's eyes", () => two.carets(), ({ Ada }) => Ada === 4);
  await two.press("Control+Shift+End");
  await one.page.locator(".other-selection", { hasText: "world" }).waitFor();

  await two.addTodo("watched");
  await two.page.getByLabel("Edit: watched").focus();
  await one.page.locator(".todo[data-guest=Grace]").waitFor();

  await two.button("You are Grace. Change name and colour").click();
  await two.page.getByLabel("Your name").fill("Hopper");
  await two.press("Enter");
  await eventually("the new name", () => one.people(), (people) => people.join() === "Hopper");

  const three = await stage.open("Edsger", await one.documentUrl());
  await eventually("a third", () => one.people(), (people) => people.join() === "Edsger,Hopper");
  await eventually("sees both", () => three.people(), (people) => people.join() === "Ada,Hopper");
  await two.close();
  await eventually("one leaves", () => one.people(), (people) => people.join() === "Edsger");
  assert.deepEqual(Object.keys(await one.carets()), []);
});

test("a bare document made by the HTTP interface can be written in by two at once", async () => {
  const { url } = await stage.server.json("v1/documents", {});
  assert.equal(typeof url, "string");
  const address = `${stage.server.url}#${String(url)}`;
  const [one, two] = [await stage.open("Ada", address), await stage.open("Grace", address)];
  await Promise.all([one.isIn("connected saved"), two.isIn("connected saved")]);
  await Promise.all([one.type("one"), two.type("two")]);
  const text = await eventually(
    "the words of both",
    async () => [await one.text(), await two.text()],
    ([first, second]) => first === second && first?.length === 6,
  );
  assert.match(text[0] ?? "", /^(?=.*o.*n.*e)(?=.*t.*w.*o)/);
});

test("a link that leads nowhere says so, and a new document is one click away", async () => {
  const window = await stage.open("Ada", `${stage.server.url}#automerge:nonsense`);
  await window.page.getByRole("heading", { name: "This link leads nowhere" }).waitFor();
  await window.button("New document").click();
  await window.isIn("connected saved");
  const first = await window.documentUrl();
  await window.button("New document").click();
  await eventually("another document", () => window.page.url(), (url) => url !== first);
  await window.page.goBack();
  await eventually("and back", () => window.page.url(), (url) => url === first);
  await window.isIn("connected saved");

  await window.page.goto(`${stage.server.url}#automerge:4NMNnkMhL8jXrdJ9jamS58PAVdXu`);
  await window.page.getByRole("heading", { name: "Not here yet" }).waitFor();
});
