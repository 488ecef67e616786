//! The gateway's own side: its certificates, its public URL, what clients read there.

use std::{path::Path, sync::Arc, time::Duration};

use http::{StatusCode, header};
use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde_json::Value;
use url::Url;

use super::{ask::Ask, finding::Finding};
use crate::{
    listener::{self, CertificateConfig, Serve},
    origin::Origin,
};

const CERTIFICATES: &str = "certificates";
const PUBLIC: &str = "public URL";
const METADATA: &str = "metadata";
const CHALLENGE: &str = "challenge";

/// How long before its end a certificate should have been renewed, in days.
const RENEW_DAYS: i64 = 14;
const DAY: i64 = 86_400;

/// Judges the certificates of each listener as a client would that trusts `roots`.
pub(super) fn certificates(
    listeners: &[listener::Config],
    public: &Origin,
    roots: &Arc<RootCertStore>,
    now: i64,
) -> Vec<Finding> {
    let host = Url::parse(public.as_str()).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    let mut found = vec![];
    for listener in listeners {
        let Some(tls) = listener
            .tls
            .as_ref()
            .filter(|_| listener.serve == Serve::Routes)
        else {
            continue;
        };
        let judged: Vec<Finding> = tls
            .certificates
            .iter()
            .map(|pair| certificate(pair, host, roots, now))
            .collect();
        // SNI chooses: one that serves the public name is enough.
        match judged.iter().find(|one| !one.is_wrong()) {
            Some(good) => found.push(good.clone()),
            None => found.extend(judged),
        }
    }
    if found.is_empty() {
        found.push(Finding::skipped(
            CERTIFICATES,
            "no listener with `tls` serves the routes",
        ));
    }
    found
}

fn certificate(
    pair: &CertificateConfig,
    host: &str,
    roots: &Arc<RootCertStore>,
    now: i64,
) -> Finding {
    let path = &pair.certificate;
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let chain: Vec<CertificateDer<'static>> = match read {
        Ok(chain) => chain,
        Err(error) => {
            let what = format!("`{}` cannot be read: {error}", path.display());
            return Finding::skipped(CERTIFICATES, what);
        }
    };
    let Some((leaf, rest)) = chain.split_first() else {
        return Finding::skipped(CERTIFICATES, format!("`{}` is empty", path.display()));
    };
    let trusted = trusted(leaf, rest, host, roots, now);
    let expires = x509_parser::parse_x509_certificate(leaf)
        .map_or(now, |(_, leaf)| leaf.validity().not_after.timestamp());
    judge_certificate(path, host, rest.len(), trusted, (expires - now) / DAY)
}

fn trusted(
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    host: &str,
    roots: &Arc<RootCertStore>,
    now: i64,
) -> Result<(), rustls::Error> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host)
        .map_err(|_| rustls::Error::General(format!("`{host}` is no name of a certificate")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let now = Duration::from_secs(now.max(0).unsigned_abs());
    verifier
        .verify_server_cert(leaf, rest, &name, &[], UnixTime::since_unix_epoch(now))
        .map(drop)
}

fn judge_certificate(
    path: &Path,
    host: &str,
    intermediates: usize,
    trusted: Result<(), rustls::Error>,
    days: i64,
) -> Finding {
    let path = path.display();
    match trusted {
        Ok(()) if days >= RENEW_DAYS => Finding::ok(
            CERTIFICATES,
            format!("`{path}` serves `{host}` for another {days} days"),
        ),
        Ok(()) => Finding::wrong(
            CERTIFICATES,
            format!("`{path}` expires in {days} days"),
            "renew it, and restart the gateway, which reads it when it starts",
        ),
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => Finding::wrong(
            CERTIFICATES,
            format!("`{path}` does not carry the name `{host}` of the public URL"),
            "request a certificate with that name, or correct `public_url`",
        ),
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let what = if intermediates == 0 {
                format!(
                    "`{path}` holds a certificate alone, and nobody this machine trusts has signed it"
                )
            } else {
                format!("`{path}` leads to no authority that this machine trusts")
            };
            Finding::wrong(
                CERTIFICATES,
                what,
                "write the intermediates behind the certificate, as in `fullchain.pem`; an authority of your own must be known to this machine and to every client",
            )
        }
        Err(error) => Finding::wrong(
            CERTIFICATES,
            format!("clients refuse `{path}`: {error}"),
            "request a certificate for a server from an authority that clients trust",
        ),
    }
}

/// Asks the gateway as clients do; what follows is skipped when it does not answer.
pub(super) async fn public(ask: &Ask, public: &Origin, routes: &[String]) -> Vec<Finding> {
    let url = public.join("/health");
    let answer = ask.get(&url).await.map(|answer| {
        let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status(), body)
    });
    let alive = judge_health(&url, answer);
    if alive.is_wrong() {
        let skip = |check| Finding::skipped(check, "the public URL does not answer");
        return vec![alive, skip(METADATA), skip(CHALLENGE)];
    }
    let mut found = vec![alive];
    let url = public.join("/.well-known/oauth-authorization-server");
    found.push(judge_member(
        &url,
        "issuer",
        public.as_str(),
        document(ask, &url).await,
    ));
    for path in routes {
        let url = public.join(&format!("/.well-known/oauth-protected-resource{path}"));
        let told = document(ask, &url).await;
        found.push(judge_member(&url, "resource", &public.join(path), told));
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned();
        let resource = public.join(path);
        found.push(match ask.post(&resource, "application/json", body).await {
            Ok(answer) => {
                let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
                let challenge = challenge.and_then(|value| value.to_str().ok());
                judge_challenge(&resource, &url, answer.status(), challenge)
            }
            Err(why) => unanswered(CHALLENGE, &resource, &why),
        });
    }
    found
}

async fn document(ask: &Ask, url: &str) -> Result<Value, String> {
    let answer = ask.get(url).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("status {}", answer.status()));
    }
    serde_json::from_slice(answer.body()).map_err(|_| "no JSON".to_owned())
}

fn unanswered(check: &'static str, url: &str, why: &str) -> Finding {
    let fix = if why.contains("UnknownIssuer") {
        "see `certificates`; clients need the authority, too (`NODE_EXTRA_CA_CERTS`)"
    } else if why.contains("TLS") {
        "see `certificates`, and whether the port is that of the listener with `tls`"
    } else {
        "start the gateway; then look at the name, the firewall, the load balancer, and at `egress.no_proxy` when only this machine cannot reach it"
    };
    Finding::wrong(check, format!("`{url}` is not answered: {why}"), fix)
}

fn judge_health(url: &str, answer: Result<(StatusCode, Value), String>) -> Finding {
    match answer {
        Ok((StatusCode::OK, body)) if body.get("status").is_some_and(|status| status == "ok") => {
            Finding::ok(PUBLIC, format!("`{url}` is answered by a gateway"))
        }
        Ok((status, _)) => Finding::wrong(
            PUBLIC,
            format!("`{url}` is answered with status {status} by something else than this gateway"),
            "see where the name leads, and what stands before the gateway",
        ),
        Err(why) => unanswered(PUBLIC, url, &why),
    }
}

fn judge_member(url: &str, member: &str, expect: &str, told: Result<Value, String>) -> Finding {
    match told {
        Ok(document) => match document.get(member).and_then(Value::as_str) {
            Some(found) if found == expect => {
                Finding::ok(METADATA, format!("`{url}` names the {member} `{expect}`"))
            }
            found => Finding::wrong(
                METADATA,
                format!(
                    "`{url}` names the {member} `{}`, clients expect `{expect}`",
                    found.unwrap_or_default()
                ),
                "restart the gateway if `public_url` was changed; see what answers in its place otherwise",
            ),
        },
        Err(why) => Finding::wrong(
            METADATA,
            format!("`{url}` is answered with {why}"),
            "let everything below `/.well-known/` pass whatever stands before the gateway",
        ),
    }
}

fn judge_challenge(
    resource: &str,
    metadata: &str,
    status: StatusCode,
    challenge: Option<&str>,
) -> Finding {
    let named = challenge.is_some_and(|challenge| challenge.contains(metadata));
    if status == StatusCode::UNAUTHORIZED && named {
        let what = format!("`{resource}` asks for a token and says where to get one");
        return Finding::ok(CHALLENGE, what);
    }
    let (what, fix) = if status == StatusCode::UNAUTHORIZED {
        (
            format!("`{resource}` answers 401 without naming `{metadata}`"),
            "let `WWW-Authenticate` pass whatever stands before the gateway",
        )
    } else if status.is_success() {
        (
            format!("`{resource}` answers {status} to a caller without a token"),
            "see what answers in the gateway's place, and whether the route has `authenticate`",
        )
    } else {
        (
            format!("`{resource}` answers {status} where a token should be asked for"),
            "see what stands before the gateway, such as a firewall for web applications; and the gateway's log",
        )
    };
    Finding::wrong(CHALLENGE, what, fix)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::Verdict, *};

    #[test]
    fn certificates_are_judged_as_clients_do() {
        let judged =
            |trusted, days| judge_certificate(Path::new("c.pem"), "mcp.test", 0, trusted, days);
        let invalid = |why| Err(rustls::Error::InvalidCertificate(why));
        assert_eq!(judged(Ok(()), 14).verdict, Verdict::Ok);
        assert!(judged(Ok(()), 13).what.contains("expires in 13 days"));
        assert!(
            judged(invalid(CertificateError::NotValidForName), 99)
                .what
                .contains("carry the name")
        );
        assert!(
            judged(invalid(CertificateError::UnknownIssuer), 99)
                .what
                .contains("alone")
        );
        assert!(judged(invalid(CertificateError::Revoked), 99).is_wrong());
    }

    #[test]
    fn another_server_in_the_gateways_place_is_noticed() {
        let health = |status, body| judge_health("u", Ok((status, body)));
        assert!(!health(StatusCode::OK, json!({"status": "ok"})).is_wrong());
        assert!(health(StatusCode::OK, json!("hello")).is_wrong());
        assert!(health(StatusCode::NOT_FOUND, Value::Null).is_wrong());
        let refused = judge_health("u", Err("TLS: UnknownIssuer".to_owned()));
        assert!(refused.fix.unwrap().contains("NODE_EXTRA_CA_CERTS"));
    }

    #[test]
    fn metadata_must_name_what_clients_asked_for() {
        let judged = |told| judge_member("u", "issuer", "https://a.test", told);
        assert!(!judged(Ok(json!({"issuer": "https://a.test"}))).is_wrong());
        assert!(judged(Ok(json!({"issuer": "https://a.test/"}))).is_wrong());
        assert!(judged(Ok(json!([]))).is_wrong());
        assert!(judged(Err("status 404".to_owned())).what.contains("404"));
    }

    #[test]
    fn a_challenge_leads_to_the_metadata() {
        let judged =
            |status, challenge| judge_challenge("r", "https://a.test/m", status, challenge);
        let good = r#"Bearer resource_metadata="https://a.test/m""#;
        assert!(!judged(StatusCode::UNAUTHORIZED, Some(good)).is_wrong());
        assert!(
            judged(StatusCode::UNAUTHORIZED, None)
                .what
                .contains("without naming")
        );
        assert!(
            judged(StatusCode::OK, None)
                .what
                .contains("without a token")
        );
        assert!(
            judged(StatusCode::FORBIDDEN, None)
                .fix
                .unwrap()
                .contains("firewall")
        );
    }
}
