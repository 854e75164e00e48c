import type { May } from "../access/standing";
import { EyeIcon, LockIcon } from "./icons";

/** Says why the document cannot be changed, when it cannot. */
export function AccessNote({ may }: { may: May }) {
  return (
    <div class="access" role="status">
      {!may.read && (
        <p class="access-note is-ended">
          <LockIcon />
          <span>
            <strong>Your access to this document has ended.</strong> You see it as it was at that moment; nothing is sent
            or received any more.
          </span>
        </p>
      )}
      {may.read && !may.write && (
        <p class="access-note">
          <EyeIcon />
          <span>
            <strong>View only.</strong> You see every change as it happens. To make some yourself, ask an owner for
            editing.
          </span>
        </p>
      )}
    </div>
  );
}
