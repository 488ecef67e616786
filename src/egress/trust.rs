//! Whose certificates are believed: the system's authorities and, beside them, those of `ca_file`.

use std::{path::Path, sync::Arc};

use log::warn;
use mcp_gateway_filters::Problem;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Reads the authorities that connections out trust.
///
/// The system's store is read where `rustls-native-certs` finds it, `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` included. Pingora's connector would replace it by `ca_file`; a company that
/// inspects some of its traffic needs both.
///
/// # Errors
/// When `ca_file` is not as expected.
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        warn!(error:%; "a part of the system's certificate store was not read");
    }
    // Stores in the field hold certificates that no strict reader takes; they are left out.
    let (_, ignored) = roots.add_parsable_certificates(system.certs);
    if ignored > 0 {
        warn!(count = ignored; "certificates of the system's store were left out");
    }
    if let Some(path) = ca_file.filter(|path| !path.as_os_str().is_empty()) {
        add_file(&mut roots, path).map_err(|what| Problem::new("ca_file", what))?;
    }
    if roots.is_empty() {
        warn!("no certificate authority is trusted, https requests out will fail");
    }
    Ok(roots)
}

/// Builds the TLS configuration of every connection out.
pub(super) fn build(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Problem> {
    let roots = roots(ca_file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Problem::new("", format!("TLS cannot be set up: {e}")))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|e| format!("cannot read `{shown}`: {e}"))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate =
            certificate.map_err(|e| format!("`{shown}` is not PEM as expected: {e}"))?;
        roots
            .add(certificate)
            .map_err(|e| format!("`{shown}` holds a certificate that cannot be used: {e}"))?;
    }
    if roots.len() == before {
        return Err(format!("expected certificates in `{shown}`, found none"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, expect: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let problem = build(Some(file.path())).unwrap_err();
        assert!(problem.what.contains(expect), "{problem:?}");
    }

    #[test]
    fn a_bad_authority_file_is_a_problem() {
        check("", "found none");
        check("no pem at all", "found none");
        check(
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cannot be used",
        );
        let missing = build(Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert_eq!(missing.at, "ca_file");
        assert!(missing.what.contains("/nonexistent/ca.pem"));
    }

    #[test]
    fn an_empty_path_means_none() {
        assert!(build(Some(Path::new(""))).is_ok());
        assert!(build(None).is_ok());
    }
}
