# shellcheck shell=bash
#
# What an assistant must be able to do through the gateway: sourced by the script of
# each, which defines `add_servers`, `login NAME` and `statuses`, and then calls `tell`.
# An assistant whose callback Entra ID cannot know says so with `only_relayed=1`.
#
# usage: ASSISTANT.sh TOKEN_SECONDS READY_FILE…
#
# TOKEN_SECONDS  how long the demos' tokens live
# READY_FILE     where a demo wrote its coordinates. The assistant adds every server of
#                the first demo, and the first server of the others
#
# Sets `names` and `urls`, in which servers have the same index.

set -euo pipefail

assistant=${0##*/}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
token_seconds=$1
shift
only_relayed=

# An assistant keeps its settings and sign-ins in the home folder: one of its own makes
# every run a first run, and leaves the user's alone.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
# shellcheck disable=SC2016 # the dollar signs are JavaScript's
mapfile -t servers < <(node -e '
  const demos = process.argv.slice(1).map((file) => require(file));
  for (const [index, demo] of demos.entries()) {
    for (const url of index === 0 ? demo.mcp : demo.mcp.slice(0, 1)) {
      const path = new URL(url).pathname.replaceAll(/\W/g, "-");
      console.log(`${demo.authorize}-${demo.bearer}${path} ${url}`);
    }
  }' "$@")
names=("${servers[@]% *}")
urls=("${servers[@]#* }")
for file; do
  cat "$(node -p 'require(process.argv[1]).ca' "$file")"
done >"$home/ca.pem"
export GATEWAY_CA=$home/ca.pem NODE_EXTRA_CA_CERTS=$home/ca.pem
export HOME=$home XDG_CONFIG_HOME=$home/.config XDG_DATA_HOME=$home/.local/share
export XDG_CACHE_HOME=$home/.cache XDG_STATE_HOME=$home/.local/state
export BROWSER=$here/../browser/xdg-open BROWSER_LOG=$home/browser.log
export PATH=$here/../browser:$here/node_modules/.bin:$PATH
export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1
mkdir "$home/project"
cd "$home/project"
: >"$BROWSER_LOG"

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

# True when Entra ID cannot know where the assistant listens for server `$1`.
turned_away() {
  [[ -n $only_relayed && $1 == passthrough-* ]]
}

# Checks that the assistant has each server as `$1` says, but for those at which it is
# turned away, which it has as `$2` says: patterns for the line with the server's name,
# which `statuses` prints.
all_are() {
  local shown name expected
  shown=$(statuses)
  echo "$shown" >&2
  for name in "${names[@]}"; do
    expected=$1
    turned_away "$name" && expected=$2
    grep -Eq "(^|[^a-z_-])$name([^a-z_-].*)?$expected" <<<"$shown" || return 1
  done
}

sign_ins() {
  wc -l <"$BROWSER_LOG"
}

# browsed BEFORE: waits for the browser to say how it ended, which it may do after the assistant has.
browsed() {
  local deadline=$((SECONDS + 30))
  until (($(sign_ins) > $1)); do
    ((SECONDS < deadline)) || break
    sleep 0.2
  done
}

# sees_refusal NAME: the sign-in ends at Entra's page, and the assistant waits in vain.
sees_refusal() {
  local before
  before=$(sign_ins)
  login "$1" >&2 &
  local waiting=$!
  browsed "$before"
  kill "$waiting" 2>/dev/null || true
  wait "$waiting" 2>/dev/null || true
  [[ $(tail -n 1 "$BROWSER_LOG") == 'opened: failed: AADSTS50011' ]]
}

# signs_in NAME
signs_in() {
  local before
  before=$(sign_ins)
  login "$1" >&2 || failed "signs in at $1: the command failed"
  browsed "$before"
  local how expected='opened: arrived'
  how=$(tail -n 1 "$BROWSER_LOG")
  [[ $1 == relay-* ]] && expected='opened: arrived, asked before'
  [[ $how == "$expected" ]] ||
    failed "signs in at $1: expected \`$expected\`, found \`$how\` $(cat "$BROWSER_LOG.errors" 2>/dev/null)"
  (($(sign_ins) == before + 1)) ||
    failed "signs in at $1: the user was sent to the browser $(($(sign_ins) - before)) times"
}

# tell ASSISTANT NEEDS_SIGN_IN CONNECTED: the last two are what it says of a server.
tell() {
  assistant=$1
  local needs_sign_in=$2 connected=$3
  add_servers || failed "adds servers: the command failed"
  ok "adds ${#urls[@]} servers"
  all_are "$needs_sign_in" "$needs_sign_in" ||
    failed "asks for a sign-in: it does not say \`$needs_sign_in\` of each server"
  ok "asks for a sign-in"

  local name
  for name in "${names[@]}"; do
    if turned_away "$name"; then
      sees_refusal "$name" || failed "is turned away at $name: expected AADSTS50011, found \`$(tail -n 1 "$BROWSER_LOG")\`"
      ok "is turned away at $name, since Entra ID cannot know its callback"
    else
      signs_in "$name"
      ok "signs in at $name"
    fi
  done
  all_are "$connected" "$needs_sign_in" || failed "is connected: it does not say \`$connected\` of each server"
  ok "is connected"

  local before
  before=$(sign_ins)
  sleep "$((token_seconds + 2))"
  all_are "$connected" "$needs_sign_in" ||
    failed "stays connected: it does not say \`$connected\` after its tokens expired"
  (($(sign_ins) == before)) || failed "stays connected: the user was sent to the browser again"
  ok "stays connected after its tokens expired"
}
