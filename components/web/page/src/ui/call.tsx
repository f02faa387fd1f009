// A tool call: what was asked and what came back; the whole of it on request.
import type { JSX } from "preact";
import type { CallPart } from "../chat/message";
import { Icon, type IconName } from "./icons";

const icons: Record<string, IconName> = { calculator: "calculator", clock: "clock" };

export function CallView({ call, running }: { call: CallPart; running: boolean }): JSX.Element {
  const waiting = running && call.output === null;
  return (
    <details class="call" data-waiting={waiting}>
      <summary>
        <span class="call-icon"><Icon name={icons[call.name] ?? "wrench"} /></span>
        <span class="call-name">{waiting ? "Using" : "Used"} {call.name || "a tool"}</span>
        <span class="call-brief">{briefOf(call)}</span>
        <Icon name="chevron" />
      </summary>
      <dl>
        <dt>Asked</dt>
        <dd><pre tabIndex={0}>{prettyOf(call.arguments)}</pre></dd>
        <dt>Result</dt>
        <dd><pre tabIndex={0}>{call.output ?? (waiting ? "…" : "none")}</pre></dd>
      </dl>
    </details>
  );
}

/** Such as `12*7 = 84`. */
function briefOf(call: CallPart): string {
  const values = valuesOf(call.arguments);
  const asked = values.join(", ");
  if (call.output === null) return asked;
  if (asked === "") return call.output;
  return call.name === "calculator" ? `${asked} = ${call.output}` : `${asked} → ${call.output}`;
}

function valuesOf(json: string): string[] {
  try {
    const parsed: unknown = JSON.parse(json);
    if (typeof parsed !== "object" || parsed === null) return [];
    return Object.values(parsed).map((value) => (typeof value === "string" ? value : JSON.stringify(value)));
  } catch {
    return [];
  }
}

function prettyOf(json: string): string {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;
  }
}
