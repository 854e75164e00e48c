import type { Phase } from "../sync/connection";
import type { Session } from "../document/session";
import type { Saved } from "../sync/durability";
import type { Repository } from "../sync/repository";
import { CheckIcon, CloudOffIcon, LockIcon } from "./icons";
import { describe, explain } from "./savedWords";

type Props = { session: Session; repository: Repository };

/** The state of the connection and of the newest edits, in one place and few words. */
export function SavedBadge({ session: { durability, standing }, repository: { connection, keepsEdits } }: Props) {
  const saved = durability.saved.value;
  const phase = connection.phase.value;
  const may = standing.may.value;
  return (
    <div class="saved" data-saved={saved.kind} data-phase={phase}>
      <span class="saved-icon">{may.read ? iconFor(saved, phase) : <LockIcon />}</span>
      <span class="saved-text" title={explain(saved, keepsEdits)}>
        {describe(saved, phase, may)}
      </span>
      {phase === "offline" && (
        <button type="button" class="saved-retry" onClick={() => connection.retry()}>
          Retry now
        </button>
      )}
    </div>
  );
}

function iconFor(saved: Saved, phase: Phase) {
  if (phase === "offline") return <CloudOffIcon />;
  return saved.kind === "saved" ? <CheckIcon /> : <i class="pulse" />;
}
