# shellcheck shell=bash
#
# What an assistant must be able to do through the gateway: sourced by the script of
# each, which defines `add_servers`, `login NAME` and `statuses`, and then calls `tell`.
#
# usage: ASSISTANT.sh READY_FILE TOKEN_SECONDS
#
# READY_FILE     where the demo wrote its coordinates
# TOKEN_SECONDS  how long the demo's tokens live

set -euo pipefail

assistant=${0##*/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ready=$1
token_seconds=$2

# An assistant keeps its settings and sign-ins in the home folder: one of its own makes
# every run a first run, and leaves the user's alone.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
GATEWAY_CA=$(node -p 'require(process.argv[1]).ca' "$ready")
export GATEWAY_CA NODE_EXTRA_CA_CERTS=$GATEWAY_CA
export HOME=$home XDG_CONFIG_HOME=$home/.config XDG_DATA_HOME=$home/.local/share
export XDG_CACHE_HOME=$home/.cache XDG_STATE_HOME=$home/.local/state
export BROWSER=$here/../browser/xdg-open BROWSER_LOG=$home/browser.log
export PATH=$here/../browser:$here/node_modules/.bin:$PATH
export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1
mkdir "$home/project"
cd "$home/project"
: >"$BROWSER_LOG"
mapfile -t urls < <(node -p 'require(process.argv[1]).mcp.join("\n")' "$ready")

ok() {
  echo "ok $assistant: $1"
}

failed() {
  echo "FAILED $assistant: $1"
  exit 1
}

# Runs a command on a terminal, since assistants start no sign-in without one, and
# prints what it showed without colours and the spinner's repaints.
on_terminal() {
  timeout --kill-after=5 60 script -qec "$*" /dev/null </dev/null 2>&1 |
    sed -e 's/\x1b\[[0-9;?]*[a-zA-Z]//g' -e 's/\x1b\][^\x1b]*\x1b\\//g' -e 's/\r//g'
}

# Checks that the assistant has each server as `$1` says: a pattern for the line with
# the server's name, which `statuses` prints.
all_are() {
  local shown index
  shown=$(statuses)
  echo "$shown" >&2
  for index in "${!urls[@]}"; do
    grep -Eq "tools$index\b.*$1" <<<"$shown" || return 1
  done
}

sign_ins() {
  wc -l <"$BROWSER_LOG"
}

# tell ASSISTANT NEEDS_SIGN_IN CONNECTED: the last two are what it says of a server.
tell() {
  assistant=$1
  local needs_sign_in=$2 connected=$3
  add_servers || failed "adds servers: the command failed"
  ok "adds ${#urls[@]} servers"
  all_are "$needs_sign_in" || failed "asks for a sign-in: it does not say \`$needs_sign_in\` of each server"
  ok "asks for a sign-in"

  local index
  for index in "${!urls[@]}"; do
    login "tools$index" >&2 || failed "signs in at ${urls[$index]}: the command failed"
    grep -q failed "$BROWSER_LOG" &&
      failed "signs in at ${urls[$index]}: the browser did not arrive: $(cat "$BROWSER_LOG.errors")"
    (($(sign_ins) == index + 1)) ||
      failed "signs in at ${urls[$index]}: the user was sent to the browser $(sign_ins) times"
    ok "signs in at /${urls[$index]#https://*/}"
  done
  all_are "$connected" || failed "is connected: it does not say \`$connected\` of each server"
  ok "is connected"

  sleep "$((token_seconds + 2))"
  all_are "$connected" || failed "stays connected: it does not say \`$connected\` after its tokens expired"
  (($(sign_ins) == ${#urls[@]})) ||
    failed "stays connected: the user was sent to the browser $(sign_ins) times"
  ok "stays connected after its tokens expired"
}
