import { computed, type ReadonlySignal, signal } from "@preact/signals";
import type { PeerId, PeerMetadata, StorageId } from "@automerge/automerge-repo/slim";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";

/** `connecting` is only the first attempt; every later one happens while `offline` is shown. */
export type Phase = "connecting" | "connected" | "offline";

/** The name under which the server stores documents, or why there is none. */
export type ServerStorage = { kind: "unknown" } | { kind: "none" } | { kind: "known"; id: StorageId };

const RETRY_MS = 1500;
const RETRY_JITTER_MS = 1000;

/**
 * The stock WebSocket client, with its state made visible. It retries for ever, every `RETRY_MS` plus this page's share
 * of jitter, so that the pages of a restarted server do not all come back in the same instant.
 */
export class Connection extends WebSocketClientAdapter {
  readonly #phase = signal<Phase>("connecting");
  readonly #storage = signal<ServerStorage>({ kind: "unknown" });
  readonly phase: ReadonlySignal<Phase> = this.#phase;
  readonly storage: ReadonlySignal<ServerStorage> = this.#storage;
  readonly isConnected = computed(() => this.#phase.value === "connected");

  constructor(url: string) {
    super(url, RETRY_MS + Math.random() * RETRY_JITTER_MS);
    this.on("peer-candidate", ({ peerMetadata }) => {
      const id = peerMetadata.storageId;
      this.#storage.value = id === undefined ? { kind: "none" } : { kind: "known", id };
      this.#phase.value = "connected";
    });
  }

  override connect(peerId: PeerId, peerMetadata?: PeerMetadata): void {
    const previous = this.socket;
    // A retry that was due before the connection came back must not replace it: the repo would not notice the change
    // of sockets, and would go on from a sync state that the server no longer has.
    if (previous?.readyState === WebSocket.OPEN) return;
    super.connect(peerId, peerMetadata);
    // The base class forgets an attempt that hangs; it would linger as a socket that never joins.
    previous?.close();
    const { socket } = this;
    socket?.addEventListener("close", () => {
      if (this.socket === socket) this.#phase.value = "offline";
    });
  }

  override send(message: Parameters<WebSocketClientAdapter["send"]>[0]): void {
    // Between the end of a socket and the event that says so, the base class throws into the repo's event handlers.
    // Nothing is lost by silence: the next connection starts with what each side has.
    if (this.socket?.readyState === WebSocket.OPEN) super.send(message);
  }

  /** Tries again now instead of at the next turn. */
  retry(): void {
    if (this.#phase.value === "offline" && this.peerId !== undefined) this.connect(this.peerId, this.peerMetadata);
  }
}
