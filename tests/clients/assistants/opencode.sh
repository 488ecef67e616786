#!/usr/bin/env bash
# OpenCode: servers in `opencode.json`, `opencode mcp auth`, `opencode mcp list`.

# shellcheck source=tests/clients/assistants/story.sh
source "$(dirname "${BASH_SOURCE[0]}")/story.sh"
export OPENCODE_DISABLE_AUTOUPDATE=1

add_servers() {
  # shellcheck disable=SC2016 # the dollar signs are JavaScript's
  node -e '
    const servers = process.argv.slice(1).map((server) => server.split(" "))
      .map(([name, url]) => [name, { type: "remote", url }]);
    console.log(JSON.stringify({ mcp: Object.fromEntries(servers) }));
  ' "${servers[@]}" >opencode.json
}

login() {
  on_terminal opencode mcp auth "$1"
}

statuses() {
  on_terminal opencode mcp list
}

tell opencode 'needs authentication' 'connected'
