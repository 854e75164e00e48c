import { type AutomergeUrl, isValidAutomergeUrl, parseAutomergeUrl, stringifyAutomergeUrl } from "@automerge/automerge-repo/slim";
import { splitToken } from "../access/token";

/** What the part of the page's address behind `#` asks for. */
export type Link = { kind: "none" } | { kind: "document"; url: AutomergeUrl } | { kind: "invalid"; text: string };

export function parseLink(hash: string): Link {
  const text = decoded(splitToken(hash).rest.replace(/^#/, "")).trim();
  if (text === "") return { kind: "none" };
  const url = text.startsWith("automerge:") ? text : `automerge:${text}`;
  if (!isValidAutomergeUrl(url)) return { kind: "invalid", text };
  // A link may point at a moment of the document (heads after another `#`); the page always opens its present.
  return { kind: "document", url: stringifyAutomergeUrl({ documentId: parseAutomergeUrl(url).documentId }) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The address of a document; with a token, for whoever is given it. */
export function linkTo(url: AutomergeUrl, token?: string): string {
  const address = new URL(location.href);
  address.search = "";
  address.hash = token === undefined ? url : `${url}&token=${token}`;
  return address.href;
}
