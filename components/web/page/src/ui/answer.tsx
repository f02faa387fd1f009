// An answer: its words, its tool calls, how it ended, and what can be done with it.
import type { JSX } from "preact";
import { textOf, type Answer } from "../chat/message";
import { answerAgain } from "../state";
import { CallView } from "./call";
import { CopyButton } from "./copy";
import { FailureView } from "./failure";
import { Icon } from "./icons";
import { MarkdownView } from "./markdown";

interface Props {
  readonly answer: Answer;
  readonly last: boolean;
  readonly free: boolean;
}

export function AnswerView({ answer, last, free }: Props): JSX.Element {
  const streaming = answer.ending === "streaming";
  const text = textOf(answer);
  const lastPart = answer.parts.at(-1);
  const waiting = streaming && (!lastPart || (lastPart.kind === "call" && lastPart.output !== null));
  return (
    <article class="answer" aria-label="Answer" data-ending={answer.ending}>
      {answer.parts.map((part, at) => {
        if (part.kind === "text") return <MarkdownView key={at} text={part.text} />;
        if (part.kind === "reasoning") return <ReasoningView key={at} text={part.text} running={streaming && part === lastPart} />;
        return <CallView key={at} call={part} running={streaming} />;
      })}
      {waiting && <Thinking />}
      <Ending answer={answer} />
      {answer.failure && <FailureView failure={answer.failure} again={last ? answerAgain : null} />}
      {!streaming && (text !== "" || (last && !answer.failure)) && (
        <div class="actions">
          {text !== "" && <CopyButton text={text} />}
          {last && free && !answer.failure && (
            <button type="button" class="icon-button" aria-label="Answer again" title="Answer again" onClick={() => void answerAgain()}>
              <Icon name="again" />
            </button>
          )}
        </div>
      )}
    </article>
  );
}

function ReasoningView({ text, running }: { text: string; running: boolean }): JSX.Element {
  return (
    <details class="call reasoning" data-waiting={running}>
      <summary>
        <span class="call-name">{running ? "Thinking" : "Thought about it"}</span>
        <Icon name="chevron" />
      </summary>
      <MarkdownView text={text} />
    </details>
  );
}

function Thinking(): JSX.Element {
  return (
    <div class="thinking" role="img" aria-label="Waiting for the model">
      <span /><span /><span />
    </div>
  );
}

function Ending({ answer }: { answer: Answer }): JSX.Element | null {
  const unanswered = answer.ending === "complete" && answer.parts.some((part) => part.kind === "call" && part.output === null);
  const words = {
    streaming: null,
    complete: unanswered ? "The model asked for a tool that this page cannot run." : answer.parts.length === 0 ? "The model gave no answer." : null,
    stopped: "You stopped this answer.",
    length: "The answer reached its length limit.",
    filtered: "The safety filter ended this answer.",
    failed: null,
  }[answer.ending];
  return words ? <p class="ending">{words}</p> : null;
}
