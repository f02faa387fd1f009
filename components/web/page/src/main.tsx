// Puts the page together.
import { render } from "preact";
import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/sidebar.css";
import "./styles/message.css";
import "./styles/prose.css";
import "./styles/composer.css";
import "./styles/dialog.css";
import { start } from "./state";
import { App } from "./ui/app";
import { followTheme } from "./ui/theme";

followTheme();
const root = document.getElementById("app");
if (root) render(<App />, root);
void start();
