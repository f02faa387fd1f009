// Line icons of one weight, drawn on a grid of 24.
import type { JSX } from "preact";

const paths = {
  menu: "M4 7h16M4 12h16M4 17h10",
  panel: "M5 4.5h14a1.5 1.5 0 0 1 1.5 1.5v12a1.5 1.5 0 0 1-1.5 1.5H5A1.5 1.5 0 0 1 3.5 18V6A1.5 1.5 0 0 1 5 4.5ZM9.5 4.5v15",
  compose: "M11 5H6.5A1.5 1.5 0 0 0 5 6.5v11A1.5 1.5 0 0 0 6.5 19h11a1.5 1.5 0 0 0 1.5-1.5V13M9.5 14.5l.6-2.9 7.6-7.6a1.6 1.6 0 0 1 2.3 2.3l-7.6 7.6Z",
  send: "M12 19V5.5M6 11l6-6 6 6",
  copy: "M9 9h9.5v10.5H9ZM15 9V4.5H5.5V15H9",
  check: "M5 12.5l4.5 4.5L19 7.5",
  again: "M19 12a7 7 0 1 1-2-4.9M19.5 4v4h-4",
  pencil: "M5 19l1-4L16.6 4.4a1.8 1.8 0 0 1 2.5 0l.5.5a1.8 1.8 0 0 1 0 2.5L9 18Z",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  gear: "M4 7.5h9M17 7.5h3M15 5.2v4.6M4 16.5h3M11 16.5h9M9 14.2v4.6",
  key: "M14.5 4.5a5 5 0 1 1-4.6 7l-.4-.6-5 5v3.6h3.6v-2.4h2.4v-2.4l1.9-1.9M15.8 8.2h.01",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v13.5M6 13l6 6 6-6",
  chevron: "M7 10l5 5 5-5",
  alert: "M12 4 21 19.5H3ZM12 10v4.5M12 17h.01",
  calculator: "M7 3.5h10A1.5 1.5 0 0 1 18.5 5v14a1.5 1.5 0 0 1-1.5 1.5H7A1.5 1.5 0 0 1 5.5 19V5A1.5 1.5 0 0 1 7 3.5ZM8.5 7.5h7M9 12h.01M12 12h.01M15 12h.01M9 16h.01M12 16h.01M15 16h.01",
  clock: "M12 3.8a8.2 8.2 0 1 1 0 16.4 8.2 8.2 0 0 1 0-16.4ZM12 7.5V12l3 2",
  wrench: "M14.6 6.3a4.4 4.4 0 0 1 5.7 5.7l-2.6-2.6-2.3.6-.6 2.3 2.1 2.1a4.4 4.4 0 0 1-5.2-.6L6.6 19a1.6 1.6 0 0 1-2.3-2.3L9.5 11.6a4.4 4.4 0 0 1 .3-4.8",
  auto: "M12 4a8 8 0 1 0 0 16ZM12 4a8 8 0 0 1 0 16",
  sun: "M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8ZM12 2.8v1.9M12 19.3v1.9M2.8 12h1.9M19.3 12h1.9M5.5 5.5l1.3 1.3M17.2 17.2l1.3 1.3M5.5 18.5l1.3-1.3M17.2 6.8l1.3-1.3",
  moon: "M19.5 14.3A8 8 0 0 1 9.7 4.5a8 8 0 1 0 9.8 9.8Z",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={paths[name]} />
    </svg>
  );
}

export function Mark(): JSX.Element {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <path class="mark-rock" d="M6.5 17.7 12.6 7.4a1.6 1.6 0 0 1 2.8 0l3 5 1.7-2.2a1.6 1.6 0 0 1 2.6.2l4.8 7.3Z" />
      <path class="mark-sea" d="M4 23c2 0 2 1.6 4 1.6S10 23 12 23s2 1.6 4 1.6S18 23 20 23s2 1.6 4 1.6 2-1.6 4-1.6" />
    </svg>
  );
}
