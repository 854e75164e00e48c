// Seeded randomness, so that a failing run can be repeated: the seed is printed with every failure.

/** A small deterministic generator (splitmix32); good enough to choose edits and moments, not for secrets. */
export class Random {
  #state;

  /** @param {number} seed a 32-bit integer */
  constructor(seed) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  #next() {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /**
   * An integer of [from, to).
   *
   * @param {number} from
   * @param {number} to
   */
  between(from, to) {
    return from + (this.#next() % Math.max(1, to - from));
  }

  /** @param {number} probability */
  chance(probability) {
    return this.#next() < probability * 2 ** 32;
  }

  /**
   * @template T
   * @param {readonly T[]} items
   * @returns {T}
   */
  pick(items) {
    return items[this.between(0, items.length)];
  }

  /** @param {number} length in bytes */
  bytes(length) {
    return Uint8Array.from({ length }, () => this.#next() & 0xff);
  }

  /** An independent generator, so that one part's choices do not shift those of another. */
  fork() {
    return new Random(this.#next());
  }
}

/** `STOCK_SEED`, or a seed drawn for this run. */
export function drawSeed() {
  const given = process.env.STOCK_SEED;
  return given ? Number(given) : Math.floor(Math.random() * 2 ** 32);
}
