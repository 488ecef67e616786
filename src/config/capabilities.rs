//! Steps that are no filters: they wait, keep state or call out.
//!
//! The one list of them, with the reference that `mcp-gateway filters NAME` prints.

/// A step that the gateway itself carries out.
#[derive(Clone, Copy, Debug)]
pub struct Capability {
    /// The step's name in the configuration.
    pub name: &'static str,
    /// One line for the list.
    pub summary: &'static str,
    /// What it does, an example, and every setting.
    pub reference: &'static str,
}

impl Capability {
    /// Finds a capability by name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        CAPABILITIES.iter().find(|one| one.name == name)
    }
}

/// Every capability, in reading order.
pub const CAPABILITIES: [Capability; 3] = [
    Capability {
        name: "authenticate",
        summary: "Lets only callers with a valid token go on",
        reference: AUTHENTICATE,
    },
    Capability {
        name: "proxy",
        summary: "Sends the request to an upstream; ends the route",
        reference: PROXY,
    },
    Capability {
        name: "exchange",
        summary: "Calls the authorization server's token endpoint; ends the route",
        reference: EXCHANGE,
    },
];

const AUTHENTICATE: &str = "\
authenticate

Lets only callers with a valid token of the configured authorization server go on.

Everyone else gets 401 with a challenge that says where the metadata of this route is, and which
scopes to ask for. What stands before this step runs for everyone.

Example:

    - authenticate: { groups: [7f5c1c9a-2f0b-4f0e-9a57-0c2f6a1d3e44] }

Settings:

  groups: list of text, default []
      Groups of which the caller must be in at least one, as the token's `groups` names them.
      Empty lets every user of the tenant go on.

  resource_metadata: text
      The URL of the protected resource metadata. By default a document is published for this
      route, and named here.

  scopes: list of text
      The scopes that the challenge asks for; by default those of the authorization server
      without `offline_access`.
";

const PROXY: &str = "\
proxy

Sends the request to a backend of an upstream, and its answer back as it comes.

The query is kept. With `sessions` this is an MCP route: `Mcp-Session-Id` is sealed for the caller
and pins a session to the backend that opened it; other requests go to the less loaded of two.

Example:

    - proxy: { upstream: github, path: /mcp, sessions: true }

Settings:

  upstream: text, required
      The name of an upstream.

  allow: list of text, default []
      What may be asked for, `GET /path` or `GET /path/*`; anything else is refused. Empty allows
      everything.

  path: text
      The path at the upstream; the request's own by default.

  request_body_limit: size, default 8MiB
      The largest request body; a longer one gets 413.

  response_head_timeout: time
      How long the head of the answer may take; without a limit by default, since tools may be
      slow.

  sessions: true or false, default false
      Whether this is an MCP route with sessions.

  upstream_token: `caller`, `none`, or a map with one key, default caller
      What the upstream gets as proof of who calls: the caller's `Authorization`, nothing, or in
      its place:
      `static: { secret: { env: KEY } }`, the same for every caller, as a bearer or as `header`;
      `on_behalf_of: { scopes: [api://ID/.default] }`, a token that Entra gives on behalf of the
      caller, asked for as `client_id` with `credentials` at `url`;
      `exchange: { url: https://host/token, audience: x }`, a token that an authorization server
      gives in exchange for the caller's (RFC 8693).
";

const EXCHANGE: &str = "\
exchange

Posts the request's form to the authorization server and answers with what it says.

The call goes the way of `egress`; the answer is held whole, so that a failure is a clean OAuth
error and never half a token. Its 4xx, 429 and 503 pass with status and body, other 5xx become 502.

Example:

    - exchange: { url: https://login.microsoftonline.com/common/oauth2/v2.0/token }

Settings:

  url: text, required
      Where the form is posted: https, or http on loopback.

  response_limit: size, default 1MiB
      The largest answer, after decompression.

  timeout: time, default 15s
      How long the whole call may take.
";

#[cfg(test)]
mod tests {
    use mcp_gateway_filters::Catalog;

    use super::CAPABILITIES;
    use crate::config;

    /// Reads a reference's example as a route of its own, ended with an answer where it needs one.
    fn check(reference: &str) {
        let example: String = reference
            .lines()
            .filter_map(|line| line.strip_prefix("    - "))
            .flat_map(|line| ["      - ", line, "\n"])
            .collect();
        assert!(!example.is_empty(), "{reference}");
        let end = if reference.starts_with("authenticate") {
            "      - respond: {}\n"
        } else {
            ""
        };
        let text = format!(
            "public_url: http://localhost\n\
             listeners: [{{address: 127.0.0.1:0}}]\n\
             identity: {{issuer: i, audiences: [a], tenant: t, jwks_uri: 'https://i.test/keys', scopes: []}}\n\
             upstreams: {{github: {{backends: ['127.0.0.1:9100']}}}}\n\
             routes:\n  - path: /x\n    filters:\n{example}{end}"
        );
        if let Err(problems) = config::parse("example", &text, &|_| None, &Catalog::builtin()) {
            panic!("{problems}{text}");
        }
    }

    #[test]
    fn every_example_is_valid() {
        for capability in &CAPABILITIES {
            check(capability.reference);
        }
    }

    #[test]
    fn a_reference_starts_with_its_name() {
        for capability in &CAPABILITIES {
            assert_eq!(capability.reference.lines().next(), Some(capability.name));
        }
    }
}
