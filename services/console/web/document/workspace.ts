import { type AutomergeUrl, type DocHandle, parseAutomergeUrl } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, effect, signal } from "@preact/signals";
import type { Door } from "../access/door";
import { Standing } from "../access/standing";
import { adoptToken } from "../access/token";
import type { Identity } from "../presence/identity";
import type { Repository } from "../sync/repository";
import { type Content, EMPTY } from "./content";
import { parseLink } from "./link";
import { Session } from "./session";

export type View =
  | { kind: "opening" }
  | { kind: "open"; session: Session }
  /** Neither this browser nor the server has the document. It opens by itself should it turn up. */
  | { kind: "unavailable"; standing: Standing }
  /** The address names no document, and whoever is here may make none. */
  | { kind: "nothing" }
  | { kind: "invalid"; text: string };

/** Opens the document that the page's address names, and a new one when it names none. */
export class Workspace {
  readonly #view = signal<View>({ kind: "opening" });
  readonly view: ReadonlySignal<View> = this.#view;
  readonly repository: Repository;
  readonly identity: Identity;
  readonly door: Door;
  #opening = new AbortController();

  constructor(repository: Repository, identity: Identity, door: Door) {
    this.repository = repository;
    this.identity = identity;
    this.door = door;
    let first: string | null = null;
    effect(() => {
      const state = door.state.value;
      if (state.kind === "closed" || state.principal === null) return;
      first ??= state.principal;
      if (state.principal !== first) location.reload();
    });
    addEventListener("hashchange", () => {
      // Whoever comes by another token may be somebody else, and begins anew.
      if (adoptToken()) location.reload();
      else void this.follow();
    });
  }

  get mayCreate(): boolean {
    const state = this.door.state.value;
    return state.kind === "open" && state.mayCreate;
  }

  /** Opens what the address asks for. */
  async follow(): Promise<void> {
    const link = parseLink(location.hash);
    if (link.kind === "none") return this.mayCreate ? this.create() : this.#show({ kind: "nothing" });
    if (link.kind === "invalid") return this.#show({ kind: "invalid", text: link.text });
    await this.#find(link.url);
  }

  create(): void {
    const handle = this.repository.repo.create<Content>(structuredClone(EMPTY));
    // A page that was opened without a document has nothing to go back to.
    if (parseLink(location.hash).kind === "none") history.replaceState(null, "", `#${handle.url}`);
    else history.pushState(null, "", `#${handle.url}`);
    this.#open(handle, new Standing(handle.documentId, this.repository.connection));
  }

  #open(handle: DocHandle<Content>, standing: Standing): void {
    this.#show({ kind: "open", session: new Session(handle, standing, this.repository, this.identity) });
  }

  async #find(url: AutomergeUrl): Promise<void> {
    this.#show({ kind: "opening" });
    const { signal: abandoned } = this.#opening;
    const standing = new Standing(parseAutomergeUrl(url).documentId, this.repository.connection);
    let handle: DocHandle<Content>;
    try {
      handle = await this.repository.repo.find<Content>(url, {
        allowableStates: ["ready", "unavailable"],
        signal: abandoned,
      });
      // Not before: an editor that takes what the server will not is worse than one that comes a moment later.
      await standing.settled;
    } catch (error) {
      if (abandoned.aborted) return standing.dispose();
      console.warn("could not open the document", error);
      return this.#show({ kind: "unavailable", standing });
    }
    if (abandoned.aborted) return standing.dispose();
    const open = (): void => {
      // The view that waited has ended its own.
      const fresh = this.#view.peek().kind === "opening" ? standing : new Standing(handle.documentId, this.repository.connection);
      this.#open(handle, fresh);
    };
    if (handle.isReady()) return open();

    this.#show({ kind: "unavailable", standing });
    const { signal: left } = this.#opening;
    const openWhenReady = (): void => {
      // The event comes just before the state that it leads to.
      queueMicrotask(() => {
        if (left.aborted || !handle.isReady()) return;
        handle.off("heads-changed", openWhenReady);
        open();
      });
    };
    handle.on("heads-changed", openWhenReady);
    left.addEventListener("abort", () => handle.off("heads-changed", openWhenReady));
  }

  #show(view: View): void {
    this.#opening.abort();
    this.#opening = new AbortController();
    const before = this.#view.peek();
    if (before.kind === "open") before.session.dispose();
    if (before.kind === "unavailable") before.standing.dispose();
    this.#view.value = view;
  }
}
