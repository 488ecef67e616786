//! Certificates of a listener: read, checked, and chosen by SNI.
//!
//! What is wrong with a certificate is a configuration problem, found before a socket is bound. It
//! does not watch the files.

use std::{collections::HashMap, path::Path, sync::Arc};

use mcp_gateway_filters::Problem;
use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::CertificateConfig;

/// The certificates of one listener, by the names they carry.
#[derive(Debug)]
pub(super) struct Certificates {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part behind `*.`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host or an unknown one.
    first: Arc<CertifiedKey>,
    /// The first name of each certificate and when it expires, in seconds since the Unix epoch.
    pub(super) expiries: Vec<(String, i64)>,
}

impl Certificates {
    /// Reads every pair and reports everything that is wrong with any.
    ///
    /// Problems stand at `certificates[N].certificate` or `.key`. `now` is in seconds since the
    /// Unix epoch.
    pub(super) fn load(
        pairs: &[CertificateConfig],
        provider: &CryptoProvider,
        now: i64,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = vec![];
        let mut loaded = vec![];
        for (index, pair) in pairs.iter().enumerate() {
            match Pair::load(pair, provider, now) {
                Ok(pair) => loaded.push(pair),
                Err(found) => problems.extend(found.into_iter().map(|problem| Problem {
                    at: format!("certificates[{index}].{}", problem.at),
                    ..problem
                })),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let Some(first) = loaded.first().map(|pair| pair.key.clone()) else {
            return Err(vec![
                Problem::new(
                    "certificates",
                    "expected at least one certificate, found none",
                )
                .help("write `certificates: [{ certificate: FILE, key: FILE }]`"),
            ]);
        };
        let mut certificates = Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            first,
            expiries: vec![],
        };
        for Pair {
            key,
            names,
            not_after,
        } in loaded
        {
            let label = names.first().cloned().unwrap_or_else(|| "-".to_owned());
            certificates.expiries.push((label, not_after));
            for name in names {
                // The first certificate that carries a name serves it.
                match name.strip_prefix("*.") {
                    Some(parent) => certificates.wildcard.entry(parent.to_owned()),
                    None => certificates.exact.entry(name),
                }
                .or_insert_with(|| key.clone());
            }
        }
        Ok(certificates)
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls hands the name over in lower case.
        let named = hello.server_name().and_then(|name| self.find(name));
        Some(named.unwrap_or(&self.first).clone())
    }
}

struct Pair {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    not_after: i64,
}

impl Pair {
    fn load(
        config: &CertificateConfig,
        provider: &CryptoProvider,
        now: i64,
    ) -> Result<Self, Vec<Problem>> {
        let chain = read_chain(&config.certificate);
        let key = read_key(&config.key);
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        let details = Details::of(&chain, &config.certificate, now).map_err(|p| vec![p])?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let problem = match error {
                rustls::Error::InconsistentKeys(_) => Problem::new(
                    "key",
                    format!(
                        "the key `{}` does not belong to the certificate `{}`",
                        config.key.display(),
                        config.certificate.display()
                    ),
                )
                .help("name the key that the certificate was requested with"),
                other => Problem::new(
                    "key",
                    format!("the key `{}` cannot be used: {other}", config.key.display()),
                )
                .help("use an unencrypted RSA, ECDSA or Ed25519 key in PEM"),
            };
            vec![problem]
        })?;
        Ok(Self {
            key: Arc::new(key),
            names: details.names,
            not_after: details.not_after,
        })
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable("certificate", path, &error))?;
    if chain.is_empty() {
        return Err(unreadable("certificate", path, &pem::Error::NoItemsFound));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable("key", path, &error))
}

fn unreadable(what: &str, path: &Path, cause: &pem::Error) -> Problem {
    let path = path.display();
    match cause {
        pem::Error::NoItemsFound => {
            let help = match what {
                "key" => "expected PEM with `-----BEGIN PRIVATE KEY-----`, and no passphrase",
                _ => "expected PEM with `-----BEGIN CERTIFICATE-----`",
            };
            Problem::new(what, format!("there is no {what} in `{path}`")).help(help)
        }
        pem::Error::Io(_) => Problem::new(what, format!("the {what} `{path}` cannot be read: {cause}"))
            .help("under systemd a private file is handed over with `LoadCredential=`; see systemd/mcp-gateway.service"),
        _ => Problem::new(what, format!("the {what} `{path}` is not PEM: {cause}")),
    }
}

struct Details {
    names: Vec<String>,
    not_after: i64,
}

impl Details {
    fn of(chain: &[CertificateDer<'_>], path: &Path, now: i64) -> Result<Self, Problem> {
        let refuse = |what: String| {
            Problem::new(
                "certificate",
                format!("the certificate `{}` {what}", path.display()),
            )
        };
        let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(leaf)
            .map_err(|error| refuse(format!("is not X.509: {error}")))?;
        let not_before = leaf.validity().not_before.timestamp();
        let not_after = leaf.validity().not_after.timestamp();
        if now >= not_after {
            return Err(refuse(format!("expired at {}", leaf.validity().not_after))
                .help("renew it, or name the renewed file"));
        }
        if now < not_before {
            return Err(refuse(format!(
                "is not valid before {}",
                leaf.validity().not_before
            ))
            .help("check the clock of this machine"));
        }
        let names: Vec<String> = leaf
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| &names.value.general_names)
            .into_iter()
            .flatten()
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        Ok(Self { names, not_after })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    struct Files {
        dir: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn write(&self, name: &str, text: &str) -> PathBuf {
            let path = self.dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        }

        fn pair(&self, name: &str, years: (i32, i32)) -> CertificateConfig {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
            params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let stem = name.replace('*', "any");
            CertificateConfig {
                certificate: self.write(&format!("{stem}.crt"), &certificate.pem()),
                key: self.write(&format!("{stem}.key"), &key.serialize_pem()),
            }
        }
    }

    fn load(pairs: &[CertificateConfig]) -> Result<Certificates, Vec<Problem>> {
        Certificates::load(pairs, &rustls::crypto::aws_lc_rs::default_provider(), NOW)
    }

    fn check_refused(pairs: &[CertificateConfig], at: &str, says: &str) {
        let problems = load(pairs).unwrap_err();
        assert!(
            problems.iter().any(|p| p.at == at && p.what.contains(says)),
            "{problems:?}"
        );
    }

    #[test]
    fn chooses_by_name() {
        let files = Files::new();
        let found = load(&[
            files.pair("a.test", (2020, 2040)),
            files.pair("*.b.test", (2020, 2039)),
        ])
        .unwrap();
        assert!(Arc::ptr_eq(found.find("a.test").unwrap(), &found.first));
        assert!(!Arc::ptr_eq(found.find("x.b.test").unwrap(), &found.first));
        assert!(found.find("b.test").is_none());
        assert!(found.find("x.y.b.test").is_none());
        assert_eq!(found.expiries.len(), 2);
    }

    #[test]
    fn refuses_what_cannot_serve() {
        let files = Files::new();
        let good = files.pair("a.test", (2020, 2040));
        let other = files.pair("b.test", (2020, 2040));
        check_refused(
            &[CertificateConfig {
                certificate: good.certificate.clone(),
                key: other.key.clone(),
            }],
            "certificates[0].key",
            "does not belong",
        );
        check_refused(
            &[good.clone(), files.pair("old.test", (2020, 2021))],
            "certificates[1].certificate",
            "expired",
        );
        check_refused(
            &[files.pair("new.test", (2039, 2040))],
            "certificates[0].certificate",
            "not valid before",
        );
        check_refused(
            &[CertificateConfig {
                certificate: good.certificate.clone(),
                key: files.dir.path().join("absent.key"),
            }],
            "certificates[0].key",
            "cannot be read",
        );
        check_refused(
            &[CertificateConfig {
                certificate: files.write("empty.crt", ""),
                key: good.key.clone(),
            }],
            "certificates[0].certificate",
            "no certificate in",
        );
        check_refused(
            &[CertificateConfig {
                certificate: good.certificate.clone(),
                key: good.certificate.clone(),
            }],
            "certificates[0].key",
            "no key in",
        );
        check_refused(&[], "certificates", "at least one");
    }
}
