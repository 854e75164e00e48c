import type { DocHandle, DocHandleEphemeralMessagePayload } from "@automerge/automerge-repo/slim";
import { type ReadonlySignal, computed, effect, signal } from "@preact/signals";
import type { Author, Content } from "../document/content";
import type { Standing } from "../access/standing";
import type { Connection } from "../sync/connection";
import { type Place, type PresenceMessage, decodePresence, encodePresence } from "./message";
import { ownColour } from "./ownColour";
import { type Person, Roster } from "./roster";

const HEARTBEAT_MS = 4_000;
/** How much longer than their time somebody may be shown who fell silent. */
const SWEEP_MS = 500;
/** Two heartbeats may get lost. */
const TTL_MS = 13_000;
/** Browsers let the timers of a background tab fire once a minute at worst. */
const AWAY_TTL_MS = 150_000;
/** Caret movements are sent at most this often. */
const PLACE_INTERVAL_MS = 60;
/** Nothing says when the server has begun to forward our messages, so the first question is asked more than once. */
const ASK_AFTER_MS = [0, 150, 600, 2_000];
/** Whoever is heard of this soon after connecting was here before us. */
const SETTLING_MS = 2_500;

export type Arrival = { name: string; what: "joined" | "left"; count: number };

/** Tells the others of one document who is here and where, and hears the same from them. */
export class Presence {
  readonly #roster = signal(Roster.EMPTY);
  readonly people: ReadonlySignal<Person[]> = computed(() => this.#roster.value.people);
  /** The latest coming or going; `count` tells two equal ones apart. */
  readonly #arrival = signal<Arrival | null>(null);
  readonly arrival: ReadonlySignal<Arrival | null> = this.#arrival;

  readonly #handle: DocHandle<Content>;
  readonly #since = Date.now() + Math.random();
  readonly #me;
  /** The person at this page, as all see them here: in another colour than they chose when somebody else has that. */
  readonly me: ReadonlySignal<Author>;
  readonly #cleanups: (() => void)[] = [];
  readonly #timers = new Set<number>();
  #place: Place = { at: "page" };
  #settledAt = 0;
  #hasLeft = false;
  #announcement: number | undefined;

  constructor(handle: DocHandle<Content>, connection: Connection, author: ReadonlySignal<Author>, standing: Standing) {
    this.#handle = handle;
    this.#me = signal(author.peek());
    this.me = this.#me;
    handle.on("ephemeral-message", this.#hear);
    const mayRead = computed(() => standing.may.value.read);
    const heartbeat = setInterval(() => this.#say(false), HEARTBEAT_MS);
    const sweep = setInterval(() => this.#advance(this.#roster.peek().expire(Date.now())), SWEEP_MS);
    const leave = (): void => {
      this.#broadcast({ kind: "gone" });
      // A page becomes hidden after it has been left; that must not be the last the others hear.
      this.#hasLeft = true;
    };
    const comeBack = (): void => {
      this.#hasLeft = false;
      this.#say(true);
    };
    const showAway = (): void => this.#say(false);
    addEventListener("pagehide", leave);
    addEventListener("pageshow", comeBack);
    document.addEventListener("visibilitychange", showAway);
    this.#cleanups.push(
      effect(() => {
        // Whoever may not read hears nobody any more.
        if (connection.isConnected.value && mayRead.value) this.#ask();
        else this.#advance(Roster.EMPTY);
      }),
      effect(() => this.#appear(author.value, this.people.value)),
      effect(() => {
        void this.me.value;
        this.#announceSoon();
      }),
      () => handle.off("ephemeral-message", this.#hear),
      () => clearInterval(heartbeat),
      () => clearInterval(sweep),
      () => this.#timers.forEach((timer) => clearTimeout(timer)),
      () => removeEventListener("pagehide", leave),
      () => removeEventListener("pageshow", comeBack),
      () => document.removeEventListener("visibilitychange", showAway),
    );
  }

  dispose(): void {
    this.#broadcast({ kind: "gone" });
    for (const cleanup of this.#cleanups) cleanup();
  }

  moveTo(place: Place): void {
    if (JSON.stringify(place) === JSON.stringify(this.#place)) return;
    this.#place = place;
    this.#announceSoon();
  }

  #chosen: Author | undefined;

  /** Decides how to be seen, anew when the person chose, or the others here are not the same. */
  #appear(author: Author, people: readonly Person[]): void {
    const before = this.#me.peek();
    const present = this.#chosen?.colour === author.colour ? before.colour : author.colour;
    this.#chosen = author;
    const colour = ownColour(present, { author, since: this.#since }, people);
    if (colour !== before.colour || author.name !== before.name) this.#me.value = { name: author.name, colour };
  }

  #ask(): void {
    this.#settledAt = Date.now() + SETTLING_MS;
    for (const delay of ASK_AFTER_MS) this.#later(() => this.#say(true), delay);
  }

  #announceSoon(): void {
    if (this.#announcement !== undefined) return;
    this.#announcement = this.#later(() => {
      this.#announcement = undefined;
      this.#say(false);
    }, PLACE_INTERVAL_MS);
  }

  #later(action: () => void, delay: number): number {
    const timer = window.setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, delay);
    this.#timers.add(timer);
    return timer;
  }

  #say(asks: boolean): void {
    if (this.#hasLeft) return;
    const ttl = document.visibilityState === "visible" ? TTL_MS : AWAY_TTL_MS;
    this.#broadcast({ kind: "here", author: this.me.peek(), place: this.#place, ttl, asks, since: this.#since });
  }

  #broadcast(message: PresenceMessage): void {
    this.#handle.broadcast(encodePresence(message));
  }

  readonly #hear = ({ senderId, message }: DocHandleEphemeralMessagePayload<Content>): void => {
    const heard = decodePresence(message);
    if (heard === null) return;
    if (heard.kind === "here" && heard.asks) this.#announceSoon();
    this.#advance(this.#roster.peek().hear(senderId, heard, Date.now()));
  };

  #advance(next: Roster): void {
    const before = this.#roster.peek();
    if (next === before) return;
    this.#roster.value = next;
    const joined = next.people.find(({ id }) => !before.has(id));
    const left = before.people.find(({ id }) => !next.has(id));
    // When the connection goes, everybody seems to, and comes back with it; that is not worth a word about each.
    if (next === Roster.EMPTY || Date.now() < this.#settledAt) return;
    const count = (this.#arrival.peek()?.count ?? 0) + 1;
    if (joined !== undefined) this.#arrival.value = { name: joined.author.name, what: "joined", count };
    else if (left !== undefined) this.#arrival.value = { name: left.author.name, what: "left", count };
  }
}
