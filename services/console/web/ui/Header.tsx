import type { Content } from "../document/content";
import type { Session } from "../document/session";
import type { Workspace } from "../document/workspace";
import { HistoryIcon, Logo, PlusIcon } from "./icons";
import { People } from "./People";
import { SavedBadge } from "./SavedBadge";
import { ShareDialog } from "./ShareDialog";
import { SharedLine } from "./SharedLine";

type Props = { session: Session; workspace: Workspace; content: Content; isPast: boolean };

export function Header({ session, workspace, content, isPast }: Props) {
  const { history } = session;
  return (
    <header class="header">
      <div class="header-title">
        <Logo />
        <SharedLine
          class="title"
          label="Title"
          placeholder="Untitled"
          value={content.title}
          isReadOnly={isPast || !session.standing.may.value.write}
          onEdit={(title) => session.edits.setTitle(title)}
        />
      </div>
      <SavedBadge session={session} repository={workspace.repository} />
      <People presence={session.presence} identity={workspace.identity} />
      <nav class="header-actions" aria-label="Document">
        <button
          type="button"
          class="button"
          aria-pressed={isPast}
          onClick={() => (isPast ? history.close() : history.open())}
        >
          <HistoryIcon />
          <span>History</span>
        </button>
        <ShareDialog session={session} workspace={workspace} title={content.title} />
        {workspace.mayCreate && (
          <button type="button" class="button" aria-label="New document" onClick={() => workspace.create()}>
            <PlusIcon />
            <span>New</span>
          </button>
        )}
      </nav>
    </header>
  );
}
