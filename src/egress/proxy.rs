//! The corporate proxy: an address to dial, and the CONNECT request that opens a tunnel
//! (RFC 9110 §9.3.6).
//!
//! The proxy resolves the target's name. A proxy that is itself spoken to over TLS is not supported.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mcp_gateway_filters::Problem;
use percent_encoding::percent_decode_str;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;

use super::{EgressError, target::Target};
use crate::secret::Secret;

/// The largest answer head of a proxy, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// A proxy that opens tunnels.
#[derive(Clone, Debug)]
pub(super) struct Proxy {
    pub(super) host: String,
    pub(super) port: u16,
    /// The value of `Proxy-Authorization`.
    credentials: Option<Secret<String>>,
}

impl Proxy {
    /// Reads `http://[user:password@]host:port`; an empty text means no proxy.
    pub(super) fn parse(at: &str, text: &str, problems: &mut Vec<Problem>) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let parsed = parse(text);
        // The text is not repeated: it may hold a password.
        parsed
            .map_err(|what| {
                problems.push(
                    Problem::new(at, what)
                        .help("write `http://host:port` or `http://user:password@host:port`"),
                );
            })
            .ok()
    }

    /// Asks the proxy for a tunnel to `target` over a fresh connection.
    pub(super) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        target: &Target,
    ) -> Result<(), EgressError> {
        let authority = target.connect_authority();
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(credentials) = &self.credentials {
            head.push_str("Proxy-Authorization: ");
            head.push_str(credentials.reveal());
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        let failed = |what: &str| {
            EgressError::unreachable(format!("proxy {}:{}: {what}", self.host, self.port))
        };
        stream
            .write_all(head.as_bytes())
            .await
            .map_err(|e| failed(&e.to_string()))?;

        let mut read = Vec::with_capacity(1024);
        loop {
            let count = stream
                .read_buf(&mut read)
                .await
                .map_err(|e| failed(&e.to_string()))?;
            if count == 0 {
                return Err(failed("connection closed before an answer to CONNECT"));
            }
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut answer = httparse::Response::new(&mut headers);
            match answer.parse(&read) {
                Ok(httparse::Status::Complete(end)) => {
                    return match answer.code {
                        // TLS clients speak first: bytes here are not from the target.
                        Some(200..=299) if end < read.len() => {
                            Err(failed("bytes after the answer to CONNECT"))
                        }
                        Some(200..=299) => Ok(()),
                        Some(407) => Err(failed(if self.credentials.is_some() {
                            "answered 407, the user name or password was refused"
                        } else {
                            "answered 407, it wants a user name and password"
                        })),
                        Some(code) => Err(failed(&format!("answered {code} to CONNECT"))),
                        None => Err(failed("answered CONNECT without a status")),
                    };
                }
                Ok(httparse::Status::Partial) if read.len() > MAX_HEAD => {
                    return Err(failed("answered CONNECT with more than 16384 bytes"));
                }
                Ok(httparse::Status::Partial) => {}
                Err(_) => return Err(failed("did not answer CONNECT in HTTP")),
            }
        }
    }
}

fn parse(text: &str) -> Result<Proxy, &'static str> {
    let expected = "expected `http://host:port`";
    let url = Url::parse(text).map_err(|_| expected)?;
    match url.scheme() {
        "http" => {}
        "https" => {
            return Err(
                "a proxy spoken to over TLS (`https://`) is not supported, expected `http://host:port`",
            );
        }
        _ => return Err(expected),
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err("expected `http://host:port` with nothing behind the port");
    }
    let host = url.host_str().filter(|h| !h.is_empty()).ok_or(expected)?;
    let host = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    let credentials = if url.username().is_empty() && url.password().is_none() {
        None
    } else {
        let mut pair: Vec<u8> = percent_decode_str(url.username()).collect();
        if pair.contains(&b':') {
            return Err("expected a user name without a colon (RFC 7617 §2)");
        }
        pair.push(b':');
        pair.extend(percent_decode_str(url.password().unwrap_or_default()));
        Some(Secret::new(format!("Basic {}", STANDARD.encode(pair))))
    };
    Ok(Proxy {
        host: host.to_owned(),
        port: url.port_or_known_default().ok_or(expected)?,
        credentials,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Option<(&str, u16, Option<&str>)>) {
        let mut problems = Vec::new();
        let proxy = Proxy::parse("https_proxy", text, &mut problems);
        let found = proxy.as_ref().map(|p| {
            let credentials = p.credentials.as_ref().map(|c| c.reveal().as_str());
            (p.host.as_str(), p.port, credentials)
        });
        assert_eq!(found, expect, "{text}");
        assert_eq!(problems.is_empty(), expect.is_some() || text.is_empty());
        assert!(!format!("{proxy:?} {problems:?}").contains("hunter2"));
    }

    #[test]
    fn reads_a_proxy() {
        check("", None);
        check("http://proxy.test:3128", Some(("proxy.test", 3128, None)));
        check(
            "http://[2001:db8::1]:3128/",
            Some(("2001:db8::1", 3128, None)),
        );
        check(
            "http://Aladdin:open%20sesame@proxy.test:3128",
            Some((
                "proxy.test",
                3128,
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            )),
        );
    }

    #[test]
    fn refuses_what_it_cannot_speak() {
        check("https://user:hunter2@proxy.test:3128", None);
        check("socks5://proxy.test:1080", None);
        check("proxy.test:3128", None);
        check("http://proxy.test:3128/path?hunter2", None);
        check("http://a%3Ab:hunter2@proxy.test:3128", None);
    }
}
