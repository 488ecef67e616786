//! What the demo prints: where everything is, and what to paste into which client.

use super::{Options, system::System};

/// Returns the text for the terminal.
pub(super) fn text(system: &System, options: &Options) -> String {
    let ca = system.ca_file();
    let ca = ca.display();
    let urls = system.mcp_urls();
    let (first, second) = match urls.as_slice() {
        [first, second, ..] => (first.as_str(), second.as_str()),
        _ => ("", ""),
    };
    let backends = system
        .workloads()
        .iter()
        .fold(String::new(), |text, workload| {
            let (name, replica, address) =
                (workload.name(), workload.replica(), workload.address());
            format!("{text}    {name:<10} {replica} at {address}\n")
        });
    let (entra, admin) = (system.entra().authority(), system.admin());
    let config = system.config_file();
    let config = config.display();
    let signs_in = if options.sign_in_page {
        "it asks who signs in"
    } else {
        "it signs in Alice without asking"
    };
    let codex = if options.relay {
        format!("export CODEX_CA_CERTIFICATE={ca}\n  codex mcp add demo --url {first}")
    } else {
        "signs in with --relay only: Entra ID cannot know its callback".to_owned()
    };
    format!(
        r#"
mcp-gateway demo is up.

  gateway        {url}
  github         {first}
  atlassian      {second}
  Entra ID       {entra}  (a stand-in: {signs_in})
  workloads
{backends}  admin          http://{admin}/metrics
  configuration  {config}

Clients have to trust the throw-away authority that signed the certificate:

  {ca}

Claude Code

  export NODE_EXTRA_CA_CERTS={ca}
  claude mcp add --transport http demo {first}
  claude mcp login demo

OpenCode, in opencode.json

  {{ "mcp": {{ "demo": {{ "type": "remote", "url": "{first}" }} }} }}

  export NODE_EXTRA_CA_CERTS={ca}
  opencode mcp auth demo

Codex

  {codex}

VS Code, in .vscode/mcp.json, started with NODE_EXTRA_CA_CERTS set as above

  {{ "servers": {{ "demo": {{ "type": "http", "url": "{first}" }} }} }}

Cursor, in ~/.cursor/mcp.json, started likewise

  {{ "mcpServers": {{ "demo": {{ "url": "{first}" }} }} }}

mcp-remote, for clients that only speak stdio

  NODE_EXTRA_CA_CERTS={ca} npx -y mcp-remote {first}

Or let it check itself:  mcp-gateway demo --check
Stop with Ctrl-C; everything it wrote is removed.

"#,
        url = system.url(),
    )
}
