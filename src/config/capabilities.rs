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
    /// Whether it answers every request that it sees.
    pub answers: bool,
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
pub const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "authenticate",
        summary: "Lets only callers with a valid token go on",
        answers: false,
        reference: AUTHENTICATE,
    },
    Capability {
        name: "proxy",
        summary: "Sends the request to an upstream; ends the route",
        answers: true,
        reference: PROXY,
    },
    Capability {
        name: "exchange",
        summary: "Calls the authorization server's token endpoint; ends the route",
        answers: true,
        reference: EXCHANGE,
    },
    Capability {
        name: "resolve_client",
        summary: "Finds out which client is asking, by an id of its own",
        answers: false,
        reference: RESOLVE_CLIENT,
    },
    Capability {
        name: "relay",
        summary: "Relays a sign-in through the gateway's callback; ends the route",
        answers: true,
        reference: RELAY,
    },
    Capability {
        name: "open_grant",
        summary: "Opens the codes and refresh tokens of a relay",
        answers: false,
        reference: OPEN_GRANT,
    },
    Capability {
        name: "issue_client",
        summary: "Registers clients under ids of their own; ends the route",
        answers: true,
        reference: ISSUE_CLIENT,
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
Errors of Entra that are known get a hint behind their description, and are counted by number.

Example:

    - exchange: { url: https://login.microsoftonline.com/common/oauth2/v2.0/token }

Settings:

  url: text, required
      Where the form is posted: https, or http on loopback.

  client_id: text
      The client that the gateway is there, when it has `credentials`.

  credentials: as of `authorization_server.entra`
      How the gateway proves that it is this client. Only behind `open_grant`.

  response_limit: size, default 1MiB
      The largest answer, after decompression.

  timeout: time, default 15s
      How long the whole call may take.
";

const RESOLVE_CLIENT: &str = "\
resolve_client

Finds out which client is asking, and puts the client id that the provider knows in its place.

A client is known by the configured id, or by one that `issue_client` gave it: that holds its name
and redirect URIs, sealed with the keys of `sessions`. At the authorization endpoint a known client
may only return to what it registered. An id that is not known stays, for the gate behind to refuse.

With `client_id_metadata` a client may also be known by a client ID metadata document: its id is an
https URL, and what is found there says its name and redirect URIs. The document is fetched from public
addresses only, without redirects, within 5 s and 16 KiB, and kept as long as its server says, from a
minute to a day.

Example:

    - resolve_client: { in: query, client_id: 22222222-3333-4444-5555-666666666666 }

Settings:

  client_id: text, required
      The client id that the provider knows.

  client_id_metadata: map
      `hosts`: names, and `*.name` for everything below, that documents are fetched from; any when it is
      empty, but none behind a proxy, which looks names up where nobody can check the address.
      `networks`: networks that are called although they are not public.

  in: `query` or `form`, required
      Where the client says who it is.
";

const RELAY: &str = "\
relay

Relays a sign-in through the gateway's own callback: one of its three stations.

At `authorize` a person is asked whether the client may act for her; at `consent` she answers, and
goes to the provider; at `callback` she comes back from there, and goes to the client with a code
that only this gateway can redeem. What is between the stations travels sealed with her browser.

Example:

    - relay:
        at: callback
        to: https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize
        callback: https://mcp.example.com/oauth2/callback
        consent: https://mcp.example.com/oauth2/consent
        issuer: https://mcp.example.com

Settings:

  at: `authorize`, `consent` or `callback`, required
      Which station this route is.

  callback: text, required
      Where the provider sends browsers back to; registered there.

  consent: text, required
      Where the page posts its answer.

  issuer: text, required
      The issuer that clients know; every answer names it as `iss` (RFC 9207).

  to: text, required
      The provider's authorization endpoint: https, or http on loopback.
";

const OPEN_GRANT: &str = "\
open_grant

Puts the provider's code or refresh token into a client's form, and seals the refresh token that is
answered.

A code opens for the client it was made for, within five minutes, with its redirect URI and its
verifier; a refresh token for its client only. Anything else is `invalid_grant`. Stands behind
`resolve_client` and `check_token_request`.

Example:

    - open_grant: { callback: https://mcp.example.com/oauth2/callback }

Settings:

  callback: text, required
      The redirect URI for which the provider issued its codes.
";

const ISSUE_CLIENT: &str = "\
issue_client

Registers clients without keeping anything, each under an id of its own (RFC 7591).

What is registered is judged and answered as `register_client` does it. The client id then holds the
name and the redirect URIs, sealed with the keys of `sessions`: any replica knows the client again,
and nobody can make one up.

Example:

    - issue_client: { client_id: 22222222-3333-4444-5555-666666666666 }

Settings:

  client_id: text, required
      The client id that the provider knows.

  redirect_uris: as of `register_client`
      Which redirect URIs clients may register.
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
            .filter_map(|line| {
                let (first, more) = (line.strip_prefix("    - "), line.strip_prefix("        "));
                first
                    .map(|line| format!("      - {line}\n"))
                    .or_else(|| more.map(|line| format!("          {line}\n")))
            })
            .collect();
        assert!(!example.is_empty(), "{reference}");
        let passes_on = ["authenticate", "resolve_client", "open_grant"];
        let end = if passes_on.iter().any(|name| reference.starts_with(name)) {
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
