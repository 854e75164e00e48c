import type { Author } from "../document/content";
import { personColour } from "../presence/palette";
import type { Presence } from "../presence/presence";

/** Who has the document open now, by name and colour. */
export function PresentPeople({ presence }: { presence: Presence }) {
  return (
    <section class="present" aria-label="Who is here">
      <h3>Here now</h3>
      <ul>
        <Name author={presence.me.value} note="you" />
        {presence.people.value.map(({ id, author, isAway }) => (
          <Name key={id} author={author} note={isAway ? "away" : null} />
        ))}
      </ul>
    </section>
  );
}

function Name({ author, note }: { author: Author; note: string | null }) {
  return (
    <li data-name={author.name}>
      <i class="dot" style={{ "--person": personColour(author.colour) }} />
      {author.name}
      {note !== null && <em>{note}</em>}
    </li>
  );
}
