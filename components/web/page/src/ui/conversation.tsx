// The conversation: its messages, and a scroll position that follows the newest words until the
// reader scrolls away.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { JSX } from "preact";
import type { Conversation } from "../chat/conversation";
import type { Message } from "../chat/message";
import { send, suggestions } from "../state";
import { AnswerView } from "./answer";
import { copyText } from "./copy";
import { Icon, Mark } from "./icons";
import { memo } from "./memo";
import { Said } from "./said";

/** This near the end counts as at the end, in pixels. */
const END_SLACK_PX = 60;

export function ConversationView({ conversation }: { conversation: Conversation }): JSX.Element {
  const messages = conversation.messages.value;
  const busy = conversation.busy.value;
  const { place, atEnd, toEnd } = useFollow(messages);
  return (
    <div class="conversation-place">
      <div class="conversation" ref={place} tabIndex={-1} onClick={copyCode}>
        {messages.length === 0 ? <Welcome /> : (
          <div class="column" role="log" aria-live="off" aria-label="Conversation" aria-busy={busy}>
            <h1 class="unseen">{conversation.title}</h1>
            {messages.map((message, at) => (
              <Turn key={message.id} message={message} last={at === messages.length - 1} free={!busy} />
            ))}
          </div>
        )}
      </div>
      {!atEnd && messages.length > 0 && (
        <button type="button" class="to-end" aria-label="Scroll to the newest message" onClick={toEnd}>
          <Icon name="down" />
        </button>
      )}
    </div>
  );
}

interface TurnProps {
  readonly message: Message;
  readonly last: boolean;
  readonly free: boolean;
}

const Turn = memo(({ message, last, free }: TurnProps): JSX.Element =>
  message.role === "user" ? <Said message={message} free={free} /> : <AnswerView answer={message} last={last} free={free} />,
);

function Welcome(): JSX.Element {
  return (
    <div class="welcome">
      <Mark />
      <h1>What can I help with?</h1>
      {suggestions.value.length > 0 && (
        <ul class="suggestions">
          {suggestions.value.map((text) => (
            <li key={text}><button type="button" onClick={() => void send(text)}>{text}</button></li>
          ))}
        </ul>
      )}
    </div>
  );
}

function useFollow(messages: readonly Message[]) {
  const place = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const lastTop = useRef(0);
  const [atEnd, setAtEnd] = useState(true);
  const toEnd = (): void => {
    const node = place.current;
    if (!node) return;
    following.current = true;
    node.scrollTo({ top: node.scrollHeight });
    lastTop.current = node.scrollTop;
  };
  /** Notes where the reader has gone. Growth of the answer moves nothing, and a shorter answer
   * leaves the position at the end: so upwards and not at the end is always the reader. */
  const look = (node: HTMLElement): void => {
    const below = belowEnd(node);
    if (node.scrollTop < lastTop.current - 1 && below > 2) following.current = false;
    else if (node.scrollTop > lastTop.current && below < END_SLACK_PX) following.current = true;
    lastTop.current = node.scrollTop;
    setAtEnd(following.current || below < END_SLACK_PX);
  };
  const follow = (): void => {
    const node = place.current;
    // The event of a scroll comes after the next frame; the position itself is known now.
    if (node) look(node);
    if (following.current) toEnd();
  };
  useEffect(() => {
    const node = place.current;
    if (!node) return undefined;
    const onScroll = (): void => look(node);
    const resized = new ResizeObserver(() => following.current && toEnd());
    resized.observe(node);
    node.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      resized.disconnect();
      node.removeEventListener("scroll", onScroll);
    };
  }, []);
  // The reader's own message always comes into view.
  const said = messages.findLast((message) => message.role === "user")?.id;
  useLayoutEffect(() => toEnd(), [said]);
  useLayoutEffect(() => follow(), [messages]);
  return { place, atEnd, toEnd };
}

function belowEnd(node: HTMLElement): number {
  return node.scrollHeight - node.scrollTop - node.clientHeight;
}

function copyCode(event: MouseEvent): void {
  const button = event.target instanceof Element ? event.target.closest<HTMLButtonElement>("[data-copy-code]") : null;
  const code = button?.closest("figure")?.querySelector("code");
  if (!button || !code) return;
  void copyText(code.textContent ?? "").then((copied) => {
    button.textContent = copied ? "Copied" : "Not copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
}
