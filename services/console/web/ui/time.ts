import type { Entry } from "../history/timeline";

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** A moment as one would say it today: the date only when it is another day, the year only when it is another year. */
export function momentTime(milliseconds: number, now: Date = new Date()): string {
  const then = new Date(milliseconds);
  if (then.toDateString() === now.toDateString()) return clock.format(then);
  const date = then.getFullYear() === now.getFullYear() ? day : dayAndYear;
  return `${date.format(then)}, ${clock.format(then)}`;
}

export function preciseTime({ logged, written }: Entry): string {
  const parts = [];
  if (logged !== null) parts.push(`Committed ${new Date(logged.committed).toISOString()}`);
  if (written > 0) parts.push(`Written ${new Date(written).toISOString()} on the author's clock`);
  return parts.join("\n");
}
