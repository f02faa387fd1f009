// What went wrong, in the platform's words, and the way on.
import { useEffect, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Failure, FailureKind } from "../api/failure";
import { openDialog } from "../state";
import { Icon } from "./icons";

const titles: Record<FailureKind, string> = {
  key: "The key was not accepted",
  rate: "A limit was reached",
  network: "No connection",
  request: "The request was refused",
  server: "The server failed",
  cut: "The answer broke off",
};

export function FailureView({ failure, again }: { failure: Failure; again: (() => Promise<void>) | null }): JSX.Element {
  const seconds = useSecondsUntil(failure.retryAtMs);
  return (
    <div class="failure" role="alert">
      <Icon name="alert" />
      <div class="failure-words">
        <strong>{titles[failure.kind]}</strong>
        <p>{failure.message}</p>
        {failure.requestId && <p class="request-id">Request {failure.requestId}</p>}
      </div>
      {again && (
        <div class="failure-actions">
          {failure.kind === "key" && (
            <button type="button" class="button" onClick={() => (openDialog.value = "key")}>Change key</button>
          )}
          <button type="button" class="button" disabled={seconds > 0} onClick={() => void again()}>
            {seconds > 0 ? `Try again in ${seconds} s` : "Try again"}
          </button>
        </div>
      )}
    </div>
  );
}

function useSecondsUntil(atMs: number | undefined): number {
  const left = (): number => Math.max(0, Math.ceil(((atMs ?? 0) - Date.now()) / 1000));
  const [seconds, setSeconds] = useState(left);
  useEffect(() => {
    setSeconds(left());
    const timer = setInterval(() => {
      const now = left();
      setSeconds(now);
      if (now === 0) clearInterval(timer);
    }, 250);
    return () => clearInterval(timer);
  }, [atMs]);
  return seconds;
}
