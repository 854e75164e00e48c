import assert from "node:assert/strict";
import { test } from "node:test";
import type { Locator } from "playwright-core";
import { eventually } from "./eventually";
import { Stage } from "./stage";
import type { Window } from "./window";

const stage = new Stage("serve");
/** How browsers log what `fetch` was told. */
const REFUSED = /status of 40[13]/;
const SECOND = 1_000;

async function openOwner(): Promise<{ owner: Window; token: string }> {
  const token = await stage.server.mint("ada");
  const owner = await stage.open("Ada", `${stage.server.url}#token=${token}`);
  await owner.isIn("connected saved");
  return { owner, token };
}

function dialog(window: Window): Locator {
  return window.page.getByRole("dialog");
}

/** Makes a link in the dialog, which stays open, by the keyboard where `byKeyboard`. */
async function makeLink(owner: Window, role: "Can view" | "Can edit"): Promise<string> {
  if (!(await dialog(owner).isVisible())) await owner.button("Share").click();
  const made = dialog(owner).getByRole("textbox", { name: "The new link" });
  const before = (await made.count()) === 0 ? "" : await made.inputValue();
  await dialog(owner).getByLabel(role).check();
  await dialog(owner).getByRole("button", { name: "Create link" }).click();
  return eventually(
    "the link is shown",
    async () => ((await made.count()) === 0 ? "" : made.inputValue()),
    (link) => link !== "" && link !== before,
  );
}

async function total(owner: Window, token: string): Promise<number> {
  const history = await stage.server.json(`v1/documents/${await owner.documentId()}/history`, undefined, token);
  return history["total"] as number;
}

test("a token opens the page, is kept in the tab and leaves the address at once", async () => {
  const requests: string[] = [];
  const { owner, token } = await openOwner();
  owner.page.on("request", (request) => requests.push(request.url()));
  owner.page.on("websocket", (socket) => requests.push(socket.url()));
  assert.ok(!(await owner.documentUrl()).includes("token"), "no token in the address");
  await owner.type("written by Ada");
  await owner.isIn("connected saved");
  await owner.page.reload();
  await owner.showsText("written by Ada");
  await owner.isIn("connected saved");
  assert.ok(requests.some((url) => url.startsWith("ws:")), "the socket was seen");
  assert.deepEqual(requests.filter((url) => url.includes(token)), [], "no token in a URL");
});

test("without a good token there is one question and no storm, and a pasted token goes on", async () => {
  const { server } = stage;
  const guest = await stage.open("Guest", server.url, undefined, REFUSED);
  const attempts: string[] = [];
  guest.page.on("request", (request) => {
    if (!request.url().endsWith("favicon.svg")) attempts.push(request.url());
  });
  guest.page.on("websocket", (socket) => attempts.push(socket.url()));
  await guest.page.getByRole("heading", { name: "Who are you?" }).waitFor();
  const field = guest.page.getByLabel("Access token or link");
  assert.ok(await field.evaluate((element) => element === document.activeElement), "ready to paste");

  await field.fill("not a token!");
  await guest.press("Enter");
  await guest.page.getByText("That is no token").waitFor();
  assert.deepEqual(attempts, [], "nothing was asked meanwhile");

  await field.fill("not.a.token");
  await guest.press("Enter");
  await guest.page.getByText("Not accepted:").waitFor();
  assert.deepEqual(attempts.map((url) => new URL(url).pathname), ["/v1/access"]);

  await field.fill(await server.mint("grace"));
  await guest.press("Enter");
  await guest.isIn("connected saved");
  await guest.type("in");
  await guest.isIn("connected saved");
});

test("a token that runs out closes the door and not the text; a fresh one goes on", async () => {
  const { server } = stage;
  const short = await stage.open("Ada", `${server.url}#token=${await server.mint("ada", 4)}`, undefined, REFUSED);
  await short.type("kept");
  await short.page.getByRole("heading", { name: /run out|not accepted/ }).waitFor();
  await short.page.getByLabel("Access token or link").fill(await server.mint("ada"));
  await short.press("Enter");
  await short.showsText("kept");
  await short.isIn("connected saved");
});

test("a viewer sees every change, can make none, and is cut off when the link is taken back", async () => {
  const { owner, token } = await openOwner();
  await owner.type("Hello");
  await owner.isIn("connected saved");
  const link = await makeLink(owner, "Can view");
  const viewer = await stage.open("Grace", link, undefined, REFUSED);
  await viewer.showsText("Hello");
  await viewer.page.getByText("View only.").waitFor();
  assert.ok(!viewer.page.url().includes("token"), "no token in the address");
  await eventually("each sees the other", () => owner.people(), (people) => people.join() === "Grace");
  assert.ok(await dialog(owner).getByText("Grace").isVisible(), "by name, in the dialog too");

  const before = await total(owner, token);
  await viewer.type("NO");
  await viewer.press("Backspace");
  assert.equal(await viewer.text(), "Hello");
  assert.equal(await viewer.editor.getAttribute("aria-readonly"), "true");
  assert.ok(!(await viewer.page.getByRole("textbox", { name: "Title" }).isEditable()));
  assert.equal(await viewer.page.getByLabel("New to-do").count(), 0);

  await owner.press("Escape");
  await owner.editor.focus();
  await owner.press("Control+End");
  await owner.type(" there");
  await viewer.showsText("Hello there");
  await owner.isIn("connected saved");
  assert.equal(await total(owner, token), before + " there".length, "nothing of the viewer's is in the log");

  await owner.button("Share").click();
  const row = dialog(owner).locator("[data-role=viewer]");
  await row.waitFor();
  const cut = viewer.page.getByText("Your access to this document has ended.").waitFor({ timeout: SECOND });
  await row.getByRole("button", { name: /^Remove access/ }).click();
  await cut;
  await eventually("the link is off the list", () => row.count(), (count) => count === 0);
  await owner.press("Escape");
  await owner.editor.focus();
  await owner.press("Control+End");
  await owner.type("!");
  await owner.isIn("connected saved");
  assert.equal(await viewer.text(), "Hello there", "what comes later is not seen");
  assert.deepEqual(await viewer.people(), []);

  const late = await stage.open("Late", link, undefined, REFUSED);
  await late.page.getByRole("heading", { name: "This document is not open to you" }).waitFor();
});

test("an editor edits, and loses that too", async () => {
  const { owner } = await openOwner();
  await owner.type("a");
  await owner.isIn("connected saved");
  const editor = await stage.open("Grace", await makeLink(owner, "Can edit"), undefined, REFUSED);
  await editor.showsText("a");
  await editor.editor.focus();
  await editor.press("Control+End");
  await editor.type("b");
  await owner.showsText("ab");
  await editor.isIn("connected saved");
  assert.equal(await editor.button("New document").count(), 0, "a link makes no documents");
  await editor.button("Share").click();
  await dialog(editor).getByText("Its owners decide who else may.").waitFor();
  await editor.press("Escape");

  await dialog(owner).locator("[data-role=editor]").getByRole("button").click();
  await editor.page.getByText("Your access to this document has ended.").waitFor({ timeout: SECOND });
  await editor.type("c");
  assert.equal(await editor.text(), "ab");
  await owner.showsText("ab");
});

test("the dialog is used by the keyboard alone", async () => {
  const { owner } = await openOwner();
  await owner.button("Share").focus();
  await owner.press("Enter");
  const create = dialog(owner).getByRole("button", { name: "Create link" });
  await create.waitFor();
  const isFocused = (): Promise<boolean> => create.evaluate((button) => button === document.activeElement);
  for (let tabs = 0; tabs < 10 && !(await isFocused()); tabs += 1) await owner.press("Tab");
  assert.ok(await isFocused(), "the tabulator leads there");
  await owner.press("Enter");
  await dialog(owner).getByRole("textbox", { name: "The new link" }).waitFor();
  await owner.press("Escape");
  await eventually("it is closed", () => dialog(owner).isVisible(), (isVisible) => !isVisible);
  assert.ok(await owner.button("Share").evaluate((button) => button === document.activeElement), "the focus is back");
});
