use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::*;

const NOW: u64 = 1_800_000_000;
const CLIENT: Client<'_> = Client {
    id: "c1",
    token_endpoint: "https://login.test/t/token",
};

fn secret(text: &str) -> ClientCredentials {
    let source = CredentialSource::ClientSecret(SecretSource::Env("S".to_owned()));
    ClientCredentials::load(source, Secret::new(text.to_owned())).unwrap()
}

struct Pair {
    certificate: String,
    key: String,
    public: Vec<u8>,
}

fn pair(years: (i32, i32)) -> Pair {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    Pair {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
        public: rcgen::PublicKeyData::der_bytes(&key).to_vec(),
    }
}

fn load(dir: &Path, certificate: &str, key: &str) -> Result<ClientCredentials, Vec<Problem>> {
    let path = dir.join("client.crt");
    std::fs::write(&path, certificate).unwrap();
    let source = CredentialSource::Certificate {
        certificate: path,
        key: SecretSource::Env("K".to_owned()),
    };
    ClientCredentials::load(source, Secret::new(key.to_owned()))
}

fn check(form: &str, expect: Result<&str, Unsigned>) {
    let found = secret("s&=s").authenticate(form.as_bytes(), CLIENT, NOW);
    let found = found.map(|form| String::from_utf8(form).unwrap());
    assert_eq!(found, expect.map(str::to_owned), "{form}");
}

#[test]
fn a_secret_joins_the_forms_that_the_gateway_vouches_for() {
    check(
        "grant_type=authorization_code&client_id=c1&code=%41%2B",
        Ok("grant_type=authorization_code&client_id=c1&code=%41%2B&client_secret=s%26%3Ds"),
    );
    check(
        "client_id=c1&refresh_token=r&grant_type=refresh_token",
        Ok("client_id=c1&refresh_token=r&grant_type=refresh_token&client_secret=s%26%3Ds"),
    );
}

#[test]
fn what_a_client_sends_as_its_authentication_is_replaced() {
    check(
        "client_secret=x&grant_type=refresh_token&client%5Fassertion=y&client_id=c1&client_assertion_type=z",
        Ok("grant_type=refresh_token&client_id=c1&client_secret=s%26%3Ds"),
    );
}

#[test]
fn nobody_else_is_vouched_for() {
    for form in [
        "client_id=c1",
        "grant_type=client_credentials&client_id=c1",
        "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&client_id=c1",
        "grant_type=refresh_token&grant_type=client_credentials&client_id=c1",
        "grant_type=refresh_token&grant_type=refresh_token&client_id=c1",
    ] {
        check(form, Err(Unsigned::Grant));
    }
    for form in [
        "grant_type=refresh_token",
        "grant_type=refresh_token&client_id=c2",
        "grant_type=refresh_token&client_id=C1",
        "grant_type=refresh_token&client_id=c1&client_id=c2",
    ] {
        check(form, Err(Unsigned::ClientId));
    }
}

#[test]
fn an_assertion_is_what_entra_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    let pair = pair((2020, 2040));
    let credentials = load(dir.path(), &pair.certificate, &pair.key).unwrap();
    let assertion = |now| {
        let sent = credentials.parameters(CLIENT, now).unwrap();
        assert_eq!(sent[0].0, "client_assertion_type");
        assert_eq!(sent[1].0, "client_assertion");
        sent[1].1.reveal().clone()
    };
    let jwt = assertion(NOW);
    let header: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(jwt.split('.').next().unwrap())
            .unwrap(),
    )
    .unwrap();
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der.unwrap());
    assert_eq!(header["x5t#S256"], URL_SAFE_NO_PAD.encode(digest));

    let mut validation = Validation::new(Algorithm::PS256);
    validation.set_audience(&[CLIENT.token_endpoint]);
    validation.set_issuer(&["c1"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_rsa_der(&pair.public);
    let claims = jsonwebtoken::decode::<Value>(&jwt, &key, &validation)
        .unwrap()
        .claims;
    assert_eq!(claims["sub"], "c1");
    assert_eq!(claims["nbf"], NOW);
    assert!(claims["exp"].as_u64().unwrap() <= NOW + 600);
    // `jti` keeps an assertion from being taken for a replay of another.
    assert_ne!(assertion(NOW), jwt);
}

#[test]
fn problems_stand_at_their_setting() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (pair((2020, 2040)), pair((2020, 2040)));
    let check = |certificate: &str, key: &str, at: &str, what: &str| {
        let problems = load(dir.path(), certificate, key).unwrap_err();
        assert!(
            problems
                .iter()
                .any(|one| one.at == at && one.what.contains(what)),
            "{problems:?}"
        );
        let text = format!("{problems:?}");
        assert!(
            !text.contains("PRIVATE KEY") && !text.contains(key),
            "{text}"
        );
    };
    check(&ours.certificate, &other.key, "key", "does not belong");
    check(&ours.certificate, "no key", "key", "no private key");
    check("nothing", &ours.key, "certificate", "no certificate in");
    let curve = rcgen::KeyPair::generate().unwrap().serialize_pem();
    check(&ours.certificate, &curve, "key", "cannot be used");
}

#[test]
fn a_certificate_has_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let at = |years| {
        let pair = pair(years);
        let credentials = load(dir.path(), &pair.certificate, &pair.key).unwrap();
        credentials.problem_at(NOW).map(|problem| problem.what)
    };
    assert_eq!(at((2020, 2040)), None);
    assert!(at((2020, 2021)).unwrap().contains("expired at"));
    assert!(at((2039, 2040)).unwrap().contains("not valid before"));
}

#[test]
fn a_secret_is_never_shown() {
    let credentials = secret("hush");
    assert!(!format!("{credentials:?}").contains("hush"));
    let shown = serde_yaml::to_string(&credentials).unwrap();
    assert_eq!(shown, "client_secret:\n  env: S\n");
}

#[test]
fn a_secret_has_no_white_space() {
    for text in ["", "a b", "a\nb"] {
        let source = CredentialSource::ClientSecret(SecretSource::Env("S".to_owned()));
        let problems = ClientCredentials::load(source, Secret::new(text.to_owned())).unwrap_err();
        assert_eq!(problems[0].at, "client_secret");
    }
}

#[test]
fn one_kind_of_credentials_is_written() {
    let read = |text: Value| {
        serde_json::from_value::<CredentialSource>(text)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let key = json!({"file": "/k"});
    assert_eq!(read(json!({"certificate": "/c", "key": key})), Ok(()));
    let both = json!({"client_secret": {"env": "S"}, "certificate": "/c", "key": key});
    for (text, expect) in [
        (json!({}), "found neither"),
        (json!({"certificate": "/c"}), "expected the `key`"),
        (json!({ "key": key }), "expected the `certificate`"),
        (both, "found both"),
        (json!({"password": "x"}), "unknown field"),
    ] {
        let found = read(text).unwrap_err();
        assert!(found.contains(expect), "{found}");
    }
}

proptest! {
    #[test]
    fn any_form_is_refused_or_signed_once(form in "[a-z_=&%0-9]{0,60}") {
        let form = format!("grant_type=refresh_token&client_id=c1&{form}");
        if let Ok(signed) = secret("s").authenticate(form.as_bytes(), CLIENT, NOW) {
            prop_assert_eq!(once(&signed, "client_secret"), Some("s".to_owned()));
            prop_assert_eq!(once(&signed, "client_id"), Some("c1".to_owned()));
            let again = secret("s").authenticate(&signed, CLIENT, NOW).unwrap();
            prop_assert_eq!(again, signed);
        }
    }
}
