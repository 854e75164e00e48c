// The server under test: a real process, the binary named by AETHERFLOW_BIN.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { SOON_MS, until, within } from "./until.js";

/** Kept so that no server outlives the tests, however they end. @type {Set<Server>} */
const running = new Set();
const killAll = () => running.forEach((server) => server.dispose());
process.on("exit", killAll);
for (const signal of /** @type {const} */ (["SIGTERM", "SIGINT"])) {
  process.once(signal, () => {
    killAll();
    process.exit(1);
  });
}

/** The path of the binary under test; throws when there is none. */
export function binary() {
  const path = process.env.AETHERFLOW_BIN;
  if (!path) throw new Error("AETHERFLOW_BIN is not set: it must name the aetherflow binary under test");
  try {
    accessSync(path, constants.X_OK);
  } catch {
    throw new Error(`AETHERFLOW_BIN=${path} does not exist or cannot be executed: build the server first`);
  }
  return path;
}

/** @param {number} port */
async function isFree(port) {
  const probe = createServer();
  try {
    probe.listen(port, "127.0.0.1");
    await once(probe, "listening");
    return true;
  } catch {
    return false;
  } finally {
    probe.close();
  }
}

/**
 * A free port below the kernel's ephemeral range. Inside that range a client which keeps trying to reach a server that is
 * down is one day given the server's port as its own, connects to itself, and the server cannot come back on it.
 */
async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    if (await isFree(port)) return port;
  }
}

export class Server {
  /** @type {import("node:child_process").ChildProcess | undefined} */
  #process;
  /** Whether the present process was told to end; one that ends untold has crashed. */
  #told = false;
  /** @type {string[]} */
  #output = [];
  #port = 0;
  #adminPort = 0;

  /** @param {string} dataDir */
  constructor(dataDir) {
    this.dataDir = dataDir;
  }

  /** Starts a server on fresh data and free ports, and waits until it is ready. */
  static async start() {
    binary();
    const server = new Server(mkdtempSync(join(tmpdir(), "aetherflow-stock-")));
    for (let attempt = 1; ; attempt++) {
      server.#port = await freePort();
      server.#adminPort = await freePort();
      try {
        await server.#launch();
        return server;
      } catch (error) {
        // Another test may have taken the port between the look and the bind.
        if (attempt === 3 || !/in use/i.test(server.output)) {
          server.dispose();
          throw error;
        }
      }
    }
  }

  async #launch() {
    const args = ["dev", "--listen", `127.0.0.1:${this.#port}`];
    args.push("--admin-listen", `127.0.0.1:${this.#adminPort}`, "--data-dir", this.dataDir);
    // AETHERFLOW_* variables are the server's configuration, of which AETHERFLOW_BIN is no part; the tests want its defaults.
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("AETHERFLOW_"));
    const env = { ...Object.fromEntries(inherited), NO_COLOR: "1", AETHERFLOW_GRPC__ENABLED: "false" };
    const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe"], env });
    this.#process = child;
    this.#told = false;
    running.add(this);
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text) => this.#output.push(text));
    }
    child.once("exit", (code, signal) => this.#output.push(`--- process ${child.pid} ended: ${signal ?? `exit code ${code}`}\n`));
    await until(
      "the server answers GET /readyz with 200",
      async () => {
        if (!this.alive) throw new Error(`the server ended before it was ready\n${this.output}`);
        const reply = await fetch(`${this.http}/readyz`, { signal: AbortSignal.timeout(1_000) }).catch(() => undefined);
        await reply?.arrayBuffer();
        return reply?.status === 200;
      },
      { within: 2 * SOON_MS, every: 25 },
    ).catch((error) => {
      this.kill();
      throw new Error(`${error.message}\n${this.output}`);
    });
  }

  get ws() {
    return `ws://127.0.0.1:${this.#port}`;
  }

  get http() {
    return `http://127.0.0.1:${this.#port}`;
  }

  get admin() {
    return `http://127.0.0.1:${this.#adminPort}`;
  }

  get port() {
    return this.#port;
  }

  get pid() {
    return this.#process?.pid;
  }

  get alive() {
    return this.#process !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Whether it ended without having been told to. */
  get crashed() {
    return this.#process !== undefined && !this.alive && !this.#told;
  }

  get output() {
    return this.#output.join("");
  }

  /** Sends SIGKILL and returns at once: what the client has just read as saved has no further moment to become so. */
  kill() {
    this.#told = true;
    if (this.alive) this.#process?.kill("SIGKILL");
    running.delete(this);
  }

  /**
   * Ends the process and waits for it.
   *
   * @param {"SIGTERM" | "SIGKILL"} [signal]
   * @returns {Promise<number | null>} the exit code; null after SIGKILL
   */
  async stop(signal = "SIGTERM") {
    const child = this.#process;
    if (!child) return null;
    this.#told = true;
    if (this.alive) {
      const ended = once(child, "exit");
      child.kill(signal);
      await within(`the server ends after ${signal}`, ended).catch((error) => {
        this.kill();
        throw error;
      });
    }
    running.delete(this);
    return child.exitCode;
  }

  /**
   * Ends the process if it is still alive, and starts it again on the same data and ports.
   *
   * @param {"SIGTERM" | "SIGKILL"} [signal]
   */
  async restart(signal = "SIGTERM") {
    await this.stop(signal);
    await this.#launch();
  }

  /** Ends the process and removes its data (unless STOCK_KEEP is set). */
  dispose() {
    this.kill();
    if (!process.env.STOCK_KEEP) rmSync(this.dataDir, { recursive: true, force: true, maxRetries: 5 });
  }
}
