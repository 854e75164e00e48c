import { type ReadonlySignal, computed, effect, signal } from "@preact/signals";
import { type PeerId, type PeerMetadata, type StorageId, cbor } from "@automerge/automerge-repo/slim";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
import type { Door } from "../access/door";

/** `connecting` is only the first attempt; every later one happens while `offline` is shown. */
export type Phase = "connecting" | "connected" | "offline";

/** The name under which the server stores documents, or why there is none. */
export type ServerStorage = { kind: "unknown" } | { kind: "none" } | { kind: "known"; id: StorageId };

const RETRY_MS = 1500;
const RETRY_JITTER_MS = 1000;
/** An objection is a sentence; what is longer is looked at by the stock client alone. */
const OBJECTION_BYTES_MAX = 4_096;

/**
 * The stock WebSocket client, with its state made visible. It retries for ever, every `RETRY_MS` plus this page's share
 * of jitter, so that the pages of a restarted server do not all come back in the same instant. It does not try while the
 * server's door is closed: a browser is not told why a WebSocket is refused, so after each end it is asked at the door.
 */
export class Connection extends WebSocketClientAdapter {
  readonly #phase = signal<Phase>("connecting");
  readonly #storage = signal<ServerStorage>({ kind: "unknown" });
  readonly phase: ReadonlySignal<Phase> = this.#phase;
  readonly storage: ReadonlySignal<ServerStorage> = this.#storage;
  readonly isConnected = computed(() => this.#phase.value === "connected");
  readonly #objections = signal(0);
  /** How often the server said that something is not to be had, or was not taken. */
  readonly objections: ReadonlySignal<number> = this.#objections;
  readonly #door: Door;

  constructor(url: string, door: Door) {
    super(url, RETRY_MS + Math.random() * RETRY_JITTER_MS);
    this.#door = door;
    effect(() => {
      if (door.isOpen.value) this.retry();
    });
    this.on("message", ({ type }) => {
      if (type === "doc-unavailable") this.#objections.value += 1;
    });
    this.on("peer-candidate", ({ peerMetadata }) => {
      const id = peerMetadata.storageId;
      this.#storage.value = id === undefined ? { kind: "none" } : { kind: "known", id };
      this.#phase.value = "connected";
    });
  }

  override connect(peerId: PeerId, peerMetadata?: PeerMetadata): void {
    const previous = this.socket;
    if (previous !== undefined && !this.#door.isOpen.peek()) return;
    // A retry that was due before the connection came back must not replace it: the repo would not notice the change
    // of sockets, and would go on from a sync state that the server no longer has.
    if (previous?.readyState === WebSocket.OPEN) return;
    super.connect(peerId, peerMetadata);
    // The base class forgets an attempt that hangs; it would linger as a socket that never joins.
    previous?.close();
    const { socket } = this;
    socket?.addEventListener("close", () => {
      if (this.socket !== socket) return;
      this.#phase.value = "offline";
      void this.#door.knock();
    });
  }

  override receiveMessage(bytes: Uint8Array): void {
    super.receiveMessage(bytes);
    if (bytes.byteLength <= OBJECTION_BYTES_MAX && isError(bytes)) this.#objections.value += 1;
  }

  override send(message: Parameters<WebSocketClientAdapter["send"]>[0]): void {
    // Between the end of a socket and the event that says so, the base class throws into the repo's event handlers.
    // Nothing is lost by silence: the next connection starts with what each side has.
    if (this.socket?.readyState === WebSocket.OPEN) super.send(message);
  }

  /** Tries again now instead of at the next turn. */
  retry(): void {
    if (this.#phase.peek() === "offline" && this.peerId !== undefined) this.connect(this.peerId, this.peerMetadata);
  }

  /** Ends the connection and makes another one, on which everything is asked for anew. */
  renew(): void {
    const { socket } = this;
    if (socket?.readyState !== WebSocket.OPEN) return this.retry();
    socket.addEventListener("close", () => this.retry(), { once: true });
    socket.close();
  }
}

/** The stock client only logs these. */
function isError(bytes: Uint8Array): boolean {
  try {
    return cbor.decode<{ type?: unknown }>(new Uint8Array(bytes)).type === "error";
  } catch {
    return false;
  }
}
