#!/bin/sh
# Builds the chat page into dist/ and then the component that serves it.
# Where the page cannot be built it says so and the component is built alone: the API still serves,
# and `/` tells the visitor what is missing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
node_wanted=20.19

say() { printf 'web: %s\n' "$*" >&2; }

node_is_new_enough() {
  node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    const [wantedMajor, wantedMinor] = process.argv[1].split(".").map(Number);
    process.exit(major > wantedMajor || (major === wantedMajor && minor >= wantedMinor) ? 0 : 1);
  ' "$node_wanted"
}

# The dependencies as the lock file names them; installed again only if that file changed.
install_dependencies() {
  installed=node_modules/.installed-lock.json
  cmp -s package-lock.json "$installed" && return 0
  npm ci --no-audit --no-fund --loglevel=error && cp package-lock.json "$installed"
}

page_is_current() {
  [ -f ../dist/index.html ] &&
    [ -z "$(find . -path ./node_modules -prune -o -path ./test -prune -o -type f -newer ../dist/index.html -print -quit)" ]
}

build_page() {
  # The folder is mounted into the component, so it must exist even when it stays empty.
  mkdir -p "$here/dist"
  cd "$here/page"
  if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
    say "Node.js is not installed: the chat page is not built (it needs $node_wanted or newer, with npm)."
  elif ! node_is_new_enough; then
    say "Node.js $(node --version) is too old: the chat page is not built (it needs $node_wanted or newer)."
  elif page_is_current; then
    say "the chat page is up to date."
  elif ! install_dependencies; then
    say "the chat page's dependencies cannot be installed: the chat page is not built."
  else
    npm run --silent build
    say "the chat page is built."
  fi
}

(build_page)
cd "$here/../.."
exec cargo rustc --lib --crate-type cdylib --target wasm32-wasip2 --profile component -p web --target-dir target
