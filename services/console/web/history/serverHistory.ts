import { fetchJson } from "../access/server";

/** One change as the server's log has it. Times are milliseconds since 1970. */
export type ServerChange = {
  hash: string;
  actor: string;
  /** The author's clock. */
  time: number;
  operations: number;
  /** Position in the log of the document's partition. */
  offset: number;
  /** When the log committed it. */
  committed: number;
};

export type HistoryPage = { total: number; changes: ServerChange[]; next: number | null };

const PAGE_SIZE = 1000;

/** The changes after the first `after`, in the order of the log. */
export async function fetchHistoryPage(documentId: string, after: number, signal: AbortSignal): Promise<HistoryPage> {
  const query = new URLSearchParams({ after: `${after}`, limit: `${PAGE_SIZE}` });
  const page = await fetchJson(`v1/documents/${encodeURIComponent(documentId)}/history?${query}`, signal);
  return readPage(page);
}

function readPage(page: unknown): HistoryPage {
  const { total, changes, next } = record(page);
  if (!Array.isArray(changes)) throw new Error("the server's history has no list of changes");
  return { total: number(total), changes: changes.map(readChange), next: next === null ? null : number(next) };
}

function readChange(value: unknown): ServerChange {
  const { hash, actor, time, operations, offset, committed } = record(value);
  if (typeof hash !== "string" || typeof actor !== "string") throw new Error("the server's history is not readable");
  return {
    hash,
    actor,
    time: number(time),
    operations: number(operations),
    offset: number(offset),
    committed: number(committed),
  };
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error("the server's history is not readable");
  return value as Record<string, unknown>;
}

function number(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error("the server's history is not readable");
  return value;
}
