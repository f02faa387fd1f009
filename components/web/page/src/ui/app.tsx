// The page's frame: the list of chats, the bar, the conversation, the composer, the dialogs.
import { useEffect } from "preact/hooks";
import type { JSX } from "preact";
import { current, drawerOpen, notice, startNew } from "../state";
import { sidebarClosed } from "../store/settings";
import { Composer } from "./composer";
import { ConversationView } from "./conversation";
import { Dialogs } from "./dialogs";
import { focusComposer } from "./focus";
import { Icon } from "./icons";
import { LiveRegion } from "./live";
import { ModelPicker } from "./model-picker";
import { Sidebar } from "./sidebar";

const NOTICE_MS = 6000;

export function App(): JSX.Element {
  usePageKeys();
  const first = current.value.messages.value[0];
  const title = first ? current.value.title : "";
  useEffect(() => {
    document.title = title ? `${title} – Skerry` : "Skerry";
  }, [title]);
  return (
    <div class="page" data-sidebar={sidebarClosed.value ? "closed" : "open"} data-drawer={drawerOpen.value ? "open" : "closed"}>
      <a class="skip" href="#composer" onClick={focusComposer}>Skip to the message field</a>
      <Sidebar />
      {drawerOpen.value && <div class="backdrop" onClick={() => (drawerOpen.value = false)} />}
      <main class="main" inert={drawerOpen.value}>
        <TopBar />
        <ConversationView key={current.value.id} conversation={current.value} />
        <Composer />
      </main>
      <Dialogs />
      <LiveRegion />
      <Notice />
    </div>
  );
}

function TopBar(): JSX.Element {
  return (
    <header class="bar">
      <button type="button" class="icon-button only-narrow" aria-label="Open the list of chats" aria-expanded={drawerOpen.value} onClick={() => (drawerOpen.value = true)}>
        <Icon name="menu" />
      </button>
      {sidebarClosed.value && (
        <button type="button" class="icon-button only-wide" aria-label="Show the list of chats" onClick={() => (sidebarClosed.value = "")}>
          <Icon name="panel" />
        </button>
      )}
      <ModelPicker />
      <button type="button" class={`icon-button bar-new${sidebarClosed.value ? "" : " only-narrow"}`} aria-label="New chat" onClick={startNew}>
        <Icon name="compose" />
      </button>
    </header>
  );
}

function Notice(): JSX.Element {
  const shown = notice.value;
  useEffect(() => {
    if (!shown) return undefined;
    const timer = setTimeout(() => {
      if (notice.value === shown) notice.value = null;
    }, NOTICE_MS);
    return () => clearTimeout(timer);
  }, [shown]);
  return (
    <div class="notice-place" role="status">
      {shown && (
        <div class="notice">
          <span>{shown.text}</span>
          {shown.undo && <button type="button" onClick={shown.undo}>Undo</button>}
        </div>
      )}
    </div>
  );
}

function usePageKeys(): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const command = event.metaKey || event.ctrlKey;
      if (command && event.shiftKey && event.key.toLowerCase() === "o") {
        event.preventDefault();
        startNew();
        focusComposer();
      } else if (event.key === "Escape") {
        drawerOpen.value = false;
      }
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}
