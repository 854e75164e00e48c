import { type ReadonlySignal, computed, signal } from "@preact/signals";
import { Refusal, fetchJson } from "./server";
import { keepToken } from "./token";

/**
 * Whether the server lets this tab in.
 * - `open`: it does, or cannot be asked, in which case work goes on with what is in this browser
 * - `closed`: it wants a token that it has not been shown; nothing is tried until there is another one
 */
export type DoorState =
  | { kind: "open"; principal: string | null; mayCreate: boolean }
  | { kind: "closed"; reason: "missing" | "expired" | "refused"; detail: string };

const DEADLINE_MS = 5_000;

/** Asks the server, before anything else does, so that a refusal is one question and not a storm of them. */
export class Door {
  readonly #state = signal<DoorState>({ kind: "open", principal: null, mayCreate: true });
  readonly state: ReadonlySignal<DoorState> = this.#state;
  readonly isOpen = computed(() => this.#state.value.kind === "open");
  #asking: Promise<void> | null = null;

  /** Asks; several at once ask together. */
  knock(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  /** Goes on as whoever this token names, if the server knows them. */
  async show(token: string): Promise<void> {
    keepToken(token);
    await this.#asking;
    await this.knock();
  }

  async #ask(): Promise<void> {
    try {
      const answer = await fetchJson("v1/access", AbortSignal.timeout(DEADLINE_MS));
      this.#state.value = readAnswer(answer);
    } catch (error) {
      // A server that is down or busy has not refused anybody.
      if (!(error instanceof Refusal) || error.status !== 401) return;
      const reason = { "token-missing": "missing", "token-expired": "expired" } as const;
      const kind = error.kind as keyof typeof reason;
      this.#state.value = { kind: "closed", reason: reason[kind] ?? "refused", detail: error.message };
    }
  }
}

function readAnswer(answer: unknown): DoorState {
  const found = typeof answer === "object" && answer !== null ? (answer as Record<string, unknown>) : {};
  const principal = typeof found["principal"] === "string" ? found["principal"] : null;
  return { kind: "open", principal, mayCreate: found["create"] !== false };
}
