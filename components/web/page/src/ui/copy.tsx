// Copying to the clipboard, and a button for it.
import { useState } from "preact/hooks";
import type { JSX } from "preact";
import { Icon } from "./icons";

const SHOWN_MS = 1500;

/** Says whether it worked: a page on plain HTTP has no clipboard. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text: string): boolean {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

export function CopyButton({ text }: { text: string }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const onClick = async (): Promise<void> => {
    setCopied(await copyText(text));
    setTimeout(() => setCopied(false), SHOWN_MS);
  };
  return (
    <button type="button" class="icon-button" aria-label={copied ? "Copied" : "Copy"} title="Copy" onClick={() => void onClick()}>
      <Icon name={copied ? "check" : "copy"} />
    </button>
  );
}
