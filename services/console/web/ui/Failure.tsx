/** Shown in place of the page when it cannot start. */
export function Failure({ error }: { error: unknown }) {
  return (
    <div class="message-page" role="alert">
      <h1>The page could not start</h1>
      <p>{error instanceof Error ? error.message : String(error)}</p>
      <p>
        <button type="button" class="button primary" onClick={() => location.reload()}>
          Load again
        </button>
      </p>
    </div>
  );
}
