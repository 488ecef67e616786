//! What Entra publishes: its discovery document, its keys, and, beside them, the time.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use serde::Deserialize;

use super::{ask::Ask, finding::Finding};
use crate::{
    oauth::{Endpoints, aadsts},
    oidc,
};

const DISCOVERY: &str = "discovery";
const CLOCK: &str = "clock";
const KEYS: &str = "keys";

/// How far the clocks may be apart, in seconds: the gateway grants tokens no more.
const DRIFT: u64 = 60;

/// Asks for the discovery document, and for the time where there is an answer; `now` is read then.
pub(super) async fn discovery(
    ask: &Ask,
    endpoints: &Endpoints,
    now: impl Fn() -> i64,
) -> (Finding, Option<Finding>) {
    let url = document_url(endpoints);
    match ask.get(&url).await {
        Ok(answer) => {
            let clock = judge_clock(answer.headers(), now());
            (judge_document(&url, endpoints, &answer), Some(clock))
        }
        Err(why) => (unreachable(DISCOVERY, &url, &why), None),
    }
}

/// Asks for the keys.
pub(super) async fn keys(ask: &Ask, endpoints: &Endpoints) -> Finding {
    let url = &endpoints.jwks;
    match ask.get(url).await {
        Ok(answer) => judge_keys(url, &answer),
        Err(why) => unreachable(KEYS, url, &why),
    }
}

/// Returns where the document is: beside the keys, whatever the issuer is called.
fn document_url(endpoints: &Endpoints) -> String {
    let base = endpoints.jwks.strip_suffix("/discovery/v2.0/keys");
    match base {
        Some(base) => format!("{base}/v2.0/.well-known/openid-configuration"),
        None => format!("{}/.well-known/openid-configuration", endpoints.issuer),
    }
}

/// Entra does not answer: which part of the way is at fault is in `why`.
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

fn judge_document(url: &str, endpoints: &Endpoints, answer: &Response<Bytes>) -> Finding {
    #[derive(Deserialize)]
    struct Document {
        issuer: String,
        jwks_uri: String,
        token_endpoint: String,
        authorization_endpoint: String,
    }
    let status = answer.status();
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
                "check `tenant` and `authority`",
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
    if document.issuer != endpoints.issuer {
        return Finding::wrong(
            DISCOVERY,
            format!(
                "the document names the issuer `{}`, tokens must name `{}`",
                document.issuer, endpoints.issuer
            ),
            "check `tenant` and `authority`: tokens of another issuer are refused",
        );
    }
    for (what, theirs, ours) in [
        ("keys", &document.jwks_uri, &endpoints.jwks),
        ("token endpoint", &document.token_endpoint, &endpoints.token),
        (
            "authorize endpoint",
            &document.authorization_endpoint,
            &endpoints.authorize,
        ),
    ] {
        if theirs != ours {
            let what =
                format!("the {what} of the document is `{theirs}`, the gateway uses `{ours}`");
            return Finding::note(DISCOVERY, what);
        }
    }
    Finding::ok(DISCOVERY, format!("the issuer is `{}`", document.issuer))
}

fn judge_clock(headers: &HeaderMap, now: i64) -> Finding {
    let date = headers
        .get(header::DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok())
        .and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|date| i64::try_from(date.as_secs()).ok());
    let Some(date) = date else {
        return Finding::skipped(CLOCK, "Entra's answer has no date");
    };
    let apart = now.abs_diff(date);
    if apart <= DRIFT {
        return Finding::ok(CLOCK, format!("{apart} s from Entra's"));
    }
    let way = if now > date { "ahead of" } else { "behind" };
    Finding::wrong(
        CLOCK,
        format!("this machine's clock is {apart} s {way} Entra's: good tokens would be refused"),
        "set the clock, and keep it set: `timedatectl set-ntp true`, or chrony",
    )
}

fn judge_keys(url: &str, answer: &Response<Bytes>) -> Finding {
    let status = answer.status();
    if status != StatusCode::OK {
        return Finding::wrong(
            KEYS,
            format!("`{url}` is answered with status {status}"),
            "check `tenant` and `authority`",
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
        let found = judge_document("https://login.test/x", &endpoints(), &answer);
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
        check(200, moved, "the token endpoint of the document is");
    }

    #[test]
    fn the_document_is_beside_the_keys() {
        let url = document_url(&endpoints());
        assert_eq!(
            url,
            "https://login.test/t/v2.0/.well-known/openid-configuration"
        );
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
        assert_eq!(judge_clock(&headers, 0).check, CLOCK);
        headers.insert(
            header::DATE,
            "Thu, 01 Jan 1970 00:10:00 GMT".parse().unwrap(),
        );
        assert!(!judge_clock(&headers, 660).is_wrong());
        assert!(!judge_clock(&headers, 540).is_wrong());
        assert!(judge_clock(&headers, 661).what.contains("61 s ahead of"));
        assert!(judge_clock(&headers, 539).what.contains("61 s behind"));
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
