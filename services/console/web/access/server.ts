/** Where the server is: this page came from it, so every address is relative to the page's own. */

import { token } from "./token";

/** A request that the server refused. */
export class Refusal extends Error {
  readonly status: number;
  /** What the server calls it, such as `token-expired`; empty when it did not say. */
  readonly kind: string;

  constructor(status: number, kind: string, detail: string) {
    super(detail);
    this.status = status;
    this.kind = kind;
  }
}

export function webSocketUrl(): string {
  const url = new URL("automerge", document.baseURI);
  url.hash = "";
  url.search = "";
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** Sends a request to the HTTP interface and reads its JSON. Throws a `Refusal` in the server's own words. */
export async function fetchJson(
  path: string,
  signal: AbortSignal,
  { method = "GET", body }: { method?: string; body?: unknown } = {},
): Promise<unknown> {
  const bearer = token();
  const headers: Record<string, string> = { accept: "application/json" };
  if (bearer !== null) headers["authorization"] = `Bearer ${bearer}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const response = await fetch(new URL(path, document.baseURI), {
    method,
    headers,
    signal,
    cache: "no-store",
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

async function refusal(response: Response): Promise<Refusal> {
  const status = `${response.status} ${response.statusText}`.trim();
  try {
    const problem: unknown = await response.json();
    if (typeof problem === "object" && problem !== null && "detail" in problem && typeof problem.detail === "string") {
      const type = "type" in problem && typeof problem.type === "string" ? problem.type : "";
      return new Refusal(response.status, type.replace(/^.*:/, ""), problem.detail);
    }
  } catch {
    // Not a problem document; the status has to do.
  }
  return new Refusal(response.status, "", status);
}
