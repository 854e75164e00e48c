import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { eventually } from "./eventually";

const OUTPUT_KEPT = 4_000;

/** The real server, on a port and a data directory that outlive its process. */
export class Server {
  readonly #binary: string;
  readonly #directory: string;
  readonly #ports: readonly [number, number];
  #process: ChildProcess | null = null;
  #output = "";

  private constructor(binary: string, directory: string, ports: readonly [number, number]) {
    this.#binary = binary;
    this.#directory = directory;
    this.#ports = ports;
  }

  static async start(): Promise<Server> {
    const binary = process.env["AETHERFLOW_BIN"];
    if (binary === undefined || binary === "") {
      throw new Error("AETHERFLOW_BIN must name the server's binary (built after `npm run build`, which it embeds)");
    }
    const directory = await mkdtemp(path.join(tmpdir(), "aetherflow-console-"));
    const server = new Server(binary, directory, [await freePort(), await freePort()]);
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
    const child = spawn(this.#binary, ["dev", ...flags, "--data-dir", this.#directory], {
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

  async json(address: string, body?: unknown): Promise<Record<string, unknown>> {
    const post = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const response = await fetch(new URL(address, this.url), body === undefined ? {} : post);
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
