//! Each workload: whether it is well, and whether it asks for the tokens that it will get.

use bytes::Bytes;
use http::{HeaderMap, header};

use super::finding::Finding;
use crate::{
    config::{Gateway, Identity, Step, UpstreamToken},
    upstream::{Config, Probe},
};

const WORKLOADS: &str = "workloads";

/// A message that changes nothing, whoever answers it.
const PING: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

/// An MCP route to an upstream.
struct Served {
    path: String,
    gets: Gets,
}

/// What a workload gets as `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// The caller's token.
    Callers,
    Nothing,
    /// A token of its own.
    Own,
}

impl From<&UpstreamToken> for Gets {
    fn from(token: &UpstreamToken) -> Self {
        match token {
            UpstreamToken::Caller => Self::Callers,
            UpstreamToken::None => Self::Nothing,
            _ => Self::Own,
        }
    }
}

/// Asks every backend of an upstream.
pub(super) async fn look(gateway: &Gateway, upstream: &str, config: &Config) -> Vec<Finding> {
    let probe = match Probe::build(upstream, config) {
        Ok(probe) => probe,
        Err(problems) => {
            let first = problems.into_iter().next().map(|problem| problem.what);
            return vec![Finding::skipped(WORKLOADS, first.unwrap_or_default())];
        }
    };
    let identity = gateway.identity.as_ref();
    let served = served(gateway, upstream);
    let mut found = vec![];
    for backend in probe.backends() {
        if let Err(why) = probe.health(&backend).await {
            found.push(unwell(upstream, &backend, &why));
            continue;
        }
        let Some(Served { path, gets }) = &served else {
            found.push(Finding::ok(
                WORKLOADS,
                format!("`{upstream}` at `{backend}` is well"),
            ));
            continue;
        };
        let asked = probe.post(&backend, path, Bytes::from_static(PING)).await;
        found.push(match asked {
            Ok(answer) => {
                let place = format!("`{upstream}` at `{backend}`");
                judge(&place, *gets, identity, answer.status, &answer.headers)
            }
            Err(why) => unwell(upstream, &backend, &why),
        });
    }
    found
}

fn served(gateway: &Gateway, upstream: &str) -> Option<Served> {
    gateway.routes.iter().find_map(|route| {
        route.steps.iter().find_map(|step| match step {
            Step::Proxy(proxy) if proxy.upstream == upstream && proxy.sessions => Some(Served {
                path: proxy.path.clone().unwrap_or_else(|| route.path.clone()),
                gets: Gets::from(&proxy.upstream_token),
            }),
            _ => None,
        })
    })
}

fn unwell(upstream: &str, backend: &str, why: &str) -> Finding {
    Finding::wrong(
        WORKLOADS,
        format!("`{upstream}` at `{backend}` is not used: {why}"),
        format!("`thv list` shows the port of each workload, `thv logs {upstream}` what it says"),
    )
}

fn judge(
    place: &str,
    gets: Gets,
    identity: Option<&Identity>,
    status: u16,
    headers: &HeaderMap,
) -> Finding {
    let challenge = headers.get(header::WWW_AUTHENTICATE);
    let realm = challenge
        .and_then(|value| value.to_str().ok())
        .and_then(realm);
    match (gets, status) {
        (Gets::Own, 401) => Finding::ok(WORKLOADS, format!("{place} is well and asks for a token")),
        (Gets::Own, _) => Finding::note(
            WORKLOADS,
            format!("{place} answers {status} without the token that the gateway gets for it"),
        ),
        (Gets::Callers, 401) => match (realm, identity) {
            // An issuer that stands for several tenants is none that a workload could name.
            (Some(realm), Some(identity))
                if realm != identity.issuer && !identity.issuer.contains('{') =>
            {
                let issuer = &identity.issuer;
                Finding::wrong(
                    WORKLOADS,
                    format!("{place} trusts tokens of `{realm}`, callers have those of `{issuer}`"),
                    format!("start it with `{}`", identity.workload_command()),
                )
            }
            _ => Finding::ok(WORKLOADS, format!("{place} is well and asks for a token")),
        },
        (Gets::Callers, _) => Finding::wrong(
            WORKLOADS,
            format!(
                "{place} answers {status} to a caller without a token: whoever reaches it may use it"
            ),
            format!(
                "start it with `{}`; or set `upstream_token: none` when only the gateway can reach it",
                identity.map_or_else(
                    || "thv run --oidc-issuer …".to_owned(),
                    Identity::workload_command
                )
            ),
        ),
        (Gets::Nothing, 401) => Finding::wrong(
            WORKLOADS,
            format!("{place} wants a token, and `upstream_token` is `none`"),
            "leave `upstream_token` out, or start the workload without `--oidc-…`",
        ),
        (Gets::Nothing, _) => Finding::ok(
            WORKLOADS,
            format!("{place} is well and takes the gateway without a token"),
        ),
    }
}

/// Reads `realm="…"` of a challenge; ToolHive names the issuer there.
fn realm(challenge: &str) -> Option<&str> {
    let (_, rest) = challenge.split_once("realm=\"")?;
    rest.split_once('"').map(|(realm, _)| realm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(gets: Gets, status: u16, challenge: &str, expect: &str) {
        let mut headers = HeaderMap::new();
        if !challenge.is_empty() {
            headers.insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
        }
        let identity = serde_yaml::from_str(
            "{ issuer: 'https://i.test', audiences: [a], jwks_uri: 'https://i.test/keys', scopes: [] }",
        );
        let found = judge("`x`", gets, Some(&identity.unwrap()), status, &headers);
        assert!(found.what.contains(expect), "{found:?}");
    }

    #[test]
    fn a_workload_asks_for_the_tokens_that_it_gets() {
        let ours = r#"Bearer realm="https://i.test", error="invalid_request""#;
        check(Gets::Callers, 401, ours, "asks for a token");
        check(Gets::Callers, 401, "Bearer", "asks for a token");
        check(
            Gets::Callers,
            401,
            r#"Bearer realm="https://other.test""#,
            "trusts tokens of `https://other.test`",
        );
        check(Gets::Callers, 400, "", "without a token");
        check(Gets::Nothing, 401, ours, "wants a token");
        check(Gets::Nothing, 400, "", "takes the gateway");
        check(Gets::Own, 401, "", "asks for a token");
        check(Gets::Own, 200, "", "without the token");
    }
}
