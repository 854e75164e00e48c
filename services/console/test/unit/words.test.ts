import assert from "node:assert/strict";
import { test } from "node:test";
import type { Saved } from "../../web/sync/durability";
import { describe } from "../../web/ui/savedWords";
import { initials } from "../../web/ui/initials";
import { momentTime } from "../../web/ui/time";

test("the badge promises what is true and no more", () => {
  const waiting = (count: number): Saved => ({ kind: "waiting", count });
  assert.equal(describe({ kind: "saved" }, "connected"), "All changes saved");
  assert.equal(describe({ kind: "saving", count: 3 }, "connected"), "Saving…");
  assert.equal(describe({ kind: "unconfirmed" }, "connected"), "Sent, not confirmed");
  assert.equal(describe({ kind: "saved" }, "offline"), "Offline · all saved");
  assert.equal(describe(waiting(1), "offline"), "Offline · 1 edit waits");
  assert.equal(describe(waiting(12), "offline"), "Offline · 12 edits wait");
  assert.equal(describe(waiting(2), "connecting"), "Connecting · 2 edits wait");
});

test("avatars carry the first and the last initial", () => {
  assert.equal(initials("Quiet Heron"), "QH");
  assert.equal(initials("ada"), "A");
  assert.equal(initials("one two three"), "OT");
  assert.equal(initials("🌱 sprout"), "🌱S");
});

test("a time of today needs no date, one of another year needs it whole", () => {
  const now = new Date(2026, 5, 15, 18, 0, 0);
  assert.doesNotMatch(momentTime(new Date(2026, 5, 15, 9, 30, 5).getTime(), now), /15|2026/);
  assert.match(momentTime(new Date(2026, 5, 14, 9, 30, 5).getTime(), now), /14/);
  assert.match(momentTime(new Date(2025, 5, 15, 9, 30, 5).getTime(), now), /2025/);
});
