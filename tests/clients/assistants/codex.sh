#!/usr/bin/env bash
# Codex: servers in `config.toml`, `codex mcp login`, and what its app server says of them.

# shellcheck source=tests/clients/assistants/story.sh
source "$(dirname "${BASH_SOURCE[0]}")/story.sh"
export CODEX_HOME=$home/.codex CODEX_CA_CERTIFICATE=$GATEWAY_CA
# It listens on a path made for each server, which Entra ID compares.
# shellcheck disable=SC2034 # the story reads it
only_relayed=1

add_servers() {
  mkdir "$CODEX_HOME"
  local index
  for index in "${!urls[@]}"; do
    printf '[mcp_servers.%s]\nurl = "%s"\n' "${names[$index]}" "${urls[$index]}"
  done >"$CODEX_HOME/config.toml"
}

login() {
  on_terminal codex mcp login "$1"
}

# `codex mcp list` says only that there is a token. Its app server connects.
statuses() {
  timeout 60 node "$here/codex-servers.mjs"
}

tell codex 'needs a sign-in' 'connected, [1-9]'
