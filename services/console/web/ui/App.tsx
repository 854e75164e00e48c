import type { Workspace } from "../document/workspace";
import { DocumentPage } from "./DocumentPage";
import { FailureNotice } from "./FailureNotice";
import { TokenGate } from "./TokenGate";

export function App({ workspace }: { workspace: Workspace }) {
  return (
    <>
      {workspace.door.state.value.kind === "closed" ? (
        <TokenGate door={workspace.door} />
      ) : (
        <CurrentView workspace={workspace} />
      )}
      <FailureNotice />
    </>
  );
}

function CurrentView({ workspace }: { workspace: Workspace }) {
  const view = workspace.view.value;
  switch (view.kind) {
    case "open":
      return <DocumentPage key={view.session.handle.url} session={view.session} workspace={workspace} />;
    case "opening":
      return (
        <main class="message-page" aria-busy="true">
          <p class="late">Opening the document…</p>
        </main>
      );
    case "unavailable":
      return (
        <main class="message-page">
          <h1>{view.standing.may.value.read ? "Not here yet" : "This document is not open to you"}</h1>
          {!view.standing.may.value.read ? (
            <p>
              Whoever made it has not given you access, or has taken it back. Ask for a link; the document opens here by
              itself once you may view it.
            </p>
          ) : workspace.repository.connection.isConnected.value ? (
            <p>The server does not have this document. It opens here by itself as soon as somebody who has it connects.</p>
          ) : (
            <p>This browser does not have the document, and the server cannot be reached. It opens as soon as it can be.</p>
          )}
          <NewDocument workspace={workspace} />
        </main>
      );
    case "nothing":
      return (
        <main class="message-page">
          <h1>Which document?</h1>
          <p>Your access is for documents that others made. Open the link to one of them.</p>
        </main>
      );
    case "invalid":
      return (
        <main class="message-page">
          <h1>This link leads nowhere</h1>
          <p>
            <code>{view.text}</code> is not the address of a document. Was it copied whole?
          </p>
          <NewDocument workspace={workspace} />
        </main>
      );
  }
}

function NewDocument({ workspace }: { workspace: Workspace }) {
  if (!workspace.mayCreate) return null;
  return (
    <p>
      <button type="button" class="button primary" onClick={() => workspace.create()}>
        New document
      </button>
    </p>
  );
}
