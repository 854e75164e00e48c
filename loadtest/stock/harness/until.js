// Waiting is always for a condition, with a deadline: no test sleeps for a fixed time and hopes.

/** Multiplies every deadline; raise it on a machine that is busy with other work. */
const PATIENCE = Number(process.env.STOCK_PATIENCE ?? 1);

/** The deadline of a condition that should hold at once on a healthy server, in milliseconds. */
export const SOON_MS = 15_000 * PATIENCE;

/** The deadline of a whole scenario, in milliseconds. Longer than any condition in it, shorter than the runner's own limit. */
export const SCENARIO_MS = 60_000 * PATIENCE;

/**
 * Polls `probe` until it returns something truthy, and returns that.
 *
 * @template T
 * @param {string} what the condition, as it shall stand in the error: "both clients have equal heads"
 * @param {() => T | Promise<T>} probe what it throws ends the wait at once
 * @param {{ within?: number, every?: number, detail?: () => unknown }} [options] milliseconds; `detail` is printed when the deadline passes
 * @returns {Promise<NonNullable<T>>}
 */
export async function until(what, probe, { within = SOON_MS, every = 10, detail } = {}) {
  const deadline = Date.now() + within;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > deadline) {
      const seen = detail ? `; seen: ${JSON.stringify(detail())}` : "";
      throw new Error(`not within ${within} ms: ${what}${seen}`);
    }
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}

/**
 * Settles as `promise` does, or rejects when the deadline passes first.
 *
 * @template T
 * @param {string} what
 * @param {Promise<T>} promise
 * @param {number} [within] milliseconds
 * @returns {Promise<T>}
 */
export async function within(what, promise, within = SOON_MS) {
  /** @type {NodeJS.Timeout | undefined} */
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${within} ms: ${what}`)), within);
  });
  try {
    return /** @type {T} */ (await Promise.race([promise, deadline]));
  } finally {
    clearTimeout(timer);
  }
}
