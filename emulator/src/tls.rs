//! The crypto provider behind every TLS and HTTP client of this crate.
//!
//! `reqwest` is built without a provider of its own, so that one process links one.

/// Installs aws-lc-rs as the process default, unless a default is there already.
pub(crate) fn install_provider() {
    // An error means that somebody installed one before us, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
