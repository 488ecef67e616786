#!/usr/bin/env bash
# Claude Code: `claude mcp add`, `claude mcp login`, `claude mcp list`.

# shellcheck source=tests/clients/assistants/story.sh
source "$(dirname "${BASH_SOURCE[0]}")/story.sh"
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1

add_servers() {
  local index
  for index in "${!urls[@]}"; do
    timeout 60 claude mcp add --transport http "${names[$index]}" "${urls[$index]}" </dev/null >&2 || return 1
  done
}

login() {
  on_terminal claude mcp login "$1"
}

statuses() {
  timeout 60 claude mcp list </dev/null
}

tell claude-code 'Needs authentication' 'Connected'
