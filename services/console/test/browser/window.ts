import { access } from "node:fs/promises";
import { type Browser, type BrowserContext, type Locator, type Page, chromium } from "playwright-core";
import { eventually } from "./eventually";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export async function launchBrowser(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  await access(executablePath).catch(() => {
    throw new Error(`no browser at ${executablePath}: apt-get install chromium, or set CHROMIUM`);
  });
  return chromium.launch({ executablePath, args: FLAGS });
}

/** What a browser says of a server that is down; every other complaint on its console is a failure. */
const EXPECTED_COMPLAINT = /ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|WebSocket connection to/;

/** One window of one person: a browser profile of its own, with one page. */
export class Window {
  readonly context: BrowserContext;
  readonly page: Page;
  readonly complaints: string[] = [];
  /** Beside what is said of servers that are down. */
  expectedComplaint: RegExp | null = null;

  private constructor(context: BrowserContext, page: Page) {
    this.context = context;
    this.page = page;
    page.on("pageerror", (error) => this.complaints.push(`${error.message}\n${error.stack ?? ""}`));
    page.on("console", (message) => {
      const isComplaint = message.type() === "error" || message.type() === "warning";
      const isExpected = EXPECTED_COMPLAINT.test(message.text()) || this.expectedComplaint?.test(message.text()) === true;
      if (isComplaint && !isExpected) this.complaints.push(message.text());
    });
  }

  /** `name` is what the others see. `profile` continues one that a window before this one had. */
  static async open(
    browser: Browser,
    url: string,
    name: string,
    profile?: BrowserContext,
    expectedComplaint: RegExp | null = null,
  ): Promise<Window> {
    const context = profile ?? (await browser.newContext());
    const page = await context.newPage();
    await page.addInitScript((author) => {
      // Also runs on about:blank, which has no storage.
      if (location.protocol === "http:") localStorage.setItem("aetherflow.identity", JSON.stringify(author));
    }, { name, colour: name.length % 8 });
    const window = new Window(context, page);
    window.expectedComplaint = expectedComplaint;
    await page.goto(url);
    return window;
  }

  /** The part of the address that names the document. */
  async documentUrl(): Promise<string> {
    await this.page.waitForFunction(() => location.hash.startsWith("#automerge:"));
    return this.page.url();
  }

  async documentId(): Promise<string> {
    return new URL(await this.documentUrl()).hash.replace("#automerge:", "");
  }

  get editor(): Locator {
    return this.page.getByRole("textbox", { name: "Document text", exact: true });
  }

  get pastEditor(): Locator {
    return this.page.getByLabel("Document text in the past");
  }

  get slider(): Locator {
    return this.page.getByRole("slider", { name: "Moment in the history" });
  }

  button(name: string): Locator {
    return this.page.getByRole("button", { name, exact: true });
  }

  async type(text: string): Promise<void> {
    await this.editor.focus();
    await this.page.keyboard.type(text);
  }

  async press(key: string): Promise<void> {
    await this.page.keyboard.press(key);
  }

  async text(): Promise<string> {
    return linesOf(this.editor);
  }

  async pastText(): Promise<string> {
    return linesOf(this.pastEditor);
  }

  async todos(): Promise<string[]> {
    return this.page.locator(".todo").evaluateAll((rows) =>
      rows.map((row) => {
        const [box, title] = row.querySelectorAll("input");
        return `${box?.checked === true ? "x" : "-"} ${title?.value ?? ""}`;
      }),
    );
  }

  async addTodo(title: string): Promise<void> {
    await this.page.getByLabel("New to-do").fill(title);
    await this.press("Enter");
  }

  /** The badge, as "connected saved". */
  async state(): Promise<string> {
    return this.page.locator(".saved").evaluate((badge: HTMLElement) => {
      return `${badge.dataset["phase"]} ${badge.dataset["saved"]}`;
    });
  }

  async badge(): Promise<string> {
    return (await this.page.locator(".saved-text").textContent()) ?? "";
  }

  /** Names of the others' avatars. */
  async people(): Promise<string[]> {
    const avatars = this.page.locator(".people li[data-name]");
    return (await avatars.evaluateAll((all) => all.map((avatar) => avatar.getAttribute("data-name") ?? ""))).sort();
  }

  /** Where the others' carets stand, by name. */
  async carets(): Promise<Record<string, number>> {
    const carets = await this.page
      .locator(".other-caret")
      .evaluateAll((all) => all.map((caret) => [caret.getAttribute("data-name"), caret.getAttribute("data-position")]));
    return Object.fromEntries(carets.map(([name, position]) => [name, Number(position)]));
  }

  async showsText(expected: string): Promise<void> {
    await eventually(`the window shows ${JSON.stringify(expected)}`, () => this.text(), (text) => text === expected);
  }

  async isIn(state: string): Promise<void> {
    await eventually(`the badge says ${state}`, () => this.state(), (seen) => seen === state);
  }

  async close(): Promise<void> {
    await this.page.close();
  }
}

async function linesOf(editor: Locator): Promise<string> {
  return editor.evaluate((content) => {
    const lines = [...content.querySelectorAll(".cm-line")];
    return lines.map((line) => (line.querySelector(".cm-placeholder") === null ? line.textContent : "")).join("\n");
  });
}
