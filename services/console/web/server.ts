/** Where the server is: this page came from it, so every address is relative to the page's own. */

const TOKEN_KEY = "aetherflow.token";

/**
 * Takes the access token out of the page's address (`?token=`) and keeps it for this tab. An address gets copied and
 * shared; a token must not travel with it.
 */
export function adoptToken(): void {
  const address = new URL(location.href);
  const token = address.searchParams.get("token");
  if (token === null) return;
  sessionStorage.setItem(TOKEN_KEY, token);
  address.searchParams.delete("token");
  history.replaceState(history.state, "", address);
}

function token(): string | null {
  return sessionStorage.getItem(TOKEN_KEY);
}

export function webSocketUrl(): string {
  const url = new URL("automerge", document.baseURI);
  url.hash = "";
  url.search = "";
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const bearer = token();
  // A browser cannot set headers on a WebSocket.
  if (bearer !== null) url.searchParams.set("token", bearer);
  return url.href;
}

/** Fetches JSON from the HTTP interface. Throws with the server's own words when it refuses. */
export async function fetchJson(path: string, signal: AbortSignal): Promise<unknown> {
  const bearer = token();
  const headers: Record<string, string> = { accept: "application/json" };
  if (bearer !== null) headers["authorization"] = `Bearer ${bearer}`;
  const response = await fetch(new URL(path, document.baseURI), { headers, signal });
  if (!response.ok) throw new Error(await refusal(response));
  return response.json();
}

async function refusal(response: Response): Promise<string> {
  const status = `${response.status} ${response.statusText}`.trim();
  try {
    const problem: unknown = await response.json();
    if (typeof problem === "object" && problem !== null && "detail" in problem && typeof problem.detail === "string") {
      return `${status}: ${problem.detail}`;
    }
  } catch {
    // Not a problem document; the status has to do.
  }
  return status;
}
