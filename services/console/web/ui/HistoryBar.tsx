import { useEffect, useMemo, useRef } from "preact/hooks";
import type { Author } from "../document/content";
import type { Session } from "../document/session";
import type { Loading, Moment } from "../history/history";
import type { Entry } from "../history/timeline";
import { personColour } from "../presence/palette";
import { BackIcon, ForwardIcon, PauseIcon, PlayIcon } from "./icons";
import { momentTime, preciseTime } from "./time";

/** The strip below the slider has at most this many stretches of colour. */
const STRIP_STRETCHES_MAX = 240;

/** Where in its history the document is shown, and the ways to go elsewhere in it. */
export function HistoryBar({ session }: { session: Session }) {
  const { history } = session;
  const entries = history.entries.value;
  const moment = history.moment.value;
  const { authors } = session.content.value;
  const position = history.position.value;
  const isPlaying = history.playback.isPlaying.value;
  const bar = useRef<HTMLElement>(null);

  useEffect(() => bar.current?.querySelector<HTMLElement>("input[type=range]")?.focus({ preventScroll: true }), []);

  return (
    <aside
      class="history"
      ref={bar}
      aria-label="History"
      onKeyDown={(event) => {
        if (event.key === "Escape") history.close();
      }}
    >
      <p class="history-tag">The past · read only</p>
      <div class="history-summary">
        <p class="history-what">
          <strong>
            Change {position.toLocaleString()} of {entries.length.toLocaleString()}
          </strong>
          {moment !== null && <Description moment={moment} author={authors[moment.entry.actor]} />}
        </p>
        <LoadingNote loading={history.loading.value} />
        <button type="button" class="button primary" onClick={() => history.close()}>
          Back to now
        </button>
      </div>
      <div class="history-controls">
        <button
          type="button"
          class="button round primary"
          aria-label={isPlaying ? "Pause" : "Play"}
          onClick={() => (isPlaying ? history.playback.stop() : history.play())}
        >
          {isPlaying ? <PauseIcon /> : <PlayIcon />}
        </button>
        <button
          type="button"
          class="button round"
          aria-label="Earlier"
          disabled={position <= 1}
          onClick={() => history.goTo(position - 1)}
        >
          <BackIcon />
        </button>
        <div class="history-slider">
          <input
            type="range"
            min={1}
            max={entries.length}
            step={1}
            value={position}
            aria-label="Moment in the history"
            aria-valuetext={moment === null ? "" : spoken(moment, authors[moment.entry.actor], entries.length)}
            onInput={(event) => history.goTo(event.currentTarget.valueAsNumber)}
          />
          <AuthorStrip entries={entries} authors={authors} />
        </div>
        <button
          type="button"
          class="button round"
          aria-label="Later"
          disabled={position >= entries.length}
          onClick={() => history.goTo(position + 1)}
        >
          <ForwardIcon />
        </button>
      </div>
    </aside>
  );
}

function Description({ moment: { entry }, author }: { moment: Moment; author: Author | undefined }) {
  const time = entry.logged?.committed ?? entry.written;
  return (
    <span class="history-facts" data-author={nameOf(author, entry)} data-offset={entry.logged?.offset}>
      <span class="history-author" title={`Actor ${entry.actor}`}>
        <i class="dot" style={{ "--person": personColour(author?.colour ?? 0) }} />
        {nameOf(author, entry)}
      </span>
      {time > 0 && (
        <time dateTime={new Date(time).toISOString()} title={preciseTime(entry)}>
          {momentTime(time)}
        </time>
      )}
      <span title={`Change ${entry.hash}`}>
        {entry.logged === null ? "not on the server yet" : `log offset ${entry.logged.offset.toLocaleString()}`}
      </span>
    </span>
  );
}

function LoadingNote({ loading }: { loading: Loading }) {
  switch (loading.kind) {
    case "complete":
      return null;
    case "loading":
      return (
        <p class="history-note">
          Loading {loading.known.toLocaleString()} of {loading.total.toLocaleString()}…
        </p>
      );
    case "failed":
      return (
        <p class="history-note" title={loading.reason}>
          The server's log cannot be reached: shown in this window's own order.
        </p>
      );
  }
}

/** Whose change is where along the slider. */
function AuthorStrip({ entries, authors }: { entries: readonly Entry[]; authors: Record<string, Author> }) {
  const image = useMemo(() => {
    const stretches = Math.min(entries.length, STRIP_STRETCHES_MAX);
    const stops = Array.from({ length: stretches }, (_, stretch) => {
      const actor = entries[Math.floor(((stretch + 0.5) / stretches) * entries.length)]?.actor ?? "";
      const edge = (at: number): string => `${((at / stretches) * 100).toFixed(2)}%`;
      const author = authors[actor];
      const colour = author === undefined ? "var(--line-strong)" : personColour(author.colour);
      return `${colour} ${edge(stretch)} ${edge(stretch + 1)}`;
    });
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }, [entries, authors]);
  return <div class="history-strip" aria-hidden="true" style={{ backgroundImage: image }} />;
}

function nameOf(author: Author | undefined, { actor }: Entry): string {
  return author === undefined || author.name === "" ? `Actor ${actor.slice(0, 8)}` : author.name;
}

function spoken({ entry }: Moment, author: Author | undefined, total: number): string {
  const time = entry.logged?.committed ?? entry.written;
  return `Change ${entry.number} of ${total}, by ${nameOf(author, entry)}${time > 0 ? `, ${momentTime(time)}` : ""}`;
}
