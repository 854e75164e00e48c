import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

/** After an error nobody expected, what the window shows can no longer be trusted; saying so is the least. */
export function FailureNotice() {
  const reason = useSignal<string | null>(null);

  useEffect(() => {
    const onError = (event: ErrorEvent): void => {
      // Browsers report a layout that settles one frame later as an "error".
      if (!event.message.startsWith("ResizeObserver")) reason.value = event.message;
    };
    const onRejection = (event: PromiseRejectionEvent): void => {
      reason.value = event.reason instanceof Error ? event.reason.message : String(event.reason);
    };
    addEventListener("error", onError);
    addEventListener("unhandledrejection", onRejection);
    return () => {
      removeEventListener("error", onError);
      removeEventListener("unhandledrejection", onRejection);
    };
  }, [reason]);

  if (reason.value === null) return null;
  return (
    <div class="failure-notice" role="alert">
      <p>
        Something went wrong in this window. Load it again to go on; what was saved is safe.
        <small>{reason.value}</small>
      </p>
      <button type="button" class="button" onClick={() => location.reload()}>
        Load again
      </button>
    </div>
  );
}
