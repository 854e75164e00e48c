import type { AutomergeUrl } from "@automerge/automerge-repo/slim";
import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { LinkRole, Sharing } from "../access/sharing";
import { linkTo } from "../document/link";
import { CopyLink } from "./CopyLink";
import { wordsOf } from "./wordsOf";

const DAY_S = 86_400;

const ROLES: readonly { role: LinkRole; label: string }[] = [
  { role: "viewer", label: "Can view" },
  { role: "editor", label: "Can edit" },
];

const LIFETIMES: readonly { seconds: number; label: string }[] = [
  { seconds: 3_600, label: "for an hour" },
  { seconds: DAY_S, label: "for a day" },
  { seconds: 7 * DAY_S, label: "for a week" },
  { seconds: 90 * DAY_S, label: "for three months" },
];

type Props = { sharing: Sharing; url: AutomergeUrl; onMade: () => Promise<void> };

/** Makes links: one for each purpose, so that each can be taken back by itself. */
export function LinkMaker({ sharing, url, onMade }: Props) {
  const name = useId();
  const role = useSignal<LinkRole>("viewer");
  const lifetime = useSignal(7 * DAY_S);
  const isMaking = useSignal(false);
  const made = useSignal<{ link: string; role: LinkRole } | null>(null);
  const complaint = useSignal("");

  const make = async (event: Event): Promise<void> => {
    event.preventDefault();
    isMaking.value = true;
    complaint.value = "";
    try {
      const wanted = role.value;
      const token = await sharing.makeLink(wanted, lifetime.value);
      made.value = { link: linkTo(url, token), role: wanted };
    } catch (error) {
      complaint.value = wordsOf(error);
    }
    isMaking.value = false;
    await onMade();
  };

  return (
    <form class="link-maker" onSubmit={(event) => void make(event)}>
      <fieldset>
        <legend>New link</legend>
        <div class="segments">
          {ROLES.map(({ role: option, label }) => (
            <label key={option}>
              <input
                type="radio"
                name={name}
                value={option}
                checked={role.value === option}
                onChange={() => {
                  role.value = option;
                }}
              />
              <span>{label}</span>
            </label>
          ))}
        </div>
        <select
          class="field"
          aria-label="How long the link holds"
          onChange={(event) => {
            lifetime.value = Number(event.currentTarget.value);
          }}
        >
          {LIFETIMES.map(({ seconds, label }) => (
            <option key={seconds} value={seconds} selected={seconds === lifetime.value}>
              {label}
            </option>
          ))}
        </select>
        <button type="submit" class="button primary" disabled={isMaking.value}>
          Create link
        </button>
      </fieldset>
      <p class="complaint" role="alert">
        {complaint.value}
      </p>
      {made.value !== null && (
        <div class="made" role="status">
          <div class="made-row">
            <input
              type="text"
              class="field"
              readOnly
              aria-label="The new link"
              value={made.value.link}
              onFocus={(event) => event.currentTarget.select()}
            />
            <CopyLink link={made.value.link} label="Copy" />
          </div>
          <p>
            Whoever has this link can {made.value.role === "viewer" ? "view" : "edit"}. It is shown here once.
          </p>
        </div>
      )}
    </form>
  );
}
