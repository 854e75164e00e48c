import type { Author } from "../document/content";
import { PALETTE_SIZE } from "./palette";
import type { Person } from "./roster";

/** Somebody at this page: as they want to be seen, and since when they are here. */
export type Self = { author: Author; since: number };

/**
 * The colour to be seen in, so that people who are here at the same time differ: the present one, unless somebody who came
 * earlier has it. Then it is the next after the wanted one that nobody has; when all are taken, the present one. Of two with
 * the same colour the later one yields, and does not go back, so that nobody's colour flickers; whoever decides for themselves
 * and tells the others is seen alike on all pages. The same name is the same person, in another tab.
 */
export function ownColour(present: number, self: Self, people: readonly Person[]): number {
  const others = people.filter(({ author }) => author.name !== self.author.name);
  if (!others.some(({ author, since }) => author.colour === present && since < self.since)) return present;
  const taken = new Set(others.map(({ author }) => author.colour));
  for (let step = 0; step < PALETTE_SIZE; step += 1) {
    const colour = (self.author.colour + step) % PALETTE_SIZE;
    if (!taken.has(colour)) return colour;
  }
  return present;
}
