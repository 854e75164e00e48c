// What one test uses: servers, clients, proxies, a seed. All of it is closed when the test ends, and explained when it fails.

import assert from "node:assert/strict";
import { after, test } from "node:test";

import { Client } from "./client.js";
import { Proxy } from "./proxy.js";
import { drawSeed, Random } from "./random.js";
import { Server } from "./server.js";
import { SCENARIO_MS, within } from "./until.js";
import { Wire } from "./wire.js";

/** One server for the tests of a file that never stop it. @type {Promise<Server> | undefined} */
let shared;

/** Ends the shared server: after the last test, and after one that failed, so that the next is judged by itself. */
async function disposeShared() {
  const server = await shared?.catch(() => undefined);
  shared = undefined;
  server?.dispose();
}
after(disposeShared);

export class World {
  /** @type {Server[]} */
  #servers = [];
  /** @type {(() => void)[]} */
  #closers = [];
  /** @type {Client[]} */
  #clients = [];

  random = new Random(drawSeed());

  /** A server of this test alone, on fresh data; for tests that stop it. */
  async server() {
    const server = await Server.start();
    this.#servers.push(server);
    this.#closers.push(() => server.dispose());
    return server;
  }

  /** The server that the tests of this file share. */
  async sharedServer() {
    shared ??= Server.start();
    const server = await shared;
    this.#servers.push(server);
    return server;
  }

  /**
   * @param {{ ws: string } | string} target a server, a proxy or a URL
   * @param {import("./client.js").ClientOptions} [options]
   */
  client(target, options) {
    const client = new Client(typeof target === "string" ? target : target.ws, options);
    this.#clients.push(client);
    this.#closers.push(() => client.close());
    return client;
  }

  /**
   * A bare WebSocket for frames that no stock client would send.
   *
   * @param {{ ws: string }} target
   * @param {import("ws").ClientOptions} [options]
   */
  async wire(target, options) {
    const wire = await Wire.open(target.ws, options);
    this.#closers.push(() => wire.terminate());
    return wire;
  }

  /** @param {Server} server */
  async proxy(server) {
    const proxy = await Proxy.to(server.port);
    this.#closers.push(() => proxy.close());
    return proxy;
  }

  /** What must hold at the end of every test. */
  verify() {
    for (const server of this.#servers) assert.ok(!server.crashed, "the server ended by itself");
    for (const client of this.#clients) assert.deepEqual(client.violations, [], "frames no client should be sent");
  }

  explain() {
    const seed = this.random.seed;
    console.error(`seed ${seed} (STOCK_SEED=${seed} repeats it)`);
    for (const server of new Set(this.#servers)) {
      console.error(`--- last output of the server on ${server.http}, ${server.alive ? "alive" : "ended"}:`);
      console.error(server.output.slice(-8_000));
    }
  }

  close() {
    for (const close of this.#closers.reverse()) close();
  }
}

/**
 * A test with a world of its own and a deadline.
 *
 * @param {string} name
 * @param {(world: World) => Promise<void>} body
 */
export function scenario(name, body) {
  test(name, async () => {
    const world = new World();
    try {
      await within("the end of the test", body(world), SCENARIO_MS);
      world.verify();
    } catch (error) {
      world.explain();
      await disposeShared();
      throw error;
    } finally {
      world.close();
    }
  });
}
