// One application: a stock Repo on the stock WebSocket adapter.

import { getHeads } from "@automerge/automerge";
import { decodeHeads, Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";

import { SOON_MS, until, within } from "./until.js";

/**
 * @typedef {import("@automerge/automerge-repo").DocHandle<any>} Handle
 * @typedef {import("@automerge/automerge-repo").PeerId} PeerId
 * @typedef {import("@automerge/automerge-repo").StorageId} StorageId
 * @typedef {import("@automerge/automerge-repo").AnyDocumentId} AnyDocumentId
 * @typedef {{ type: string, senderId: string, targetId: string, documentId?: string, data?: Uint8Array, [field: string]: unknown }} Message
 * @typedef {{ peerId?: string, storage?: import("./memory-storage.js").MemoryStorage, isEphemeral?: boolean, gossip?: boolean, retryMs?: number }} ClientOptions
 */

/**
 * The stock adapter. Nothing of the protocol is changed; three things keep the test process alive and in control:
 *
 * - The published adapter throws every socket error but ECONNREFUSED out of its event handler, which ends a Node process
 *   whenever a server is killed or a connection is reset. Errors are ignored here; its `close` handler reconnects.
 * - When a connection attempt takes longer than the retry interval, it takes its listeners off the old socket and leaves
 *   it open. Every socket is remembered, to be closed with the client.
 * - `disconnect` does not cancel a reconnection that is already scheduled. After `stop` none is made.
 */
class Adapter extends WebSocketClientAdapter {
  /** @type {Set<import("ws").WebSocket>} */
  #sockets = new Set();
  #stopped = false;
  /** Bytes of sync data that were sent. */
  sentSyncBytes = 0;

  onError = () => {};

  /**
   * @param {PeerId} peerId
   * @param {import("@automerge/automerge-repo").PeerMetadata} [metadata]
   */
  connect(peerId, metadata) {
    if (this.#stopped) return;
    super.connect(peerId, metadata);
    const socket = /** @type {import("ws").WebSocket | undefined} */ (/** @type {unknown} */ (this.socket));
    if (!socket) return;
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  /** @param {any} message */
  send(message) {
    super.send(message);
    if (message.type === "sync") this.sentSyncBytes += message.data.byteLength;
  }

  /** Ends every connection without a closing handshake, as a process that dies does, and makes no new one. */
  stop() {
    this.#stopped = true;
    const sockets = [...this.#sockets];
    if (this.socket) this.disconnect();
    for (const socket of sockets) socket.terminate();
  }
}

/**
 * Where in a decoded frame a BigInt stands, if anywhere.
 *
 * @param {unknown} value
 * @param {string} [path]
 * @returns {string | undefined}
 */
export function findBigInt(value, path = "") {
  if (typeof value === "bigint") return path;
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const found = findBigInt(inner, `${path}/${key}`);
    if (found) return found;
  }
  return undefined;
}

export class Client {
  /** Bytes of sync data that arrived. */
  syncBytes = 0;
  /** What no client should ever be sent, in words. @type {string[]} */
  violations = [];
  #adapter;

  /**
   * @param {string} url
   * @param {ClientOptions} [options]
   */
  constructor(url, { peerId, storage, isEphemeral, gossip = false, retryMs = 100 } = {}) {
    this.#adapter = new Adapter(url, retryMs);
    this.#adapter.on("message", (message) => this.#observe(/** @type {Message} */ (message)));
    this.repo = new Repo({
      network: [this.#adapter],
      enableRemoteHeadsGossiping: gossip,
      ...(storage && { storage }),
      ...(peerId !== undefined && { peerId: /** @type {PeerId} */ (peerId) }),
      ...(isEphemeral !== undefined && { isEphemeral }),
    });
  }

  /** @param {Message} message */
  #observe(message) {
    if (message.type === "sync") this.syncBytes += message.data?.byteLength ?? 0;
    const bigint = findBigInt(message);
    if (bigint) this.violations.push(`a ${message.type} frame with a BigInt at ${bigint}`);
    if (message.targetId !== this.peerId) this.violations.push(`a ${message.type} frame for ${message.targetId}, not ${this.peerId}`);
  }

  /**
   * Hears every frame but `peer` and `error`, as decoded by the adapter.
   *
   * @param {(message: Message) => void} listener
   */
  onFrame(listener) {
    this.#adapter.on("message", (message) => listener(/** @type {Message} */ (message)));
  }

  get sentSyncBytes() {
    return this.#adapter.sentSyncBytes;
  }

  get peerId() {
    return this.repo.peerId;
  }

  get isConnected() {
    return this.repo.peers.length > 0;
  }

  async connected() {
    await until(`client ${this.peerId} is connected`, () => this.isConnected);
    return this;
  }

  async disconnected() {
    await until(`client ${this.peerId} has noticed that it is offline`, () => !this.isConnected);
  }

  /** The id applications read "saved on the server" by. */
  async serverStorageId() {
    await this.connected();
    const id = this.repo.getStorageIdOfPeer(this.repo.peers[0]);
    if (!id) throw new Error("the server's peer message carries no storageId");
    return id;
  }

  /**
   * Finds a document, once connected: a client that is not connected after a second reports any document unavailable.
   *
   * @param {AnyDocumentId} id
   * @param {number} [ms]
   * @returns {Promise<Handle>}
   */
  async find(id, ms = SOON_MS) {
    await this.connected();
    return within(`client ${this.peerId} finds ${id}`, this.repo.find(id), ms);
  }

  /**
   * Waits until the client reads all of its document as saved on the server.
   *
   * @param {Handle} handle
   */
  async saved(handle) {
    const storageId = await this.serverStorageId();
    await until(`client ${this.peerId} reads ${handle.documentId} as saved`, () => isSaved(handle, storageId));
  }

  /** The client's process dies: no closing handshake, no reconnection. */
  close() {
    this.#adapter.stop();
  }
}

/**
 * Whether what the server is known to hold is all that this handle has.
 *
 * @param {Handle} handle
 * @param {StorageId} storageId
 */
export function isSaved(handle, storageId) {
  const saved = handle.getSyncInfo(storageId)?.lastHeads;
  return saved !== undefined && String(decodeHeads(saved).sort()) === String(headsOf(handle));
}

/**
 * The heads as sorted hexadecimal hashes. (`handle.heads()` encodes them as base58check, which is too slow to poll.)
 *
 * @param {Handle} handle
 */
export function headsOf(handle) {
  return [...getHeads(handle.doc())].sort();
}

/**
 * Waits until all handles have the same heads; a handle's own edits are in its heads, so then all have all edits.
 *
 * @param {Handle[]} handles
 * @param {string} what
 * @param {number} [ms]
 */
export async function converged(handles, what, ms = SOON_MS) {
  await until(`${what}: equal heads`, () => new Set(handles.map((handle) => String(headsOf(handle)))).size === 1, {
    within: ms,
    detail: () => handles.map(headsOf),
  });
}
