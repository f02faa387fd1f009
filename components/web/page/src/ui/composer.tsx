// Where the user writes. Enter sends, Shift+Enter breaks the line; on a touch keyboard Enter breaks
// the line and the button sends.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import { current, draft, openDialog, send, stop } from "../state";
import { readyToWrite, touch } from "./focus";
import { Icon } from "./icons";

/** The longest message that can be written. */
const MESSAGE_CHARS_MAX = 100_000;

export function Composer(): JSX.Element {
  const field = useRef<HTMLTextAreaElement>(null);
  const busy = current.value.busy.value;
  const text = draft.value;
  // Asks the signals and not the last rendering, which quick typing runs ahead of.
  const submit = (): void => {
    if (!current.value.busy.value && draft.value.trim() !== "") void send(draft.value);
  };
  useLayoutEffect(() => fitHeight(field.current), [text]);
  // A conversation that is opened, or a draft that is put back, is written in next.
  useEffect(() => {
    if (!openDialog.peek()) readyToWrite();
  }, [current.value.id]);
  const onKeyDown = (event: KeyboardEvent): void => {
    const plainEnter = event.key === "Enter" && !event.shiftKey && !event.isComposing;
    if (plainEnter && !touch.matches) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape") {
      stop();
    }
  };
  return (
    <div class="composer-place">
      <form class="composer" onSubmit={(event) => { event.preventDefault(); submit(); }}>
        <label class="unseen" for="composer">Message</label>
        <textarea id="composer" ref={field} rows={1} maxLength={MESSAGE_CHARS_MAX} value={text} placeholder="Ask anything"
          autocomplete="off" enterkeyhint="enter" onInput={(event) => (draft.value = event.currentTarget.value)} onKeyDown={onKeyDown} />
        {busy ? (
          <button type="button" class="send-button" aria-label="Stop" title="Stop (Esc)" onClick={() => { stop(); field.current?.focus(); }}>
            <span class="stop-square" />
          </button>
        ) : (
          <button type="submit" class="send-button" aria-label="Send" title="Send (Enter)" aria-disabled={text.trim() === ""}>
            <Icon name="send" />
          </button>
        )}
      </form>
      <p class="fine-print">Answers can be wrong. Check what matters.</p>
    </div>
  );
}

/** Grows with the text; the style sheet holds the limit. */
function fitHeight(field: HTMLTextAreaElement | null): void {
  if (!field) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
