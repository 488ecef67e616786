//! Message heads as they cross the gateway: what is dropped, what is set.
//!
//! Fields about one connection end here in both directions (RFC 9110 §7.6.1). Fields by which a
//! client could claim to be somebody or to come from somewhere are dropped and set anew.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_core::Result;

/// What an upstream is told about the request it gets.
pub(super) struct Forwarded<'a> {
    /// The target for the upstream.
    pub(super) target: &'a str,
    /// The upstream's own name, as configured.
    pub(super) host: &'a str,
    /// Who asked.
    pub(super) client: IpAddr,
    /// The host of the public URL.
    pub(super) public_host: &'a HeaderValue,
    /// `https`, or `http` for a gateway on loopback.
    pub(super) public_scheme: &'static str,
    /// The id of the request in our logs.
    pub(super) request_id: &'a str,
    /// What proves who calls.
    pub(super) credential: &'a Credential,
    /// The session as the upstream knows it.
    pub(super) session: Option<&'a str>,
    /// The length of the body.
    pub(super) length: usize,
}

/// What an upstream gets as proof of who calls.
#[derive(Debug)]
pub(super) enum Credential {
    /// The caller's own `Authorization`.
    Caller,
    /// Nothing.
    None,
    /// A field in place of what the client sent, `Authorization` or another.
    Field(HeaderName, HeaderValue),
}

impl Credential {
    /// Says whether a client's field must not reach the upstream.
    fn replaces(&self, name: &HeaderName) -> bool {
        match self {
            Self::Caller => false,
            Self::None => *name == header::AUTHORIZATION,
            Self::Field(own, _) => *name == header::AUTHORIZATION || name == own,
        }
    }
}

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Makes the head that an upstream gets from the one that a client sent.
pub(super) fn request_head(
    client: &http::request::Parts,
    to: &Forwarded<'_>,
) -> Result<RequestHeader> {
    let nominated = nominated(&client.headers);
    // Without a second map for the case of names, which says nothing (RFC 9110 §5.1).
    let mut head = RequestHeader::build_no_case(
        client.method.clone(),
        to.target.as_bytes(),
        Some(client.headers.len() + 6),
    )?;
    head.insert_header(header::HOST, to.host)?;
    for (name, value) in &client.headers {
        let dropped = is_hop_by_hop(name)
            || is_claimed(name)
            || *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || *name == header::EXPECT
            || *name == SESSION
            || to.credential.replaces(name)
            || nominated.contains(name);
        if dropped {
            continue;
        }
        if *name == header::AUTHORIZATION
            && let Some(bearer) = usual_bearer(value)
        {
            head.append_header(name, bearer)?;
        } else {
            head.append_header(name, value)?;
        }
    }
    if let Credential::Field(name, value) = to.credential {
        head.insert_header(name, value)?;
    }
    if let Some(session) = to.session {
        head.insert_header(SESSION, session)?;
    }
    head.insert_header(FORWARDED_FOR, to.client.to_string())?;
    head.insert_header(FORWARDED_HOST, to.public_host)?;
    head.insert_header(FORWARDED_PROTO, to.public_scheme)?;
    head.insert_header(REQUEST_ID, to.request_id)?;
    let bodiless = matches!(
        client.method,
        http::Method::GET | http::Method::HEAD | http::Method::DELETE | http::Method::OPTIONS
    );
    if to.length > 0 || !bodiless {
        head.insert_header(header::CONTENT_LENGTH, to.length)?;
    }
    Ok(head)
}

/// Makes the head that a client gets from the one that an upstream sent. `end` says that no body
/// follows.
pub(super) fn clean_response_head(head: &mut ResponseHeader, end: bool) -> Result<()> {
    // The version is about one connection, too: a client of HTTP/1.1 refuses an old answer in chunks.
    head.set_version(Version::HTTP_11);
    let dropped: Vec<HeaderName> = head
        .headers
        .keys()
        .filter(|name| is_hop_by_hop(name))
        .cloned()
        .collect();
    let nominated = nominated(&head.headers);
    for name in dropped.iter().chain(nominated.iter()) {
        head.remove_header(name);
    }
    let framed = head.headers.contains_key(header::CONTENT_LENGTH);
    let bodiless = end
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if !framed && !bodiless {
        head.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

/// Returns bearer credentials with the scheme as everybody writes it, when it is written otherwise:
/// its case does not matter (RFC 9110 §11.1), and yet ToolHive takes `Bearer` only.
fn usual_bearer(value: &HeaderValue) -> Option<HeaderValue> {
    const SCHEME: &[u8] = b"Bearer ";
    let (scheme, token) = value.as_bytes().split_at_checked(SCHEME.len())?;
    if scheme == SCHEME || !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let mut usual = HeaderValue::from_bytes(&[SCHEME, token].concat()).ok()?;
    usual.set_sensitive(value.is_sensitive());
    Some(usual)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Fields that a service behind a proxy may trust: only the gateway sets them.
fn is_claimed(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "forwarded"
            | "x-real-ip"
            | "x-client-ip"
            | "x-cluster-client-ip"
            | "true-client-ip"
            | "cf-connecting-ip"
            | "x-request-id"
            | "x-rewrite-url"
            | "x-remote-user"
            | "remote-user"
            | "x-user"
    ) || [
        "x-forwarded-",
        "x-original-",
        "x-auth-request-",
        "x-mcp-gateway-",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
}

/// The fields that `Connection` says belong to the connection.
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(fields: &[(&str, &str)], credential: &Credential) -> RequestHeader {
        let mut request = http::Request::builder().method("POST").uri("/mcp?x=1");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        request_head(
            &parts,
            &Forwarded {
                target: "/mcp?x=1",
                host: "127.0.0.1:9100",
                client: IpAddr::from([192, 0, 2, 7]),
                public_host: &HeaderValue::from_static("gw.test"),
                public_scheme: "https",
                request_id: "r1",
                credential,
                session: Some("inner"),
                length: 3,
            },
        )
        .unwrap()
    }

    fn check(name: &str, value: &str, expect: Option<&str>) {
        let head = forward(&[(name, value)], &Credential::Caller);
        let got: Vec<_> = head.headers.get_all(name).iter().collect();
        assert_eq!(
            got,
            expect.into_iter().collect::<Vec<_>>(),
            "{name}: {value}"
        );
    }

    #[test]
    fn keeps_what_is_the_clients_to_say() {
        check("accept", "text/event-stream", Some("text/event-stream"));
        check("mcp-protocol-version", "2025-11-25", Some("2025-11-25"));
        check("authorization", "Bearer t", Some("Bearer t"));
        check("authorization", "bEARER t", Some("Bearer t"));
        check("authorization", "Basic t", Some("Basic t"));
        check("x-mine", "1", Some("1"));
    }

    #[test]
    fn sets_anew_what_a_client_could_claim() {
        check("x-forwarded-for", "10.0.0.1", Some("192.0.2.7"));
        check("x-forwarded-host", "evil.test", Some("gw.test"));
        check("x-forwarded-port", "1", None);
        check("forwarded", "for=10.0.0.1", None);
        check("x-original-url", "/admin", None);
        check("x-auth-request-user", "root", None);
        check("x-request-id", "theirs", Some("r1"));
        check("mcp-session-id", "theirs", Some("inner"));
        check("host", "evil.test", Some("127.0.0.1:9100"));
        check("content-length", "99", Some("3"));
    }

    #[test]
    fn drops_what_belongs_to_the_connection() {
        check("te", "trailers", None);
        check("upgrade", "h2c", None);
        check("expect", "100-continue", None);
        let fields = [("connection", "x-mine, close"), ("x-mine", "1")];
        let head = forward(&fields, &Credential::Caller);
        assert!(head.headers.get("x-mine").is_none());
        assert!(head.headers.get("connection").is_none());
    }

    #[test]
    fn keeps_the_token_at_home_when_told() {
        let head = forward(&[("authorization", "Bearer t")], &Credential::None);
        assert!(head.headers.get("authorization").is_none());
    }

    #[test]
    fn a_field_of_its_own_takes_the_place_of_what_a_client_sends() {
        let sent = [
            ("authorization", "Bearer t"),
            ("x-api-key", "theirs"),
            ("x-api-key", "theirs too"),
        ];
        let value = HeaderValue::from_static("ours");
        let own = HeaderName::from_static("x-api-key");
        let head = forward(&sent, &Credential::Field(own, value.clone()));
        assert!(head.headers.get("authorization").is_none());
        let found: Vec<_> = head.headers.get_all("x-api-key").iter().collect();
        assert_eq!(found, ["ours"]);
        let head = forward(&sent, &Credential::Field(header::AUTHORIZATION, value));
        let found: Vec<_> = head.headers.get_all("authorization").iter().collect();
        assert_eq!(found, ["ours"]);
        assert_eq!(head.headers.get_all("x-api-key").iter().count(), 2);
    }

    #[test]
    fn frames_answers_anew() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        head.insert_header("connection", "x-inner").unwrap();
        head.insert_header("x-inner", "1").unwrap();
        head.insert_header("keep-alive", "timeout=5").unwrap();
        head.set_version(Version::HTTP_10);
        clean_response_head(&mut head, false).unwrap();
        assert!(head.headers.get("x-inner").is_none());
        assert!(head.headers.get("keep-alive").is_none());
        assert_eq!(head.headers.get("transfer-encoding").unwrap(), "chunked");
        assert_eq!(head.version, Version::HTTP_11);
    }
}
