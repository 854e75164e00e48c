import type { May } from "../access/standing";
import type { Phase } from "../sync/connection";
import type { Saved } from "../sync/durability";

/** The state of connection and edits in a few words. "Saved" is said of what the server has confirmed, nothing else. */
export function describe(saved: Saved, phase: Phase, may: Pick<May, "read" | "write"> = { read: true, write: true }): string {
  if (phase === "connected") {
    if (!may.read) return "No access";
    if (!may.write) return saved.kind === "saving" ? `${edits(saved.count)} not accepted` : "Up to date";
    if (saved.kind === "saved") return "All changes saved";
    return saved.kind === "unconfirmed" ? "Sent, not confirmed" : "Saving…";
  }
  const where = phase === "offline" ? "Offline" : "Connecting";
  if (saved.kind === "saved") return `${where} · all saved`;
  if (saved.kind !== "waiting") return where;
  return `${where} · ${edits(saved.count)} ${saved.count === 1 ? "waits" : "wait"}`;
}

function edits(count: number): string {
  return count === 1 ? "1 edit" : `${count.toLocaleString()} edits`;
}

/** The same, at length. */
export function explain(saved: Saved, keepsEdits: boolean): string {
  switch (saved.kind) {
    case "saved":
      return "The server has confirmed that every change is durably stored.";
    case "saving":
      return `The server has not confirmed ${saved.count.toLocaleString()} of the changes yet.`;
    case "unconfirmed":
      return "This server does not say what it stores.";
    case "waiting":
      return keepsEdits
        ? "The edits are kept in this browser, also when it is closed, and are sent when the server can be reached."
        : "The edits are only in this tab, because this browser stores nothing. Leave it open until they are saved.";
  }
}
