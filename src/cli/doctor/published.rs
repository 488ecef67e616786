//! What an authorization server publishes: its discovery document, its keys, and, beside them, the time.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;

use super::{ask::Ask, finding::Finding};
use crate::{
    config::Identity,
    oauth::{Endpoints, aadsts},
    oidc,
};

const DISCOVERY: &str = "discovery";
const CLOCK: &str = "clock";
const KEYS: &str = "keys";

/// How far the clocks may be apart, in seconds: the gateway grants tokens no more.
const DRIFT: u64 = 60;

/// What an address follows from.
const SETTINGS: &str = "check what the address follows from below `authorization_server`: `tenant`, `cloud`, `authority`, `issuer`";

/// Where a server is, as the gateway is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    /// What it is called in sentences.
    pub(super) name: &'static str,
    /// The `iss` of its tokens.
    pub(super) issuer: String,
    /// Where its discovery document is.
    pub(super) document: String,
    /// Where its keys are.
    pub(super) jwks: String,
    /// Its other endpoints, with the names that they have in the document.
    pub(super) endpoints: Vec<(&'static str, String)>,
}

impl Server {
    /// Entra: its document is beside the keys, whatever the issuer is called.
    pub(super) fn entra(endpoints: &Endpoints) -> Self {
        let jwks = &endpoints.jwks;
        let base = jwks.strip_suffix("/discovery/v2.0/keys");
        let base = base.map_or_else(|| endpoints.issuer.clone(), |base| format!("{base}/v2.0"));
        Self {
            name: "Entra",
            issuer: endpoints.issuer.clone(),
            document: document_of(&base),
            jwks: jwks.clone(),
            endpoints: vec![
                ("token_endpoint", endpoints.token.clone()),
                ("authorization_endpoint", endpoints.authorize.clone()),
            ],
        }
    }

    /// A server of which only the tokens are known (OpenID Connect Discovery §4).
    pub(super) fn issuer(identity: &Identity) -> Self {
        Self {
            name: "the issuer",
            issuer: identity.issuer.clone(),
            document: document_of(&identity.issuer),
            jwks: identity.jwks_uri.as_str().to_owned(),
            endpoints: vec![],
        }
    }
}

fn document_of(base: &str) -> String {
    let base = base.strip_suffix('/').unwrap_or(base);
    format!("{base}/.well-known/openid-configuration")
}

/// Asks for the discovery document, and for the time where there is an answer; `now` is read then.
pub(super) async fn discovery(
    ask: &Ask,
    server: &Server,
    now: impl Fn() -> i64,
) -> (Finding, Option<Finding>) {
    let url = &server.document;
    match ask.get(url).await {
        Ok(answer) => {
            let clock = judge_clock(server.name, answer.headers(), now());
            (judge_document(server, &answer), Some(clock))
        }
        Err(why) => (unreachable(DISCOVERY, url, &why), None),
    }
}

/// Asks for the keys.
pub(super) async fn keys(ask: &Ask, server: &Server) -> Finding {
    match ask.get(&server.jwks).await {
        Ok(answer) => judge_keys(&server.jwks, &answer),
        Err(why) => unreachable(KEYS, &server.jwks, &why),
    }
}

/// The server does not answer: which part of the way is at fault is in `why`.
pub(super) fn unreachable(check: &'static str, url: &str, why: &str) -> Finding {
    let fix = if why.contains("UnknownIssuer") {
        "name the authority of whoever inspects TLS in `egress.ca_file`"
    } else if why.contains("407") {
        "put user name and password into `egress.https_proxy`"
    } else if why.contains("not resolved") {
        "correct the resolver, or set `egress.https_proxy` where only a proxy may go out"
    } else {
        "let this machine reach it: a firewall, `egress.https_proxy`, `egress.no_proxy`"
    };
    Finding::wrong(check, format!("`{url}` is not answered: {why}"), fix)
}

fn judge_document(server: &Server, answer: &Response<Bytes>) -> Finding {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
        #[serde(flatten)]
        rest: serde_json::Map<String, serde_json::Value>,
    }
    let (url, status) = (&server.document, answer.status());
    if status != StatusCode::OK {
        let code = aadsts::in_body(answer.body());
        return match code.and_then(aadsts::find) {
            Some(hint) => Finding::wrong(
                DISCOVERY,
                format!("{} (AADSTS{})", hint.means, hint.code),
                hint.remedy,
            ),
            None => Finding::wrong(
                DISCOVERY,
                format!("`{url}` is answered with status {status}"),
                SETTINGS,
            ),
        };
    }
    let Ok(document) = serde_json::from_slice::<Document>(answer.body()) else {
        return Finding::wrong(
            DISCOVERY,
            format!("`{url}` is not answered with a discovery document"),
            "something stands between, such as a proxy that shows a page of its own: see `egress`",
        );
    };
    if document.issuer != server.issuer {
        return Finding::wrong(
            DISCOVERY,
            format!(
                "the document names the issuer `{}`, tokens must name `{}`",
                document.issuer, server.issuer
            ),
            "tokens of another issuer are refused: check what the issuer follows from below `authorization_server`",
        );
    }
    let named = |name: &str| document.rest.get(name).and_then(serde_json::Value::as_str);
    let endpoints = server
        .endpoints
        .iter()
        .map(|(name, ours)| (*name, ours, named(name)));
    let keys = ("jwks_uri", &server.jwks, Some(&*document.jwks_uri));
    for (name, ours, theirs) in std::iter::once(keys).chain(endpoints) {
        if let Some(theirs) = theirs.filter(|theirs| theirs != ours) {
            let what =
                format!("the document names the {name} `{theirs}`, the gateway uses `{ours}`");
            return Finding::note(DISCOVERY, what);
        }
    }
    Finding::ok(DISCOVERY, format!("the issuer is `{}`", document.issuer))
}

fn judge_clock(name: &str, headers: &HeaderMap, now: i64) -> Finding {
    let date = headers
        .get(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
        .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|date| i64::try_from(date.as_secs()).ok());
    let Some(date) = date else {
        return Finding::skipped(CLOCK, format!("the answer of {name} has no date"));
    };
    let apart = now.abs_diff(date);
    if apart <= DRIFT {
        return Finding::ok(CLOCK, format!("{apart} s from that of {name}"));
    }
    let way = if now > date { "ahead of" } else { "behind" };
    Finding::wrong(
        CLOCK,
        format!(
            "this machine's clock is {apart} s {way} that of {name}: good tokens would be refused"
        ),
        "set the clock, and keep it set: `timedatectl set-ntp true`, or chrony",
    )
}

fn judge_keys(url: &str, answer: &Response<Bytes>) -> Finding {
    let status = answer.status();
    if status != StatusCode::OK {
        return Finding::wrong(
            KEYS,
            format!("`{url}` is answered with status {status}"),
            SETTINGS,
        );
    }
    match oidc::usable_keys(answer.body()) {
        Ok(count) => Finding::ok(KEYS, format!("{count} keys can verify tokens")),
        Err(why) => Finding::wrong(
            KEYS,
            format!("`{url}` is no key set: {why}"),
            "something stands between, such as a proxy that shows a page of its own: see `egress`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        let at = |path: &str| format!("https://login.test/t/{path}");
        Endpoints {
            issuer: at("v2.0"),
            authorize: at("authorize"),
            token: at("token"),
            jwks: at("discovery/v2.0/keys"),
            v1_issuer: at("v1"),
            token_of_tenant: at("token"),
            graph: at("graph"),
        }
    }

    fn server() -> Server {
        Server::entra(&endpoints())
    }

    fn document(issuer: &str) -> String {
        let e = endpoints();
        serde_json::json!({
            "issuer": issuer, "jwks_uri": e.jwks, "token_endpoint": e.token,
            "authorization_endpoint": e.authorize,
        })
        .to_string()
    }

    fn check(status: u16, body: String, expect: &str) {
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        let found = judge_document(&server(), &answer);
        assert!(found.what.contains(expect), "{found:?}");
    }

    #[test]
    fn the_issuer_must_be_the_one_that_tokens_name() {
        check(200, document("https://login.test/t/v2.0"), "the issuer is");
        check(
            200,
            document("https://login.test/{tenantid}/v2.0"),
            "tokens must name `https://login.test/t/v2.0`",
        );
        let moved = document("https://login.test/t/v2.0").replace("t/token", "u/token");
        check(200, moved, "names the token_endpoint");
    }

    #[test]
    fn the_document_is_beside_the_keys() {
        let at = "https://login.test/t/v2.0/.well-known/openid-configuration";
        assert_eq!(server().document, at);
        assert_eq!(document_of("https://login.test/t/v2.0/"), at);
    }

    #[test]
    fn of_an_issuer_only_its_tokens_are_known() {
        let text = "{issuer: 'https://i.test/realm/', audiences: [a], jwks_uri: 'https://i.test/k', scopes: []}";
        let server = Server::issuer(&serde_yaml::from_str(text).unwrap());
        assert_eq!(
            server.document,
            "https://i.test/realm/.well-known/openid-configuration"
        );
        let body = r#"{"issuer":"https://i.test/realm/","jwks_uri":"https://i.test/k","token_endpoint":7}"#;
        let found = judge_document(&server, &Response::new(Bytes::from(body)));
        assert_eq!(found.what, "the issuer is `https://i.test/realm/`");
    }

    #[test]
    fn what_stands_in_the_documents_place_is_named() {
        check(200, "<html>".to_owned(), "not answered with a discovery");
        check(503, String::new(), "status 503");
        let refused = r#"{"error_description":"AADSTS90002: Tenant 'x' not found"}"#;
        check(400, refused.to_owned(), "there is no such tenant");
    }

    #[test]
    fn clocks_may_be_a_minute_apart() {
        let mut headers = HeaderMap::new();
        assert_eq!(judge_clock("Entra", &headers, 0).check, CLOCK);
        headers.insert(
            header::DATE,
            "Thu, 01 Jan 1970 00:10:00 GMT".parse().unwrap(),
        );
        assert!(!judge_clock("Entra", &headers, 660).is_wrong());
        assert!(!judge_clock("Entra", &headers, 540).is_wrong());
        assert!(
            judge_clock("Entra", &headers, 661)
                .what
                .contains("61 s ahead of")
        );
        assert!(
            judge_clock("Entra", &headers, 539)
                .what
                .contains("61 s behind")
        );
    }

    #[test]
    fn the_fix_follows_from_where_the_way_ends() {
        let fix = |why: &str| unreachable(KEYS, "u", why).fix.unwrap();
        assert!(fix("TLS: invalid peer certificate: UnknownIssuer").contains("ca_file"));
        assert!(fix("proxy p:1: answered 407, it wants").contains("password"));
        assert!(fix("h:443: name not resolved: x").contains("resolver"));
        assert!(fix("no whole answer within 8000 ms").contains("firewall"));
    }
}
