// What this browser remembers of its user: the key, the model, the theme. In localStorage, or, if
// that is refused, for as long as the page lives.
import { effect, signal, type Signal } from "@preact/signals";

export type Theme = "system" | "light" | "dark";

const PREFIX = "skerry.";

export const apiKey = remembered("key", "");
export const chosenModel = remembered("model", "");
export const sidebarClosed = remembered("sidebar-closed", "");
export const theme = remembered("theme", "system") as Signal<Theme>;

function remembered(name: string, fallback: string): Signal<string> {
  const key = PREFIX + name;
  const value = signal(read(key) ?? fallback);
  let first = true;
  effect(() => {
    const text = value.value;
    if (!first) write(key, text);
    first = false;
  });
  // Another tab of this browser changed it.
  window.addEventListener("storage", (event) => {
    if (event.key === key) value.value = event.newValue ?? fallback;
  });
  return value;
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, text: string): void {
  try {
    if (text === "") localStorage.removeItem(key);
    else localStorage.setItem(key, text);
  } catch {
    // The value lives in the signal.
  }
}
