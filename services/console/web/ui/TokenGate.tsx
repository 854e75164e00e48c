import { useSignal } from "@preact/signals";
import { useId } from "preact/hooks";
import type { Door, DoorState } from "../access/door";
import { isToken, splitToken } from "../access/token";

const HEADINGS = {
  missing: "Who are you?",
  expired: "Your access has run out",
  refused: "This access is not accepted",
};

const EXPLANATIONS = {
  missing: "This server lets in those who have an access token. Open the link you were given, or paste it here.",
  expired: "The token of this tab held for a limited time. Ask for a new one, and go on where you were.",
  refused: "The server does not know the token of this tab. Was the link copied whole? You can paste it here again.",
};

/** Shown in place of everything else while the server's door is closed. */
export function TokenGate({ door }: { door: Door }) {
  const field = useId();
  const isAsking = useSignal(false);
  const complaint = useSignal("");
  const state: DoorState = door.state.value;
  if (state.kind === "open") return null;

  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const input = (event.currentTarget as HTMLFormElement).querySelector("input");
    const pasted = input?.value.trim() ?? "";
    const { token, rest } = splitToken(pasted);
    const shown = token ?? pasted;
    if (!isToken(shown)) {
      complaint.value = "That is no token, nor a link with one in it.";
      return;
    }
    const document = /#(automerge:[^&]+)/.exec(rest)?.[1];
    if (token !== null && document !== undefined) history.replaceState(null, "", `#${document}`);
    isAsking.value = true;
    complaint.value = "";
    await door.show(shown);
    isAsking.value = false;
    const answer = door.state.peek();
    if (answer.kind === "closed") complaint.value = `Not accepted: ${answer.detail}`;
  };

  return (
    <main class="message-page token-gate">
      <h1>{HEADINGS[state.reason]}</h1>
      <p>{EXPLANATIONS[state.reason]}</p>
      <form onSubmit={(event) => void submit(event)}>
        <label for={field}>Access token or link</label>
        <div class="token-row">
          <input
            id={field}
            class="field"
            type="text"
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            autofocus
            aria-describedby={`${field}-complaint`}
            aria-invalid={complaint.value !== ""}
          />
          <button type="submit" class="button primary" disabled={isAsking.value}>
            Continue
          </button>
        </div>
        <p id={`${field}-complaint`} class="complaint" role="alert">
          {complaint.value}
        </p>
      </form>
      <p class="hint">It is kept in this tab only, and forgotten with it. What you wrote before is safe in this browser.</p>
    </main>
  );
}
