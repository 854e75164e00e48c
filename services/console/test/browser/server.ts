import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { eventually } from "./eventually";

const OUTPUT_KEPT = 4_000;

/** Files with secrets: an application's, and the one with which the server signs links. */
const KEYS = ["application.key", "signing.key"];

/** `dev` lets everybody in, `serve` those who have a token. */
export type Mode = "dev" | "serve";

/** The real server, on a port and a data directory that outlive its process. */
export class Server {
  readonly #binary: string;
  readonly #directory: string;
  readonly #ports: readonly [number, number];
  readonly #mode: Mode;
  #process: ChildProcess | null = null;
  #output = "";

  private constructor(binary: string, directory: string, ports: readonly [number, number], mode: Mode) {
    this.#binary = binary;
    this.#directory = directory;
    this.#ports = ports;
    this.#mode = mode;
  }

  static async start(mode: Mode = "dev"): Promise<Server> {
    const binary = process.env["AETHERFLOW_BIN"];
    if (binary === undefined || binary === "") {
      throw new Error("AETHERFLOW_BIN must name the server's binary (built after `npm run build`, which it embeds)");
    }
    const directory = await mkdtemp(path.join(tmpdir(), "aetherflow-console-"));
    const server = new Server(binary, directory, [await freePort(), await freePort()], mode);
    if (mode === "serve") for (const key of KEYS) await writeFile(path.join(directory, key), randomBytes(32).toString("hex"));
    await server.restart();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports[0]}/`;
  }

  /** What the server printed last, for the report of a failure. */
  get output(): string {
    return this.#output;
  }

  /** Starts the process again, on the same port and data. */
  async restart(): Promise<void> {
    const [port, adminPort] = this.#ports;
    const flags = ["--listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${adminPort}`];
    const child = spawn(this.#binary, [this.#mode, ...flags], {
      env: this.#environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString()).slice(-OUTPUT_KEPT);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    child.on("error", (error) => keep(Buffer.from(String(error))));
    await eventually("the server gets ready", () => this.#isReady(child), (ready) => ready);
  }

  get #environment(): NodeJS.ProcessEnv {
    const { AETHERFLOW_BIN: _, ...inherited } = process.env;
    const data = { ...inherited, AETHERFLOW_DATA_DIR: path.join(this.#directory, "data"), AETHERFLOW_GRPC__ENABLED: "false" };
    if (this.#mode === "dev") return data;
    const [keys, signing] = KEYS.map((key) => path.join(this.#directory, key));
    const access = { AETHERFLOW_ACCESS__KEYS: keys, AETHERFLOW_ACCESS__SIGNING_KEY: signing };
    // One clock for all; tokens end when they say.
    return { ...data, ...access, AETHERFLOW_ACCESS__LEEWAY_S: "0" };
  }

  /** A token for a user, from the same binary. */
  async mint(subject: string, seconds = 600): Promise<string> {
    const flags = ["token", "mint", "--subject", subject, "--seconds", `${seconds}`];
    const { stdout } = await promisify(execFile)(this.#binary, flags, { env: this.#environment });
    return stdout.trim();
  }

  async #isReady(child: ChildProcess): Promise<boolean> {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      throw new Error(`the server did not start:\n${this.#output}`);
    }
    try {
      return (await fetch(new URL("readyz", this.url))).ok;
    } catch {
      return false;
    }
  }

  /** Ends the process the way a power cut would, as far as a process can tell. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  async dispose(): Promise<void> {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async json(address: string, body?: unknown, token?: string): Promise<Record<string, unknown>> {
    const headers: Record<string, string> = { "content-type": "application/json" };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    const post = { method: "POST", headers, body: JSON.stringify(body) };
    const response = await fetch(new URL(address, this.url), body === undefined ? { headers } : post);
    if (!response.ok) throw new Error(`${address}: ${response.status} ${await response.text()}`);
    return (await response.json()) as Record<string, unknown>;
  }
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  await once(listener, "close");
  return port;
}
