// The one place the focus returns to.

/** A screen keyboard would cover what was just opened. */
export const touch = window.matchMedia("(pointer: coarse)");

export function focusComposer(event?: Event): void {
  event?.preventDefault();
  document.getElementById("composer")?.focus();
}

/** The same where nobody asked for it. */
export function readyToWrite(): void {
  if (!touch.matches) focusComposer();
}
