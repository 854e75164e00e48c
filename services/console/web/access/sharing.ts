import { fetchJson } from "./server";

export type Role = "viewer" | "editor" | "owner";
export type LinkRole = Exclude<Role, "owner">;

/** Somebody who may do something with a document: a name, the holders of a link, or everybody of a kind. */
export type Permission = { grantee: string; role: Role };

const DEADLINE_MS = 10_000;
const LINK = "link:";

export function isLink(grantee: string): boolean {
  return grantee.startsWith(LINK);
}

/** Who may do what with one document. Every call throws what the server says when it refuses. */
export class Sharing {
  readonly #path: string;

  constructor(documentId: string) {
    this.#path = `v1/documents/${encodeURIComponent(documentId)}`;
  }

  async list(): Promise<Permission[]> {
    const answer = record(await this.#ask("permissions"));
    if (!Array.isArray(answer["permissions"])) throw new Error("the server's list of permissions is not readable");
    return answer["permissions"].map(record).flatMap(({ grantee, role }) => {
      return typeof grantee === "string" && isRole(role) ? [{ grantee, role }] : [];
    });
  }

  /**
   * Makes a link: a token for whoever is given it. It is entered among the permissions under its name before anybody
   * gets it, so that it is in the list and can be taken back.
   */
  async makeLink(role: LinkRole, expiresIn: number): Promise<string> {
    const { token, principal } = record(await this.#ask("links", "POST", { role, expiresIn }));
    if (typeof token !== "string" || typeof principal !== "string") throw new Error("the server's link is not readable");
    await this.#ask(`permissions/${encodeURIComponent(principal)}`, "PUT", { role });
    return token;
  }

  async revoke(grantee: string): Promise<void> {
    await this.#ask(`permissions/${encodeURIComponent(grantee)}`, "DELETE");
  }

  #ask(path: string, method = "GET", body?: unknown): Promise<unknown> {
    return fetchJson(`${this.#path}/${path}`, AbortSignal.timeout(DEADLINE_MS), { method, body });
  }
}

function isRole(value: unknown): value is Role {
  return value === "viewer" || value === "editor" || value === "owner";
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new Error("the server's answer is not readable");
  return value as Record<string, unknown>;
}
