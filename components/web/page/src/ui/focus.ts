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

/** After a dialog: Chromium gives the focus back while the field still counts as inert, and the
 * field then has the focus but no caret. It is taken again when the dialog is out of the page. */
export function readyToWriteSoon(): void {
  setTimeout(() => {
    document.getElementById("composer")?.blur();
    readyToWrite();
  });
}
