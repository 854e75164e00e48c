import { type AutomergeUrl, type DocHandle } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, signal } from "@preact/signals";
import type { Identity } from "../presence/identity";
import type { Repository } from "../sync/repository";
import { type Content, EMPTY } from "./content";
import { parseLink } from "./link";
import { Session } from "./session";

export type View =
  | { kind: "opening" }
  | { kind: "open"; session: Session }
  /** Neither this browser nor the server has the document. It opens by itself should it turn up. */
  | { kind: "unavailable" }
  | { kind: "invalid"; text: string };

/** Opens the document that the page's address names, and a new one when it names none. */
export class Workspace {
  readonly #view = signal<View>({ kind: "opening" });
  readonly view: ReadonlySignal<View> = this.#view;
  readonly repository: Repository;
  readonly identity: Identity;
  #opening = new AbortController();

  constructor(repository: Repository, identity: Identity) {
    this.repository = repository;
    this.identity = identity;
    addEventListener("hashchange", () => void this.follow());
  }

  /** Opens what the address asks for. */
  async follow(): Promise<void> {
    const link = parseLink(location.hash);
    if (link.kind === "none") return this.create();
    if (link.kind === "invalid") return this.#show({ kind: "invalid", text: link.text });
    await this.#find(link.url);
  }

  create(): void {
    const handle = this.repository.repo.create<Content>(structuredClone(EMPTY));
    // A page that was opened without a document has nothing to go back to.
    if (parseLink(location.hash).kind === "none") history.replaceState(null, "", `#${handle.url}`);
    else history.pushState(null, "", `#${handle.url}`);
    this.#show({ kind: "open", session: new Session(handle, this.repository, this.identity) });
  }

  async #find(url: AutomergeUrl): Promise<void> {
    this.#show({ kind: "opening" });
    const { signal: abandoned } = this.#opening;
    let handle: DocHandle<Content>;
    try {
      handle = await this.repository.repo.find<Content>(url, {
        allowableStates: ["ready", "unavailable"],
        signal: abandoned,
      });
    } catch (error) {
      if (abandoned.aborted) return;
      console.warn("could not open the document", error);
      return this.#show({ kind: "unavailable" });
    }
    if (abandoned.aborted) return;
    const open = (): void => this.#show({ kind: "open", session: new Session(handle, this.repository, this.identity) });
    if (handle.isReady()) return open();

    this.#show({ kind: "unavailable" });
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
    this.#view.value = view;
  }
}
