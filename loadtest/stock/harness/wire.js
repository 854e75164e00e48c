// The protocol by hand: a WebSocket that sends whatever bytes a test wants.

import { once } from "node:events";

import { generateSyncMessage, init, initSyncState, receiveSyncMessage } from "@automerge/automerge";
import { decode, Encoder } from "cbor-x";
import { WebSocket } from "ws";

import { SOON_MS, until, within } from "./until.js";

/** The stock client's encoder has these options: byte strings without a tag, plain maps. */
const encoder = new Encoder({ tagUint8Array: false, useRecords: false });

/**
 * @typedef {Record<string, any> & { type: string }} Frame
 * @typedef {{ code: number, reason: string }} Closed
 */

/** @param {unknown} frame */
export function encode(frame) {
  return new Uint8Array(encoder.encode(frame));
}

export class Wire {
  /** Every frame that arrived, decoded. @type {Frame[]} */
  frames = [];
  /** Every frame that arrived, as it was. @type {Uint8Array[]} */
  raw = [];
  /** How the server closed the connection, once it has. @type {Closed | undefined} */
  closed;
  peerId = "";
  serverId = "";
  #socket;

  /** @param {WebSocket} socket */
  constructor(socket) {
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("ping", () => this.pings++);
    socket.on("close", (code, reason) => (this.closed = { code, reason: reason.toString() }));
    socket.on("message", (data, isBinary) => {
      if (!isBinary) throw new Error(`the server sent a text frame: ${data}`);
      const bytes = new Uint8Array(/** @type {Buffer} */ (data));
      this.raw.push(bytes);
      this.frames.push(decode(bytes));
    });
  }

  /** How many pings the server sent. */
  pings = 0;

  /**
   * @param {string} url
   * @param {import("ws").ClientOptions} [options]
   */
  static async open(url, options) {
    const socket = new WebSocket(url, options);
    const wire = new Wire(socket);
    await within("a WebSocket opens", once(socket, "open"));
    return wire;
  }

  /**
   * Joins as a stock client does and waits for the server's `peer` frame.
   *
   * @param {string} peerId
   * @param {Record<string, unknown>} [overrides] fields of the join frame
   */
  async join(peerId, overrides = {}) {
    this.peerId = peerId;
    const peerMetadata = { storageId: undefined, isEphemeral: true };
    this.send({ type: "join", senderId: peerId, peerMetadata, supportedProtocolVersions: ["1"], ...overrides });
    const peer = await this.next((frame) => frame.type === "peer", "a peer frame");
    this.serverId = peer.senderId;
    return peer;
  }

  /** @param {unknown} frame */
  send(frame) {
    this.#socket.send(encode(frame));
  }

  /** @param {Uint8Array} bytes */
  sendBytes(bytes) {
    this.#socket.send(bytes);
  }

  /**
   * Sends one message in several WebSocket frames.
   *
   * @param {unknown} frame
   * @param {number} pieces
   */
  sendFragmented(frame, pieces) {
    const bytes = encode(frame);
    const size = Math.ceil(bytes.length / pieces);
    for (let start = 0; start < bytes.length; start += size) {
      this.#socket.send(bytes.subarray(start, start + size), { binary: true, fin: start + size >= bytes.length });
    }
  }

  /**
   * Sends the header of a masked binary frame of `length` bytes, and nothing of its content.
   *
   * @param {bigint} length
   */
  sendHeaderOf(length) {
    const header = Buffer.alloc(14);
    header[0] = 0x82;
    header[1] = 0xff;
    header.writeBigUInt64BE(length, 2);
    // Below the WebSocket library, which would not send an unfinished frame.
    /** @type {any} */ (this.#socket)._socket.write(header);
  }

  /** @param {string} text */
  sendText(text) {
    this.#socket.send(text, { binary: false });
  }

  /**
   * Sends a frame about a document, with the fields every such frame has.
   *
   * @param {string} type
   * @param {string} documentId
   * @param {Record<string, unknown>} [fields]
   */
  sendAbout(type, documentId, fields = {}) {
    this.send({ type, senderId: this.peerId, targetId: this.serverId, documentId, ...fields });
  }

  /**
   * Keeps a document in sync, answering every message as a peer must: asks for it, or offers the one given.
   *
   * @param {string} documentId
   * @param {import("@automerge/automerge").Doc<any>} [doc]
   */
  follow(documentId, doc) {
    const followed = {
      doc: doc ?? init(),
      /** What the server last said it has. @type {string[]} */
      theirHeads: [],
      /** Tells the server about changes made to `doc`. */
      push: () => say("sync"),
    };
    let state = initSyncState();
    /** @param {string} type */
    const say = (type) => {
      const [next, data] = generateSyncMessage(followed.doc, state);
      state = next;
      if (data) this.sendAbout(type, documentId, { data });
    };
    this.#socket.on("message", () => {
      const frame = /** @type {Frame} */ (this.frames.at(-1));
      if (frame.type !== "sync" || frame.documentId !== documentId) return;
      [followed.doc, state] = receiveSyncMessage(followed.doc, state, frame.data);
      followed.theirHeads = state.theirHeads ?? [];
      say("sync");
    });
    say(doc ? "sync" : "request");
    return followed;
  }

  /**
   * Waits for a frame, taking those that came already into account.
   *
   * @param {(frame: Frame) => boolean} matches
   * @param {string} what
   * @returns {Promise<Frame>}
   */
  next(matches, what) {
    const wanted = `${this.peerId || "a connection"} gets ${what}`;
    const probe = () => {
      const frame = this.frames.find(matches);
      if (!frame && this.closed) throw new Error(`closed (${this.closed.code} ${this.closed.reason}) before ${wanted}`);
      return frame;
    };
    return until(wanted, probe, { detail: () => this.frames.map(({ type }) => type) });
  }

  /** @param {number} [ms] */
  async untilClosed(ms = SOON_MS) {
    return until("the server closes the connection", () => this.closed, {
      within: ms,
      detail: () => this.frames.map(({ type, message }) => ({ type, message })),
    });
  }

  /** Stops reading from the connection, so that even a closing handshake is not answered. */
  stall() {
    this.#socket.pause();
  }

  terminate() {
    this.#socket.terminate();
  }
}
