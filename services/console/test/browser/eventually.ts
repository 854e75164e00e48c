/** Under load a browser is slow; a test that fails should not be slow for hours, though. */
const DEADLINE_MS = 30_000;
const INTERVAL_MS = 25;

/** Asks until the answer is right, and fails with the last wrong one. */
export async function eventually<T>(
  what: string,
  ask: () => T | Promise<T>,
  isRight: (answer: T) => boolean,
  deadline = DEADLINE_MS,
): Promise<T> {
  const end = Date.now() + deadline;
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    if (Date.now() > end) throw new Error(`${what}: not within ${deadline} ms; last seen: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
}
