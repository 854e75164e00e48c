import assert from "node:assert/strict";
import { after, afterEach, before } from "node:test";
import type { Browser, BrowserContext } from "playwright-core";
import { type Mode, Server } from "./server";
import { Window, launchBrowser } from "./window";

/** What the tests of one file share: a server, a browser, and the duty to leave neither behind. */
export class Stage {
  #server: Server | null = null;
  #browser: Browser | null = null;
  #windows: Window[] = [];

  constructor(mode: Mode = "dev") {
    before(async () => {
      this.#server = await Server.start(mode);
      this.#browser = await launchBrowser();
    });
    afterEach(async () => {
      const complaints = this.#windows.flatMap((window) => window.complaints);
      await Promise.all(this.#windows.map(({ context }) => context.close()));
      this.#windows = [];
      assert.deepEqual(complaints, [], "the browser had nothing to complain of (errors, security policy)");
    });
    after(async () => {
      await this.#browser?.close();
      await this.#server?.dispose();
    });
  }

  get server(): Server {
    assert.ok(this.#server !== null, "the server is started before the tests");
    return this.#server;
  }

  async open(name: string, url = this.server.url, profile?: BrowserContext, expected?: RegExp): Promise<Window> {
    assert.ok(this.#browser !== null, "the browser is started before the tests");
    const window = await Window.open(this.#browser, url, name, profile, expected);
    this.#windows.push(window);
    return window;
  }

  /** Two people with the same document before them. */
  async openTwo(): Promise<[Window, Window]> {
    const one = await this.open("Ada");
    await one.isIn("connected saved");
    const two = await this.open("Grace", await one.documentUrl());
    await two.isIn("connected saved");
    return [one, two];
  }
}
