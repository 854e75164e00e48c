import { useComputed } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { foreignFields } from "../document/content";
import type { Session } from "../document/session";
import type { Workspace } from "../document/workspace";
import { PastText } from "../editor/PastText";
import { TextEditor } from "../editor/TextEditor";
import { AccessNote } from "./AccessNote";
import { Announcements } from "./Announcements";
import { Header } from "./Header";
import { HistoryBar } from "./HistoryBar";
import { TodoList } from "./TodoList";

export function DocumentPage({ session, workspace }: { session: Session; workspace: Workspace }) {
  const may = session.standing.may.value;
  const moment = session.history.moment.value;
  const isPast = session.history.isOpen.value;
  const content = moment?.content ?? session.content.value;
  const foreign = useComputed(() => {
    void session.content.value;
    return foreignFields(session.handle.doc()).join(", ");
  }).value;

  useEffect(() => {
    document.title = content.title === "" ? "AetherFlow" : `${content.title} · AetherFlow`;
  }, [content.title]);
  useEffect(() => {
    if (isPast) session.presence.moveTo({ at: "history" });
    else session.presence.moveTo({ at: "page" });
  }, [isPast, session]);

  const author = moment === null ? undefined : session.content.value.authors[moment.entry.actor];
  return (
    <div class={isPast ? "page is-past" : "page"}>
      <Header session={session} workspace={workspace} content={content} isPast={isPast} />
      <main class="columns">
        <AccessNote may={may} />
        {foreign !== "" && (
          <p class="notice">
            This document was made with another shape of <code>{foreign}</code> than this page can edit. It is shown as
            far as possible.
          </p>
        )}
        <section class="sheet" aria-label={isPast ? "Text in the past" : "Text"}>
          {moment !== null && <PastText moment={moment} colour={author?.colour ?? 0} />}
          {/* Hidden, not removed, so that coming back finds the caret and the undo history as they were. */}
          <div hidden={isPast}>
            <TextEditor session={session} isReadOnly={foreign !== "" || !may.write} />
          </div>
        </section>
        <TodoList session={session} todos={content.todos} isReadOnly={isPast || foreign !== "" || !may.write} isPast={isPast} />
      </main>
      {isPast && <HistoryBar session={session} />}
      <Announcements session={session} connection={workspace.repository.connection} />
    </div>
  );
}
