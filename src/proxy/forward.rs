//! Message heads as they cross the gateway: what is dropped, what is set.
//!
//! The head for an upstream is written as it will be sent, without a map in between; the head for a
//! client stays a map, because filters change it.
//!
//! Fields about one connection end here in both directions (RFC 9110 §7.6.1). Fields by which a
//! client could claim to be somebody or to come from somewhere are dropped and set anew.

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora_core::Result;

/// What an upstream is told about the request it gets.
pub(super) struct Forwarded<'a> {
    /// The path for the upstream.
    pub(super) path: &'a str,
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

const BEARER: &[u8] = b"Bearer ";
const SESSION: &str = "mcp-session-id";
const REQUEST_ID: &str = "x-request-id";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The head of a request as an upstream gets it.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) method: Method,
    /// From the request line to the empty line, in HTTP/1.1.
    pub(super) bytes: Bytes,
}

/// Makes the head that an upstream gets from the one that a client sent; `None` when there is no way
/// to write its target.
///
/// Names and values cannot break out of their lines: their types hold no line ends.
pub(super) fn request_head(
    client: &http::request::Parts,
    to: &Forwarded<'_>,
) -> Option<RequestHead> {
    let nominated = nominated(&client.headers);
    let query = client.uri.query();
    if !is_writable(to.path) || !query.is_none_or(is_writable) {
        return None;
    }
    let mut head = HeadWriter::new(client, to.path.len());
    head.line(&client.method, to.path, query);
    head.field(header::HOST.as_str(), to.host.as_bytes());
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
        match bearer_token(value) {
            // Its case does not matter (RFC 9110 §11.1), and yet ToolHive takes `Bearer` only.
            Some(token) if *name == header::AUTHORIZATION => {
                head.field_with(name.as_str(), |head| {
                    head.extend_from_slice(BEARER);
                    head.extend_from_slice(token);
                });
            }
            _ => head.field(name.as_str(), value.as_bytes()),
        }
    }
    if let Credential::Field(name, value) = to.credential {
        head.field(name.as_str(), value.as_bytes());
    }
    if let Some(session) = to.session {
        head.field(SESSION, session.as_bytes());
    }
    head.address(FORWARDED_FOR, to.client);
    head.field(FORWARDED_HOST, to.public_host.as_bytes());
    head.field(FORWARDED_PROTO, to.public_scheme.as_bytes());
    head.field(REQUEST_ID, to.request_id.as_bytes());
    let bodiless = matches!(
        client.method,
        Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS
    );
    if to.length > 0 || !bodiless {
        let mut length = itoa::Buffer::new();
        let length = length.format(to.length);
        head.field(header::CONTENT_LENGTH.as_str(), length.as_bytes());
    }
    Some(RequestHead {
        method: client.method.clone(),
        bytes: head.end(),
    })
}

/// Whether a part of a target can stand in a request line.
fn is_writable(part: &str) -> bool {
    part.bytes().all(|byte| byte > b' ' && byte != 0x7f)
}

/// A head that is being written.
struct HeadWriter(Vec<u8>);

impl HeadWriter {
    /// What is written beside the fields of a client: the request line and the fields of our own.
    const OWN: usize = 512;

    /// Makes room for a head with the fields of this client, most of them.
    fn new(client: &http::request::Parts, path: usize) -> Self {
        let fields = client.headers.iter();
        let fields: usize = fields.map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
        let query = client.uri.query().map_or(0, str::len);
        Self(Vec::with_capacity(Self::OWN + path + query + fields))
    }

    fn line(&mut self, method: &Method, path: &str, query: Option<&str>) {
        self.0.extend_from_slice(method.as_str().as_bytes());
        self.0.extend_from_slice(b" ");
        self.0.extend_from_slice(path.as_bytes());
        if let Some(query) = query {
            self.0.extend_from_slice(b"?");
            self.0.extend_from_slice(query.as_bytes());
        }
        self.0.extend_from_slice(b" HTTP/1.1\r\n");
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.field_with(name, |head| head.extend_from_slice(value));
    }

    /// Writes a field whose value is written by `value`.
    fn field_with(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        value(&mut self.0);
        self.0.extend_from_slice(b"\r\n");
    }

    /// Writes a field that is an address.
    fn address(&mut self, name: &str, address: IpAddr) {
        let IpAddr::V4(address) = address else {
            return self.field(name, address.to_string().as_bytes());
        };
        // `Display` pads, which takes half as long as all the rest of the head.
        self.field_with(name, |head| {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    head.push(b'.');
                }
                head.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        });
    }

    fn end(mut self) -> Bytes {
        self.0.extend_from_slice(b"\r\n");
        self.0.into()
    }
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

/// Returns the token of bearer credentials, whatever the case of their scheme.
fn bearer_token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then_some(token)
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

    fn forward(fields: &[(&str, &str)], credential: &Credential) -> HeaderMap {
        sent(
            &Method::POST,
            fields,
            credential,
            IpAddr::from([192, 0, 2, 7]),
        )
        .1
    }

    /// Returns the request line and the fields that an upstream reads.
    fn sent(
        method: &Method,
        fields: &[(&str, &str)],
        credential: &Credential,
        client: IpAddr,
    ) -> (String, HeaderMap) {
        let mut request = http::Request::builder().method(method).uri("/mcp?x=1");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = request_head(
            &parts,
            &Forwarded {
                path: "/inner",
                host: "127.0.0.1:9100",
                client,
                public_host: &HeaderValue::from_static("gw.test"),
                public_scheme: "https",
                request_id: "r1",
                credential,
                session: Some("inner"),
                length: if *method == Method::POST { 3 } else { 0 },
            },
        )
        .unwrap();
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut read = httparse::Request::new(&mut fields);
        let length = read.parse(&head.bytes).unwrap();
        assert_eq!(length, httparse::Status::Complete(head.bytes.len()));
        let line = head.bytes.split(|b| *b == b'\r').next().unwrap();
        let fields = read.headers.iter().map(|field| {
            let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(field.value).unwrap())
        });
        (
            String::from_utf8(line.to_vec()).unwrap(),
            fields.collect::<Vec<_>>().into_iter().fold(
                HeaderMap::new(),
                |mut map, (name, value)| {
                    map.append(name, value);
                    map
                },
            ),
        )
    }

    fn check(name: &str, value: &str, expect: Option<&str>) {
        let head = forward(&[(name, value)], &Credential::Caller);
        let got: Vec<_> = head.get_all(name).iter().collect();
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
        assert!(head.get("x-mine").is_none());
        assert!(head.get("connection").is_none());
    }

    #[test]
    fn keeps_the_token_at_home_when_told() {
        let head = forward(&[("authorization", "Bearer t")], &Credential::None);
        assert!(head.get("authorization").is_none());
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
        assert!(head.get("authorization").is_none());
        let found: Vec<_> = head.get_all("x-api-key").iter().collect();
        assert_eq!(found, ["ours"]);
        let head = forward(&sent, &Credential::Field(header::AUTHORIZATION, value));
        let found: Vec<_> = head.get_all("authorization").iter().collect();
        assert_eq!(found, ["ours"]);
        assert_eq!(head.get_all("x-api-key").iter().count(), 2);
    }

    #[test]
    fn writes_the_target_of_the_upstream_with_the_clients_query() {
        let line = |method| sent(&method, &[], &Credential::None, [10, 0, 0, 1].into()).0;
        assert_eq!(line(Method::POST), "POST /inner?x=1 HTTP/1.1");
        assert_eq!(line(Method::HEAD), "HEAD /inner?x=1 HTTP/1.1");
    }

    #[test]
    fn announces_a_body_where_one_may_come() {
        let length = |method| {
            let fields = sent(&method, &[], &Credential::None, [10, 0, 0, 1].into()).1;
            Some(fields.get("content-length")?.to_str().unwrap().to_owned())
        };
        assert_eq!(length(Method::POST).as_deref(), Some("3"));
        assert_eq!(length(Method::PUT).as_deref(), Some("0"));
        assert_eq!(length(Method::GET), None);
    }

    #[test]
    fn writes_no_target_that_could_end_its_line() {
        for path in ["/a b", "/a\r\nx: y", "/a\u{7f}"] {
            assert!(!is_writable(path), "{path:?}");
        }
        assert!(is_writable("/a%20b/ü"));
    }

    proptest::proptest! {
        #[test]
        fn writes_addresses_as_everybody_does(address: IpAddr) {
            let fields = sent(&Method::GET, &[], &Credential::None, address).1;
            let text = address.to_string();
            proptest::prop_assert_eq!(fields["x-forwarded-for"].to_str().unwrap(), text);
        }
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
