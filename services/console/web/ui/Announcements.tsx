import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Session } from "../document/session";
import type { Connection } from "../sync/connection";

const SHOWN_MS = 3_500;

/** Short words about people coming and going; and, for screen readers only, about the connection. */
export function Announcements({ session, connection }: { session: Session; connection: Connection }) {
  const arrival = session.presence.arrival.value;
  const hiddenCount = useSignal(0);
  const phase = connection.phase.value;

  useEffect(() => {
    if (arrival === null) return undefined;
    const timer = setTimeout(() => {
      hiddenCount.value = arrival.count;
    }, SHOWN_MS);
    return () => clearTimeout(timer);
  }, [arrival, hiddenCount]);

  return (
    <>
      <div class="arrival" role="status">
        {arrival !== null && arrival.count > hiddenCount.value && (
          <span key={arrival.count}>
            <strong>{arrival.name}</strong> {arrival.what}
          </span>
        )}
      </div>
      <p class="visually-hidden" role="status">
        {phase === "offline" ? "Offline. Your edits are kept and sent later." : ""}
        {phase === "connected" ? "Connected." : ""}
      </p>
    </>
  );
}
