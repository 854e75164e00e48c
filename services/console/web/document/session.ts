import type { DocHandle } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, signal } from "@preact/signals";
import { History } from "../history/history";
import type { Identity } from "../presence/identity";
import type { Standing } from "../access/standing";
import { Presence } from "../presence/presence";
import { Durability } from "../sync/durability";
import type { Repository } from "../sync/repository";
import { type Content, read } from "./content";
import { Edits } from "./edits";

/** Everything that belongs to one open document. */
export class Session {
  readonly handle: DocHandle<Content>;
  readonly edits: Edits;
  readonly durability: Durability;
  readonly presence: Presence;
  readonly history: History;
  readonly standing: Standing;
  readonly content: ReadonlySignal<Content>;
  readonly #content;

  constructor(handle: DocHandle<Content>, standing: Standing, { connection }: Repository, identity: Identity) {
    this.handle = handle;
    this.#content = signal(read(handle.doc()));
    this.content = this.#content;
    this.edits = new Edits(handle, () => this.presence.me.peek());
    this.standing = standing;
    this.durability = new Durability(handle, connection);
    this.presence = new Presence(handle, connection, identity.author, standing);
    this.history = new History(handle);
    handle.on("heads-changed", this.#update);
  }

  dispose(): void {
    this.handle.off("heads-changed", this.#update);
    this.history.dispose();
    this.presence.dispose();
    this.durability.dispose();
    this.standing.dispose();
  }

  readonly #update = (): void => {
    this.#content.value = read(this.handle.doc());
  };
}
