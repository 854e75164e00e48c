/**
 * The access token of this tab.
 *
 * It comes in the part of the page's address behind `#`, which no browser sends to a server, and leaves the address at
 * once: an address gets copied, shared and kept in histories. It is kept as long as the tab, and for no other tab.
 */

const KEY = "aetherflow.token";
const LENGTH_MAX = 8_192;
/** What tokens and API keys are made of; nothing else may stand in a header, or in the name of a subprotocol. */
const TOKEN = /^[A-Za-z0-9._~-]+$/;
const PARAMETER = /[#&]token=([^&]*)/;

/** For browsers that keep nothing: the token then lasts until the page is loaded again. */
let kept: string | null = null;

export function isToken(text: string): boolean {
  return text.length <= LENGTH_MAX && TOKEN.test(text);
}

export function token(): string | null {
  try {
    return sessionStorage.getItem(KEY) ?? kept;
  } catch {
    return kept;
  }
}

export function keepToken(text: string): void {
  kept = text;
  try {
    sessionStorage.setItem(KEY, text);
  } catch {
    // See `kept`.
  }
}

/** The token in a link or in what somebody pasted, and the rest of it. */
export function splitToken(hash: string): { token: string | null; rest: string } {
  const found = PARAMETER.exec(hash);
  if (found === null) return { token: null, rest: hash };
  const rest = hash.replace(PARAMETER, "");
  return { token: found[1] ?? "", rest: rest.startsWith("&") ? `#${rest.slice(1)}` : rest };
}

/** Takes the token out of the page's address. Returns whether it is another one than before. */
export function adoptToken(): boolean {
  const { token: found, rest } = splitToken(location.hash);
  if (found === null) return false;
  history.replaceState(history.state, "", `${location.pathname}${location.search}${rest}`);
  const isNew = found !== token();
  // One that makes no sense is kept, too: the server says so, which is better than to go on as somebody else.
  keepToken(isToken(found) ? found : "unreadable");
  return isNew;
}
