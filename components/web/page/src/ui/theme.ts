// Keeps the document's colours as the user chose, or as the system says.
import { effect } from "@preact/signals";
import { theme, type Theme } from "../store/settings";

export const themes: readonly Theme[] = ["system", "light", "dark"];

export function followTheme(): void {
  effect(() => {
    const chosen = themes.includes(theme.value) ? theme.value : "system";
    if (chosen === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = chosen;
  });
}
