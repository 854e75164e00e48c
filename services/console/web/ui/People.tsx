import type { Identity } from "../presence/identity";
import { personColour } from "../presence/palette";
import type { Presence } from "../presence/presence";
import type { Person } from "../presence/roster";
import { IdentityPopover } from "./IdentityPopover";
import { initials } from "./initials";

const SHOWN_MAX = 5;

/** Who is here: first oneself, then the others in the order of their coming. */
export function People({ presence, identity }: { presence: Presence; identity: Identity }) {
  const people = presence.people.value;
  const shown = people.slice(0, SHOWN_MAX);
  const hidden = people.slice(SHOWN_MAX);
  return (
    <div class="people">
      <ul aria-label="Here now">
        {hidden.length > 0 && (
          <li class="avatar more" title={hidden.map(({ author }) => author.name).join(", ")}>
            +{hidden.length}
          </li>
        )}
        {shown.toReversed().map((person) => (
          <Avatar key={person.id} person={person} />
        ))}
      </ul>
      <IdentityPopover identity={identity} shown={presence.me.value.colour} />
    </div>
  );
}

function Avatar({ person: { author, place, isAway } }: { person: Person }) {
  const doing = isAway ? "away" : place.at === "history" ? "looking at the history" : null;
  const description = doing === null ? author.name : `${author.name} (${doing})`;
  return (
    <li
      class="avatar"
      data-name={author.name}
      data-away={isAway}
      data-at={place.at}
      title={description}
      style={{ "--person": personColour(author.colour) }}
    >
      <span aria-hidden="true">{initials(author.name)}</span>
      <span class="visually-hidden">{description}</span>
    </li>
  );
}
