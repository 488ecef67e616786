//! What Entra is asked when a client signs in: the gateway's own filters, run without a gateway.
//!
//! Filters are pure, so the doctor asks what the gateway would, with every setting that changes it.
//! Steps that are no filters, which a relayed sign-in has, are left out: they change who is sent
//! back where, and not what is asked for.

use std::net::{IpAddr, Ipv4Addr};

use http::{Request, Uri, header, request};
use mcp_gateway_filters::{Context, Verdict};
use url::form_urlencoded;

use crate::config::{Gateway, Step};

/// Where clients sign in.
pub(super) const AUTHORIZE: &str = "/oauth2/authorize";

/// The parameters of a query, in order.
pub(super) type Pairs = Vec<(String, String)>;

/// Returns what becomes of a client's authorization request; `now` is in seconds since the Unix epoch.
///
/// # Errors
/// Why the gateway does not pass it on, as a sentence.
pub(super) fn authorization(
    gateway: &Gateway,
    asked: &[(&str, &str)],
    now: i64,
) -> Result<Pairs, String> {
    let missing = || format!("no route serves `{AUTHORIZE}`");
    let mut routes = gateway.routes.iter();
    let route = routes
        .find(|route| route.path == AUTHORIZE)
        .ok_or_else(missing)?;
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(asked)
        .finish();
    let mut head = Request::get(format!("{AUTHORIZE}?{query}"))
        .body(())
        .map_err(|error| error.to_string())?
        .into_parts()
        .0;
    let context = Context {
        now: now.max(0).unsigned_abs(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        route: AUTHORIZE,
        identity: None,
    };
    for step in &route.steps {
        let Step::Filter { name, filter } = step else {
            continue;
        };
        match filter.request(&context, &head) {
            Ok(Verdict::Continue(edits)) => {
                if let Some(target) = edits.target {
                    head.uri = Uri::from(target);
                }
            }
            Ok(Verdict::Respond(reply)) => {
                let location = reply.headers().get(header::LOCATION);
                let location = location.and_then(|value| value.to_str().ok()?.parse::<Uri>().ok());
                // `redirect` is the way to the provider; anything else turns the client away.
                return match location {
                    Some(location) if *name == "redirect" => Ok(pairs(&location)),
                    _ => Err(format!("`{name}` answers with status {}", reply.status())),
                };
            }
            Err(refusal) => return Err(format!("`{name}` refuses it: {}", refusal.description)),
        }
    }
    Ok(of(&head))
}

fn of(head: &request::Parts) -> Pairs {
    pairs(&head.uri)
}

fn pairs(uri: &Uri) -> Pairs {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

#[cfg(test)]
mod tests {
    use mcp_gateway_filters::Catalog;

    use super::*;
    use crate::config;

    const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn asked(settings: &str, pairs: &[(&str, &str)]) -> Result<Pairs, String> {
        let text = format!(
            "public_url: https://mcp.test\n\
             listeners: [{{ address: 127.0.0.1:0 }}]\n\
             authorization_server: {{ entra: {{ tenant: {ID}, client_id: {ID}, {settings} }} }}\n\
             routes:\n  - {{ path: /hello, filters: [{{ respond: {{ status: 200 }} }}] }}\n"
        );
        let loaded = config::parse("t", &text, &|_| None, &Catalog::builtin());
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let mut all = vec![
            ("client_id", ID),
            ("response_type", "code"),
            ("redirect_uri", "http://localhost:3118/callback"),
            (
                "code_challenge",
                "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            ),
            ("code_challenge_method", "S256"),
            ("state", "x"),
        ];
        all.extend(pairs);
        authorization(&loaded.gateway, &all, 1)
    }

    fn names(pairs: &Pairs, name: &str) -> Vec<String> {
        let same = pairs.iter().filter(|(found, _)| found == name);
        same.map(|(_, value)| value.clone()).collect()
    }

    #[test]
    fn what_the_gateway_changes_is_changed() {
        let client = [("resource", "https://mcp.test/mcp"), ("prompt", "consent")];
        let wire = asked("", &client).unwrap();
        assert!(names(&wire, "resource").is_empty() && names(&wire, "prompt").is_empty());
        assert_eq!(
            names(&wire, "scope"),
            ["openid profile email offline_access"]
        );
        assert_eq!(
            names(&wire, "redirect_uri"),
            ["http://localhost:3118/callback"]
        );
        let wire = asked("strip: [prompt]", &client).unwrap();
        assert_eq!(names(&wire, "resource"), ["https://mcp.test/mcp"]);
    }

    #[test]
    fn a_relayed_sign_in_asks_for_the_same() {
        let wire = asked("authorize: relay", &[("resource", "r")]).unwrap();
        assert!(names(&wire, "resource").is_empty());
        assert_eq!(
            names(&wire, "scope"),
            ["openid profile email offline_access"]
        );
    }

    #[test]
    fn what_the_gateway_refuses_is_no_question() {
        let why = asked("", &[("client_id", "twice")]).unwrap_err();
        assert!(why.contains("`check_authorize`"), "{why}");
    }
}
