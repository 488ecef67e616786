#!/usr/bin/env bash
# Codex: `codex mcp add`, which signs in at once, and `codex mcp list`.
#
# usage: codex.sh READY_FILE TOKEN_SECONDS PASSTHROUGH_READY_FILE
#
# Without a relay it listens on a path of its own for each server, which Entra compares: only a
# registration of each would let it in, so it must fail there, and sign in through the relay.

# shellcheck source=tests/clients/assistants/story.sh
source "$(dirname "${BASH_SOURCE[0]}")/story.sh"
assistant=codex
export CODEX_HOME=$home/.codex SSL_CERT_FILE=$GATEWAY_CA
mkdir "$CODEX_HOME"

signed_in() {
  timeout 60 codex mcp list </dev/null | grep -Eq "^$1\b.*OAuth"
}

for index in "${!urls[@]}"; do
  on_terminal codex mcp add "tools$index" --url "${urls[$index]}" >&2 ||
    failed "signs in at ${urls[$index]}: the command failed"
  grep -q failed "$BROWSER_LOG" &&
    failed "signs in at ${urls[$index]}: the browser did not arrive: $(cat "$BROWSER_LOG.errors")"
  signed_in "tools$index" || failed "signs in at ${urls[$index]}: \`codex mcp list\` does not say so"
  ok "signs in at /${urls[$index]#https://*/}"
done
(($(sign_ins) == ${#urls[@]})) || failed "the user was sent to the browser $(sign_ins) times"

GATEWAY_CA=$(node -p 'require(process.argv[1]).ca' "$3")
SSL_CERT_FILE=$GATEWAY_CA
url=$(node -p 'require(process.argv[1]).mcp[0]' "$3")
# It waits for an answer that never comes: Entra shows a page instead (AADSTS50011).
timeout 20 script -qec "codex mcp add without-relay --url $url" /dev/null </dev/null >&2 || true
(($(sign_ins) == ${#urls[@]} + 1)) || failed "opens no browser without a relay"
signed_in without-relay && failed "signs in without a relay: the relay is not what cures it"
ok "cannot sign in without a relay"
