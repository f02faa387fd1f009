// What the user said: plain text, as it was written.
import type { JSX } from "preact";
import type { UserMessage } from "../chat/message";
import { edit } from "../state";
import { focusComposer } from "./focus";
import { CopyButton } from "./copy";
import { Icon } from "./icons";

export function Said({ message, free }: { message: UserMessage; free: boolean }): JSX.Element {
  return (
    <article class="said" aria-label="You said">
      <div class="said-text">{message.text}</div>
      <div class="actions">
        <CopyButton text={message.text} />
        {free && (
          <button type="button" class="icon-button" aria-label="Edit" title="Edit" onClick={() => { edit(message.id); focusComposer(); }}>
            <Icon name="pencil" />
          </button>
        )}
      </div>
    </article>
  );
}
