// The one place the focus returns to.
export function focusComposer(event?: Event): void {
  event?.preventDefault();
  document.getElementById("composer")?.focus();
}
