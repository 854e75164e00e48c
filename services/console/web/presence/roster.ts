import type { Author } from "../document/content";
import type { Place, PresenceMessage } from "./message";

export type Person = {
  /** The peer id of their tab. */
  id: string;
  author: Author;
  place: Place;
  /** Their tab is in the background. */
  isAway: boolean;
  /** When they came, on their clock. */
  since: number;
  /** Milliseconds, on this machine's clock. */
  expiresAt: number;
};

/** A heartbeat that is longer in coming than this means that the browser has slowed the tab down. */
const AWAY_TTL_MS = 60_000;

/** Who is here, from the messages heard so far. Immutable: every step gives the next roster. */
export class Roster {
  static readonly EMPTY = new Roster(new Map());
  readonly #people: ReadonlyMap<string, Person>;

  private constructor(people: ReadonlyMap<string, Person>) {
    this.#people = people;
  }

  /** In the order of their coming. */
  get people(): Person[] {
    return [...this.#people.values()];
  }

  has(id: string): boolean {
    return this.#people.has(id);
  }

  hear(id: string, message: PresenceMessage, now: number): Roster {
    if (message.kind === "gone") return this.without((person) => person.id === id);
    const { author, place, ttl, since } = message;
    const person: Person = { id, author, place, isAway: ttl >= AWAY_TTL_MS, since, expiresAt: now + ttl };
    return new Roster(new Map(this.#people).set(id, person));
  }

  expire(now: number): Roster {
    return this.without((person) => person.expiresAt <= now);
  }

  without(isGone: (person: Person) => boolean): Roster {
    const left = this.people.filter((person) => !isGone(person));
    return left.length === this.#people.size ? this : new Roster(new Map(left.map((person) => [person.id, person])));
  }
}
