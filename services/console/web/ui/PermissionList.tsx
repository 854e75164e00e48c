import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { type Permission, type Role, type Sharing, isLink } from "../access/sharing";
import { LinkIcon, PersonIcon } from "./icons";
import { wordsOf } from "./wordsOf";

type Props = {
  sharing: Sharing;
  permissions: readonly Permission[];
  /** The own name; nobody takes the own access away by a slip. */
  self: string | null;
  onRevoked: () => Promise<void>;
};

const ROLE_WORDS: Record<Role, string> = { viewer: "can view", editor: "can edit", owner: "owner" };

/** Who has access, people and links, each with the way to take it away. */
export function PermissionList({ sharing, permissions, self, onRevoked }: Props) {
  const complaint = useSignal("");
  const list = useRef<HTMLUListElement>(null);

  const revoke = async (grantee: string): Promise<void> => {
    complaint.value = "";
    try {
      await sharing.revoke(grantee);
    } catch (error) {
      complaint.value = wordsOf(error);
    }
    await onRevoked();
    // The button that had the focus is gone with its row.
    list.current?.focus();
  };

  return (
    <section class="permissions" aria-label="Who has access">
      <h3>Who has access</h3>
      <ul ref={list} tabIndex={-1}>
        {permissions.map(({ grantee, role }) => (
          <li key={grantee} data-grantee={grantee} data-role={role}>
            {isLink(grantee) ? <LinkIcon /> : <PersonIcon />}
            <span class="grantee" title={grantee}>
              {nameOf(grantee)}
              {grantee === self && <em> (you)</em>}
            </span>
            <span class="role">{ROLE_WORDS[role]}</span>
            {grantee !== self && (
              <button
                type="button"
                class="button small"
                aria-label={`Remove access: ${nameOf(grantee)}, ${ROLE_WORDS[role]}`}
                onClick={() => void revoke(grantee)}
              >
                Remove
              </button>
            )}
          </li>
        ))}
      </ul>
      <p class="complaint" role="alert">
        {complaint.value}
      </p>
    </section>
  );
}

const LINK_NAME_SHOWN = 4;

export function nameOf(grantee: string): string {
  if (grantee === "*") return "Everybody with a token";
  if (grantee === "public") return "Everybody";
  return isLink(grantee) ? `Link ${grantee.replace("link:", "").slice(0, LINK_NAME_SHOWN)}` : grantee;
}
