import assert from "node:assert/strict";
import { test } from "node:test";
import { readMay } from "../../web/access/standing";
import { isToken, splitToken } from "../../web/access/token";
import { parseLink } from "../../web/document/link";
import { describe } from "../../web/ui/savedWords";

const URL = "automerge:2j9knpCseyhnK8izDmLpGP5WMdZQ";

test("the token of a link is no part of the document's address", () => {
  assert.deepEqual(splitToken(`#${URL}&token=a.b-c_d`), { token: "a.b-c_d", rest: `#${URL}` });
  assert.deepEqual(splitToken("#token=abc"), { token: "abc", rest: "" });
  assert.deepEqual(splitToken(`#token=abc&${URL}`), { token: "abc", rest: `#${URL}` });
  assert.deepEqual(splitToken(`#${URL}`), { token: null, rest: `#${URL}` });
  assert.deepEqual(parseLink(`#${URL}&token=abc`), parseLink(`#${URL}`));
  assert.deepEqual(parseLink("#token=abc"), { kind: "none" });
});

test("what cannot stand in a header is no token", () => {
  for (const good of ["a.b.c", "afk_1_x~y", "A-_9"]) assert.ok(isToken(good), good);
  for (const bad of ["", "a b", "a\nb", "a,b", "é", "a".repeat(8_193)]) assert.ok(!isToken(bad), bad.slice(0, 9));
});

test("what one may do is what the server lists, and an unreadable list is no answer", () => {
  const viewer = { read: true, write: false, administer: false, asked: true };
  assert.deepEqual(readMay({ allows: ["read", "presence"] }), viewer);
  assert.deepEqual(readMay({ allows: [] }), { read: false, write: false, administer: false, asked: true });
  for (const strange of [null, {}, { allows: "read" }, 3]) assert.equal(readMay(strange), null);
});

test("nobody is told that edits are on their way that the server will not take", () => {
  const viewer = { read: true, write: false };
  assert.equal(describe({ kind: "saved" }, "connected", viewer), "Up to date");
  assert.equal(describe({ kind: "saving", count: 2 }, "connected", viewer), "2 edits not accepted");
  assert.equal(describe({ kind: "saved" }, "connected", { read: false, write: false }), "No access");
});
