import { useSignal } from "@preact/signals";
import { useId, useMemo, useRef } from "preact/hooks";
import { type Permission, Sharing } from "../access/sharing";
import { linkTo } from "../document/link";
import type { Session } from "../document/session";
import type { Workspace } from "../document/workspace";
import { CopyLink } from "./CopyLink";
import { CloseIcon, ShareIcon } from "./icons";
import { LinkMaker } from "./LinkMaker";
import { PermissionList } from "./PermissionList";
import { PresentPeople } from "./PresentPeople";
import { wordsOf } from "./wordsOf";

type Props = { session: Session; workspace: Workspace; title: string };

/** What is known of who may do what: not yet, all of it, or why not. */
type Known = { kind: "asking" } | { kind: "known"; permissions: Permission[] } | { kind: "failed"; reason: string };

/** The button, and behind it who has access and how to give and take it. */
export function ShareDialog({ session, workspace, title }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const isOpen = useSignal(false);
  const known = useSignal<Known>({ kind: "asking" });
  const sharing = useMemo(() => new Sharing(session.handle.documentId), [session]);

  const load = async (): Promise<void> => {
    await session.standing.ask();
    if (!session.standing.may.peek().administer) return;
    try {
      known.value = { kind: "known", permissions: await sharing.list() };
    } catch (error) {
      known.value = { kind: "failed", reason: wordsOf(error) };
    }
  };
  const open = (): void => {
    isOpen.value = true;
    dialog.current?.showModal();
    void load();
  };
  const close = (): void => dialog.current?.close();

  return (
    <>
      <button type="button" class="button" aria-label="Share" aria-haspopup="dialog" onClick={open}>
        <ShareIcon />
        <span>Share</span>
      </button>
      <dialog
        ref={dialog}
        class="share"
        aria-labelledby={heading}
        onClose={() => {
          isOpen.value = false;
        }}
        // A click beside the dialog hits its backdrop, which is the dialog itself.
        onClick={(event) => event.target === dialog.current && close()}
      >
        {isOpen.value && (
          <div class="share-inside">
            <header>
              <h2 id={heading}>Share “{title === "" ? "Untitled" : title}”</h2>
              <button type="button" class="share-close" aria-label="Close" onClick={close}>
                <CloseIcon />
              </button>
            </header>
            <Body session={session} workspace={workspace} sharing={sharing} known={known.value} reload={load} />
            <PresentPeople presence={session.presence} />
            <footer>
              <p>For those who have access already:</p>
              <CopyLink link={linkTo(session.handle.url)} label="Copy link" />
            </footer>
          </div>
        )}
      </dialog>
    </>
  );
}

type BodyProps = {
  session: Session;
  workspace: Workspace;
  sharing: Sharing;
  known: Known;
  reload: () => Promise<void>;
};

function Body({ session, workspace, sharing, known, reload }: BodyProps) {
  const may = session.standing.may.value;
  const door = workspace.door.state.value;
  if (!may.administer) {
    const what = may.write ? "change this document" : may.read ? "view this document" : "not open this document any more";
    return <p class="share-note">You may {what}. Its owners decide who else may.</p>;
  }
  switch (known.kind) {
    case "asking":
      return <p class="share-note late">Asking the server…</p>;
    case "failed":
      return (
        <p class="share-note complaint" role="alert">
          {known.reason}
        </p>
      );
    case "known":
      // A server that asks people who they are knows at least whose the document is.
      if (known.permissions.length === 0) {
        return (
          <p class="share-note">
            This server asks nobody who they are: whoever has the link and reaches the server can view and change this
            document.
          </p>
        );
      }
      return (
        <>
          <LinkMaker sharing={sharing} url={session.handle.url} onMade={reload} />
          <PermissionList
            sharing={sharing}
            permissions={known.permissions}
            self={door.kind === "open" ? door.principal : null}
            onRevoked={reload}
          />
        </>
      );
  }
}
