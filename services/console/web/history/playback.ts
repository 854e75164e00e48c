import { type ReadonlySignal, signal } from "@preact/signals";

/** A change gets this long, within the limits below for the whole. */
const STEP_MS = 140;
const WHOLE_MS_MIN = 2_500;
const WHOLE_MS_MAX = 40_000;

/** Moves a position forward in time, as if the document were written again. */
export class Playback {
  readonly #isPlaying = signal(false);
  readonly isPlaying: ReadonlySignal<boolean> = this.#isPlaying;
  readonly #move: (position: number) => void;
  #frame = 0;

  constructor(move: (position: number) => void) {
    this.#move = move;
  }

  /** Plays from `from` to `length`. */
  start(from: number, length: number): void {
    this.stop();
    if (from >= length) return;
    this.#isPlaying.value = true;
    const whole = Math.min(Math.max(length * STEP_MS, WHOLE_MS_MIN), WHOLE_MS_MAX);
    const stepsPerMs = length / whole;
    const startedAt = performance.now();
    const advance = (now: number): void => {
      const position = Math.min(length, from + Math.floor((now - startedAt) * stepsPerMs));
      this.#move(position);
      if (position < length) this.#frame = requestAnimationFrame(advance);
      else this.#isPlaying.value = false;
    };
    this.#frame = requestAnimationFrame(advance);
  }

  stop(): void {
    cancelAnimationFrame(this.#frame);
    this.#isPlaying.value = false;
  }
}
