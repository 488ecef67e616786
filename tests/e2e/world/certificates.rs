//! A certificate authority that lives as long as the process, and the certificate by which an
//! application proves who it is.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::OnceLock};

use mcp_gateway_emulator::entra::ClientCertificate;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

/// The authority that every client of a test trusts.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The one of this process.
    pub(crate) fn shared() -> &'static Self {
        static AUTHORITY: OnceLock<Authority> = OnceLock::new();
        AUTHORITY.get_or_init(|| {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec![]).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let pem = params.self_signed(&key).unwrap().pem();
            Self {
                pem,
                issuer: Issuer::new(params, key),
            }
        })
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes `NAME.pem` and `NAME.key` for a server of these names.
    pub(crate) fn write(&self, folder: &Path, name: &str, names: &[String]) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        let file = folder.join(format!("{name}.key"));
        std::fs::write(&file, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
}

/// A key that signs client assertions, in files of its own.
pub(crate) struct AssertionKey {
    folder: TempDir,
    certificate: ClientCertificate,
}

impl AssertionKey {
    pub(crate) fn generate() -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("client.crt"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("client.key"), key.serialize_pem()).unwrap();
        let certificate = ClientCertificate {
            certificate: certificate.der().to_vec(),
            public_key: rcgen::PublicKeyData::der_bytes(&key).to_vec(),
        };
        Self {
            folder,
            certificate,
        }
    }

    /// What stands under `credentials`.
    pub(crate) fn credentials(&self) -> String {
        let folder = self.folder.path().display();
        format!("{{ certificate: {folder}/client.crt, key: {{ file: {folder}/client.key }} }}")
    }

    /// What is uploaded to a registration.
    pub(crate) fn uploaded(&self) -> ClientCertificate {
        self.certificate.clone()
    }
}
