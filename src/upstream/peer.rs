//! What Pingora needs to know to connect to a backend, made once per address.
//!
//! INVARIANT: `HttpPeer::new` is only given socket addresses, since it looks names up by blocking
//! and panics when there is none; and a TLS peer always has a name to verify, since Pingora takes
//! an empty one as permission to verify nothing.
//!
//! For a peer with authorities of its own Pingora makes a TLS configuration with each connection: it
//! parses them again, and no session is resumed. A connector for each `ca_file` would make it once, and
//! is not worth its price: it takes authorities as a path only, reads the file a second time, and panics
//! when that is gone or broken by then. Connections are kept, so few requests pay.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use mcp_gateway_filters::Problem;
use pingora::{
    protocols::{ALPN, TcpKeepalive, tls::CaType},
    upstreams::peer::{HttpPeer, PeerOptions},
    utils::tls::{WrappedX509, parse_x509},
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use super::config::{Config, TlsConfig};

/// The largest CA file read: the bundle of a whole operating system is about 250 KiB.
const CA_FILE_LIMIT: u64 = 4 << 20;

/// Everything about a peer but its address.
#[derive(Debug)]
pub(super) struct Template {
    sni: Option<String>,
    /// A hash of the authorities that `ca_file` held, 0 for the system's.
    group_key: u64,
    options: PeerOptions,
}

impl PartialEq for Template {
    /// Compares what can differ between two: the rest of the options is the same for all.
    fn eq(&self, other: &Self) -> bool {
        let key = |template: &Self| {
            let options = &template.options;
            (
                template.group_key,
                options.connection_timeout,
                options.idle_timeout,
            )
        };
        self.sni == other.sni && key(self) == key(other)
    }
}

impl Template {
    /// Reads what the options name.
    pub(super) fn build(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut options = PeerOptions::new();
        options.connection_timeout = Some(config.connect_timeout.0);
        options.total_connection_timeout = Some(config.connect_timeout.0);
        options.idle_timeout = Some(config.idle_timeout.0);
        // The leg speaks HTTP/1.1 only; a peer that negotiates h2 would answer in frames.
        options.alpn = ALPN::H1;
        // Finds a peer that vanished behind an open stream within half a minute.
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(5),
            count: 3,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        let mut template = Self {
            sni: None,
            group_key: 0,
            options,
        };
        if let Some(tls) = &config.tls {
            template.trust(tls)?;
        }
        Ok(template)
    }

    fn trust(&mut self, tls: &TlsConfig) -> Result<(), Vec<Problem>> {
        let mut problems = vec![];
        if ServerName::try_from(tls.sni.as_str()).is_err() {
            problems.push(
                Problem::new(
                    "tls.sni",
                    format!("`{}` is no name that a certificate can carry", tls.sni),
                )
                .help("write the host name in the backends' certificates, such as `github.corp`"),
            );
        }
        match &tls.ca_file {
            None => {
                if let Err(what) = probe_system_authorities() {
                    problems.push(
                        Problem::new("tls", what)
                            .help("name the backends' own authorities in `tls.ca_file`"),
                    );
                }
            }
            Some(file) => match read_authorities(file) {
                Ok(authorities) => {
                    // The key of idle connections does not hold the authorities: without a group
                    // of their own, a connection verified by others could be reused here.
                    let mut hasher = DefaultHasher::new();
                    authorities.hash(&mut hasher);
                    self.group_key = hasher.finish();
                    let authorities: Vec<WrappedX509> = authorities
                        .into_iter()
                        .map(|der| WrappedX509::new(der.to_vec(), parse_x509))
                        .collect();
                    self.options.ca = Some(Arc::<CaType>::from(authorities));
                }
                Err(what) => problems.push(Problem::new("tls.ca_file", what)),
            },
        }
        self.sni = Some(tls.sni.clone());
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    /// Returns whether the peers speak TLS.
    pub(super) const fn is_tls(&self) -> bool {
        self.sni.is_some()
    }

    /// Makes the peer at `address`.
    pub(super) fn at(&self, address: SocketAddr) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.is_tls(), self.sni.clone().unwrap_or_default());
        peer.group_key = self.group_key;
        peer.options = self.options.clone();
        peer
    }
}

/// Reads the system's authorities like Pingora's connectors do, which panic where this fails.
fn probe_system_authorities() -> Result<(), String> {
    let authorities = pingora::tls::load_native_certs()
        .map_err(|e| format!("cannot read the system's certificate authorities: {e}"))?;
    if authorities.is_empty() {
        return Err("the system has no certificate authorities".to_owned());
    }
    let mut store = RootCertStore::empty();
    for der in authorities {
        store
            .add(der)
            .map_err(|e| format!("a certificate authority of the system cannot be used: {e}"))?;
    }
    Ok(())
}

/// Reads PEM certificates, all of which must be usable as authorities.
fn read_authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let name = file.display();
    let size = std::fs::metadata(file)
        .map_err(|e| format!("cannot read `{name}`: {e}"))?
        .len();
    if size > CA_FILE_LIMIT {
        return Err(format!(
            "`{name}` has {size} bytes, expected at most {CA_FILE_LIMIT}"
        ));
    }
    let authorities = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("cannot read certificates from `{name}`: {e}"))?;
    if authorities.is_empty() {
        return Err(format!("`{name}` has no certificate in PEM form"));
    }
    let mut store = RootCertStore::empty();
    for (index, der) in authorities.iter().enumerate() {
        let number = index + 1;
        // Pingora panics on a certificate that its own parser refuses, so both must accept it.
        if x509_parser::parse_x509_certificate(der).is_err() || store.add(der.clone()).is_err() {
            return Err(format!(
                "certificate {number} of `{name}` cannot be used as an authority"
            ));
        }
    }
    Ok(authorities)
}

#[cfg(test)]
mod tests {
    use pingora::upstreams::peer::Peer;

    use super::*;

    fn config(tls: Option<TlsConfig>) -> Config {
        let mut config: Config = serde_yaml::from_str("backends: ['127.0.0.1:1']").unwrap();
        config.tls = tls;
        config
    }

    fn tls(sni: &str, ca_file: Option<&Path>) -> TlsConfig {
        TlsConfig {
            sni: sni.to_owned(),
            ca_file: ca_file.map(Path::to_owned),
        }
    }

    fn at(config: &Config) -> HttpPeer {
        Template::build(config)
            .unwrap()
            .at(([127, 0, 0, 1], 9100).into())
    }

    fn problems(tls: TlsConfig) -> Vec<String> {
        Template::build(&config(Some(tls)))
            .unwrap_err()
            .iter()
            .map(|p| format!("{}: {}", p.at, p.what))
            .collect()
    }

    fn authority(directory: &Path, name: &str) -> std::path::PathBuf {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let file = directory.join(name);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        file
    }

    #[test]
    fn every_wait_is_bounded_and_only_http_1_is_spoken() {
        let peer = at(&config(None));
        assert!(!peer.is_tls());
        assert_eq!(peer.connection_timeout(), Some(Duration::from_secs(2)));
        assert_eq!(
            peer.options.total_connection_timeout,
            Some(Duration::from_secs(2))
        );
        assert_eq!(peer.options.idle_timeout, Some(Duration::from_secs(25)));
        assert_eq!(peer.options.alpn, ALPN::H1);
    }

    #[test]
    fn tls_peers_verify_a_name() {
        let directory = tempfile::tempdir().unwrap();
        let ca = authority(directory.path(), "ca.pem");
        let peer = at(&config(Some(tls("github.corp", Some(&ca)))));
        assert!(peer.is_tls() && peer.verify_cert() && peer.verify_hostname());
        assert_eq!(peer.sni, "github.corp");
    }

    #[test]
    fn an_empty_or_impossible_name_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ca = authority(directory.path(), "ca.pem");
        for name in ["", "a b", "https://x"] {
            let expect = format!("tls.sni: `{name}` is no name that a certificate can carry");
            assert_eq!(problems(tls(name, Some(&ca))), [expect]);
        }
    }

    #[test]
    fn authorities_keep_connections_apart() {
        let directory = tempfile::tempdir().unwrap();
        let one = authority(directory.path(), "one.pem");
        let two = authority(directory.path(), "two.pem");
        let hash = |ca| at(&config(Some(tls("a.corp", Some(ca))))).reuse_hash();
        assert_eq!(hash(&one), hash(&one));
        assert_ne!(hash(&one), hash(&two));
    }

    #[test]
    fn a_changed_ca_file_is_a_changed_template() {
        let directory = tempfile::tempdir().unwrap();
        let ca = authority(directory.path(), "ca.pem");
        let config = config(Some(tls("a.corp", Some(&ca))));
        let before = Template::build(&config).unwrap();
        assert!(before == Template::build(&config).unwrap());
        authority(directory.path(), "ca.pem");
        assert!(before != Template::build(&config).unwrap());
    }

    #[test]
    fn unusable_authorities_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let found = |content: &str| {
            std::fs::write(&file, content).unwrap();
            problems(tls("a.corp", Some(&file))).remove(0)
        };
        assert!(found("").ends_with("has no certificate in PEM form"));
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(found(junk).ends_with("cannot be used as an authority"));
        let missing = directory.path().join("missing.pem");
        let text = problems(tls("", Some(&missing)));
        assert_eq!(text.len(), 2, "both mistakes are named: {text:?}");
    }
}
