// The two dialogs: the key, and the settings. Native dialogs keep the focus inside themselves and
// give it back.
import { useEffect, useRef, useState } from "preact/hooks";
import type { ComponentChildren, JSX } from "preact";
import { isPlausibleKey } from "../api/client";
import { forgetKey, keyFailure, openDialog, removeAll, summaries, takeKey } from "../state";
import { apiKey, theme, type Theme } from "../store/settings";
import { readyToWriteSoon } from "./focus";
import { Icon, type IconName } from "./icons";
import { themes } from "./theme";

export function Dialogs(): JSX.Element | null {
  if (openDialog.value === "key") return <KeyDialog />;
  return openDialog.value === "settings" ? <SettingsDialog /> : null;
}

interface DialogProps {
  readonly title: string;
  /** Called when it is gone; by itself the focus returns to where it was before. */
  readonly onGone?: () => void;
  readonly children: ComponentChildren;
}

function Dialog({ title, onGone, children }: DialogProps): JSX.Element {
  const node = useRef<HTMLDialogElement>(null);
  const gone = useRef(false);
  useEffect(() => {
    const dialog = node.current;
    dialog?.showModal();
    return () => {
      gone.current = true;
      // What lies behind a modal dialog takes no focus until it is closed.
      dialog?.close();
      onGone?.();
    };
  }, []);
  // The browser tells of a close later, when another dialog may be open already.
  const close = (): void => {
    if (!gone.current) openDialog.value = null;
  };
  return (
    <dialog ref={node} aria-labelledby="dialog-title" onClose={close} onClick={(event) => event.target === node.current && close()}>
      <div class="dialog-body">
        <div class="dialog-head">
          <h2 id="dialog-title">{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={close}><Icon name="close" /></button>
        </div>
        {children}
      </div>
    </dialog>
  );
}

function KeyDialog(): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  const [trying, setTrying] = useState(false);
  const [problem, setProblem] = useState(keyFailure.value?.message ?? "");
  const submit = async (): Promise<void> => {
    const key = field.current?.value.trim() ?? "";
    if (trying) return;
    if (!isPlausibleKey(key)) {
      setProblem(key === "" ? "Enter a key." : "A key is one word of letters, digits and signs, such as sk-…");
      return;
    }
    setTrying(true);
    const failure = await takeKey(key);
    setTrying(false);
    if (failure) setProblem(failure.message);
  };
  return (
    <Dialog title="Enter your API key" onGone={readyToWriteSoon}>
      <p class="dialog-text">
        The key was printed when Skerry was first started, or an administrator gave it to you. It stays in this
        browser and is sent only to this server.
      </p>
      <form onSubmit={(event) => { event.preventDefault(); void submit(); }}>
        <label for="key">API key</label>
        <input id="key" ref={field} type="password" autocomplete="off" autocapitalize="none" spellcheck={false} placeholder="sk-…" autofocus
          aria-invalid={problem !== ""} aria-describedby="key-problem" onInput={() => setProblem("")} />
        <p id="key-problem" class="problem" role="alert">{problem}</p>
        <button type="submit" class="button primary wide" aria-disabled={trying}>{trying ? "Checking…" : "Continue"}</button>
      </form>
    </Dialog>
  );
}

const themeLooks: Record<Theme, { icon: IconName; name: string }> = {
  system: { icon: "auto", name: "System" },
  light: { icon: "sun", name: "Light" },
  dark: { icon: "moon", name: "Dark" },
};

function SettingsDialog(): JSX.Element {
  const key = apiKey.value;
  return (
    <Dialog title="Settings">
      <fieldset class="setting">
        <legend>Theme</legend>
        <div class="choices">
          {themes.map((name) => (
            <label key={name} class="choice">
              <input type="radio" name="theme" value={name} checked={theme.value === name} onChange={() => (theme.value = name)} />
              <span><Icon name={themeLooks[name].icon} />{themeLooks[name].name}</span>
            </label>
          ))}
        </div>
      </fieldset>
      <div class="setting row">
        <div>
          <strong>API key</strong>
          <p>{key ? `Kept in this browser, ending in ${key.slice(-4)}` : "None"}</p>
        </div>
        <button type="button" class="button" onClick={forgetKey}>{key ? "Forget key" : "Enter key"}</button>
      </div>
      <DeleteAll />
    </Dialog>
  );
}

function DeleteAll(): JSX.Element {
  const [sure, setSure] = useState(false);
  const count = summaries.value.length;
  return (
    <div class="setting row">
      <div>
        <strong>Chats</strong>
        <p>{count === 0 ? "None" : count === 1 ? "One, in this browser only" : `${count}, in this browser only`}</p>
      </div>
      <button type="button" class="button danger" disabled={count === 0} onClick={() => {
        if (!sure) return setSure(true);
        openDialog.value = null;
        void removeAll();
      }}>
        {sure ? "Really delete all" : "Delete all"}
      </button>
    </div>
  );
}
