// A TCP proxy between a client and the server, with a knife.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * @typedef {import("node:net").Socket} Socket
 * @typedef {{ client: Socket, upstream: Socket, budget: number }} Pair
 */

export class Proxy {
  /** @type {Set<Pair>} */
  #pairs = new Set();
  #severed = false;
  #listener;
  #targetPort;

  /** How often a connection was cut, and how often with only part of a chunk handed on, which is inside a WebSocket frame. */
  cuts = 0;
  cutsInsideFrame = 0;

  /**
   * The knife: called for every new connection, it returns after how many bytes (both directions together) to cut it.
   *
   * @type {() => number}
   */
  lifetime = () => Infinity;

  /** Whether a cut is an abrupt reset (true) or an orderly end of the stream (false). @type {() => boolean} */
  abrupt = () => true;

  /** @param {number} targetPort */
  constructor(targetPort) {
    this.#targetPort = targetPort;
    this.#listener = createServer((client) => this.#accept(client));
  }

  /** @param {number} targetPort a port of 127.0.0.1 */
  static async to(targetPort) {
    const proxy = new Proxy(targetPort);
    proxy.#listener.listen(0, "127.0.0.1");
    await once(proxy.#listener, "listening");
    return proxy;
  }

  get ws() {
    const address = /** @type {import("node:net").AddressInfo} */ (this.#listener.address());
    return `ws://127.0.0.1:${address.port}`;
  }

  get connections() {
    return this.#pairs.size;
  }

  /** @param {Socket} client */
  #accept(client) {
    client.on("error", () => {});
    if (this.#severed) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect(this.#targetPort, "127.0.0.1");
    upstream.on("error", () => {});
    const pair = { client, upstream, budget: this.lifetime() };
    this.#pairs.add(pair);
    this.#forward(pair, client, upstream);
    this.#forward(pair, upstream, client);
    client.on("close", () => this.#drop(pair));
    upstream.on("close", () => this.#drop(pair));
  }

  /**
   * @param {Pair} pair
   * @param {Socket} from
   * @param {Socket} to
   */
  #forward(pair, from, to) {
    from.setNoDelay(true);
    from.on("data", (chunk) => {
      if (!this.#pairs.has(pair)) return;
      if (chunk.length <= pair.budget) {
        pair.budget -= chunk.length;
        if (!to.write(chunk)) {
          from.pause();
          to.once("drain", () => from.resume());
        }
        return;
      }
      this.cuts++;
      if (pair.budget > 0) this.cutsInsideFrame++;
      this.#pairs.delete(pair);
      to.write(chunk.subarray(0, pair.budget), () => this.#end(pair));
    });
    from.on("end", () => to.end());
  }

  /** @param {Pair} pair */
  #end(pair) {
    this.#pairs.delete(pair);
    for (const socket of [pair.client, pair.upstream]) {
      if (this.abrupt()) socket.resetAndDestroy();
      else socket.end(() => socket.destroy());
    }
  }

  /** @param {Pair} pair */
  #drop(pair) {
    this.#pairs.delete(pair);
    pair.client.destroy();
    pair.upstream.destroy();
  }

  /** Takes the network away: cuts every connection and refuses new ones until `heal`. */
  sever() {
    this.#severed = true;
    for (const pair of [...this.#pairs]) this.#end(pair);
  }

  /** Lets new connections through, and spares them. */
  heal() {
    this.lifetime = () => Infinity;
    this.#severed = false;
  }

  /**
   * Ends all connections, and every later one after as many bytes as `lifetime` says.
   *
   * @param {() => number} lifetime
   */
  harass(lifetime) {
    this.sever();
    this.lifetime = lifetime;
    this.#severed = false;
  }

  close() {
    this.sever();
    this.#listener.close();
  }
}
