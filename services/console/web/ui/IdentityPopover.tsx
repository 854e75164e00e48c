import { useId } from "preact/hooks";
import type { Identity } from "../presence/identity";
import { PALETTE_SIZE, personColour } from "../presence/palette";
import { initials } from "./initials";

const COLOUR_NAMES = ["Teal", "Blue", "Violet", "Rose", "Red", "Orange", "Olive", "Slate"];

/** The own avatar, in the colour in which it is `shown` to all here; behind it the fields for name and colour. */
export function IdentityPopover({ identity, shown }: { identity: Identity; shown: number }) {
  const popover = useId();
  const { name, colour } = identity.author.value;
  return (
    <>
      <button
        type="button"
        class="avatar own"
        popovertarget={popover}
        aria-label={`You are ${name}. Change name and colour`}
        title={`${name} (you)`}
        style={{ "--person": personColour(shown) }}
      >
        {initials(name)}
      </button>
      <div id={popover} popover="auto" class="identity">
        <label>
          <span>Your name</span>
          <input
            type="text"
            class="field"
            maxLength={40}
            value={name}
            autocomplete="off"
            onChange={(event) => identity.change({ name: event.currentTarget.value })}
          />
        </label>
        <fieldset>
          <legend>Your colour</legend>
          {Array.from({ length: PALETTE_SIZE }, (_, index) => (
            <label key={index} class="swatch" style={{ "--person": personColour(index) }}>
              <input
                type="radio"
                name={`${popover}-colour`}
                checked={index === colour}
                onChange={() => identity.change({ colour: index })}
              />
              <span class="visually-hidden">{COLOUR_NAMES[index]}</span>
            </label>
          ))}
        </fieldset>
        <p>The others see both beside what you write. This browser remembers them.</p>
      </div>
    </>
  );
}
