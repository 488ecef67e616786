//! Made-up, changed and honest session ids.
#![no_main]

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use libfuzzer_sys::fuzz_target;
use mcp_gateway::{
    secret::Secret,
    session::{Claim, MAX_SEALED, Opened, Sealer},
};
use mcp_gateway_filters::Identity;

/// Version and key id, which everybody sees who has one sealed id.
const HEAD: usize = 5;

static SEALER: LazyLock<Sealer> = LazyLock::new(|| {
    Sealer::new(&[Secret::new([1; 32]), Secret::new([2; 32])]).expect("two good keys")
});
static SEALED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let claim = Claim {
        backend: "127.0.0.1:9100",
        id: "5e0cbd9e-9c1c-4f0e-8a44-6ad6f0fbb1d3",
    };
    let text = SEALER.seal(&claim, &user("ada"), "/mcp").expect("sealed");
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    refused(&text);
    refused(&URL_SAFE_NO_PAD.encode(data));
    refused(&URL_SAFE_NO_PAD.encode([&SEALED[..HEAD], data].concat()));
    changed(data);
    // A claim, its user and its route: one a line, the id last.
    let lines: Vec<&str> = text.splitn(4, '\n').collect();
    if let [user, route, backend, id] = lines.as_slice() {
        comes_back(user, route, backend, id);
    }
});

fn user(subject: &str) -> Identity {
    Identity {
        issuer: "https://login.test/v2.0".to_owned(),
        subject: subject.to_owned(),
        tenant: None,
        object: None,
        expires_at: 0,
        groups: mcp_gateway_filters::Groups::default(),
        roles: vec![],
        claims: serde_json::Map::new(),
    }
}

fn refused(text: &str) {
    let opened = SEALER.open(text, &user("ada"), "/mcp");
    assert!(opened.is_err(), "opened what was never sealed: {opened:?}");
}

/// The data is laid over a sealed id: what is not zero flips bits, what is longer is appended.
fn changed(data: &[u8]) {
    let mut bytes = SEALED.clone();
    bytes.resize(bytes.len().max(data.len()), 0);
    for (byte, change) in bytes.iter_mut().zip(data) {
        *byte ^= change;
    }
    if bytes != *SEALED {
        refused(&URL_SAFE_NO_PAD.encode(&bytes));
    }
    // Cut at each length that the data names.
    for length in data.iter().map(|byte| usize::from(*byte)) {
        if let Some(cut) = SEALED.get(..length)
            && length < SEALED.len()
        {
            refused(&URL_SAFE_NO_PAD.encode(cut));
        }
    }
}

fn comes_back(name: &str, route: &str, backend: &str, id: &str) {
    let Ok(sealed) = SEALER.seal(&Claim { backend, id }, &user(name), route) else {
        let visible = |text: &str| {
            let graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
            graphic && !text.is_empty() && text.len() <= 256
        };
        assert!(!visible(backend) || !visible(id), "refused without need");
        return;
    };
    assert!(sealed.len() <= MAX_SEALED && sealed.bytes().all(|byte| byte.is_ascii_graphic()));
    let expected = Opened {
        backend: backend.to_owned(),
        id: id.to_owned(),
    };
    assert_eq!(SEALER.open(&sealed, &user(name), route), Ok(expected));
    let other = format!("{name}x");
    assert!(SEALER.open(&sealed, &user(&other), route).is_err());
    let elsewhere = format!("{route}/");
    assert!(SEALER.open(&sealed, &user(name), &elsewhere).is_err());
    // One character more or less between two parts is another user on another route.
    if let Some((route, moved)) = route.char_indices().next_back() {
        let shorter = &elsewhere[..route];
        let moved = format!("{moved}{name}");
        assert!(SEALER.open(&sealed, &user(&moved), shorter).is_err());
    }
    let tenant = Identity {
        tenant: Some(String::new()),
        object: Some(name.to_owned()),
        ..user(name)
    };
    assert!(SEALER.open(&sealed, &tenant, route).is_err());
}
