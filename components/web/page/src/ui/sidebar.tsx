// The chats of this browser, newest first, by day.
import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import { current, drawerOpen, open, openDialog, remove, startNew, summaries } from "../state";
import type { Summary } from "../store/conversations";
import { sidebarClosed } from "../store/settings";
import { focusComposer } from "./focus";
import { Icon, Mark } from "./icons";

const DAY_MS = 86_400_000;

export function Sidebar(): JSX.Element {
  const closeButton = useRef<HTMLButtonElement>(null);
  const isOpen = drawerOpen.value;
  useEffect(() => {
    if (isOpen) closeButton.current?.focus();
  }, [isOpen]);
  return (
    <nav class="sidebar" aria-label="Chats">
      <div class="sidebar-head">
        <span class="brand"><Mark />Skerry</span>
        <button type="button" class="icon-button only-wide" aria-label="Hide the list of chats" onClick={() => (sidebarClosed.value = "yes")}>
          <Icon name="panel" />
        </button>
        <button ref={closeButton} type="button" class="icon-button only-narrow" aria-label="Close the list of chats" onClick={() => (drawerOpen.value = false)}>
          <Icon name="close" />
        </button>
      </div>
      <button type="button" class="new-chat" onClick={() => { startNew(); focusComposer(); }}>
        <Icon name="compose" />New chat
      </button>
      <div class="chats">
        {groupsOf(summaries.value, Date.now()).map(([name, group]) => (
          <section key={name}>
            <h2>{name}</h2>
            <ul>{group.map((summary) => <Row key={summary.id} summary={summary} />)}</ul>
          </section>
        ))}
        {summaries.value.length === 0 && <p class="no-chats">Your chats stay in this browser and appear here.</p>}
      </div>
      <button type="button" class="settings-button" onClick={() => (openDialog.value = "settings")}>
        <Icon name="gear" />Settings
      </button>
    </nav>
  );
}

function Row({ summary }: { summary: Summary }): JSX.Element {
  const shown = current.value.id === summary.id;
  const title = summary.title || "Untitled";
  return (
    <li class="chat-row" data-current={shown}>
      <a href={`#/c/${summary.id}`} aria-current={shown ? "page" : undefined} title={title}
        onClick={(event) => { event.preventDefault(); open(summary.id); }}>
        {title}
      </a>
      <button type="button" class="icon-button" aria-label={`Delete the chat ${title}`} onClick={() => void remove(summary.id)}>
        <Icon name="trash" />
      </button>
    </li>
  );
}

function groupsOf(all: readonly Summary[], nowMs: number): [string, Summary[]][] {
  const today = new Date(nowMs).setHours(0, 0, 0, 0);
  const nameOf = (ms: number): string => {
    if (ms >= today) return "Today";
    if (ms >= today - DAY_MS) return "Yesterday";
    return ms >= today - 7 * DAY_MS ? "Last 7 days" : "Older";
  };
  const groups = new Map<string, Summary[]>();
  for (const summary of all) {
    const name = nameOf(summary.updatedAtMs);
    groups.set(name, [...(groups.get(name) ?? []), summary]);
  }
  return [...groups];
}
