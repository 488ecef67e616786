//! Starts the emulated tenant and writes down what a run needs of it.
//!
//! `tenant DIRECTORY TOKENS` writes a certificate for `localhost` and its key into the directory,
//! prints one line of JSON (coordinates, keys, tokens), and serves until its standard input ends.
//! Every token is right for the gateway and unlike the others, except `tampered`, whose signature
//! is not its own.

use std::{error::Error, fs, path::Path};

use mcp_gateway_emulator::entra::Entra;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, tokens] = arguments.as_slice() else {
        return Err("expected DIRECTORY TOKENS".into());
    };
    write_certificate(Path::new(directory))?;
    let entra = Entra::builder().start().await?;
    let tokens: Vec<String> = (0..tokens.parse::<usize>()?)
        .map(|serial| {
            let token = entra.token("alice");
            token.claim("uti", format!("{serial:022}")).build()
        })
        .collect();
    let told = json!({
        "authority": entra.authority(),
        "tenant": entra.tenant(),
        "client_id": entra.client_id(),
        "issuer": entra.issuer(),
        "jwks_uri": entra.jwks_uri(),
        "authorize": entra.authorization_endpoint(),
        "tampered": entra.token("alice").with_broken_signature().build(),
        "tokens": tokens,
    });
    println!("{told}");
    // Whoever started it holds the other end: when that is gone, so is this.
    stdin().read_to_end(&mut vec![]).await?;
    Ok(())
}

/// Writes `certificate.pem`, `key.pem`, and both in one file: some servers want that.
fn write_certificate(directory: &Path) -> Result<(), Box<dyn Error>> {
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    fs::write(directory.join("certificate.pem"), &certificate)?;
    fs::write(directory.join("key.pem"), &key)?;
    fs::write(directory.join("both.pem"), certificate + &key)?;
    Ok(())
}
