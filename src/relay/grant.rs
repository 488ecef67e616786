//! The token endpoint's side: a client's code or refresh token becomes the provider's, and back.
//!
//! A code opens for the client it was made for, within minutes, with the redirect URI and the
//! verifier of the request it answers; what is then redeemed is the provider's code, with the
//! verifier that only the gateway knew. That it is redeemed once is the provider's to see, which
//! every replica asks. A refresh token opens for its client only: one that was stolen elsewhere, in
//! the clear, is worth nothing here.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::StatusCode;
use mcp_gateway_filters::{
    Refusal,
    pairs::{self, Change},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, Hash, Seals, challenge, client::find};
use crate::seal::{self, OpenError};

/// How long a refresh token opens, in seconds: as long as Entra's own live unused, 90 days.
const REFRESH_LIFETIME: u64 = 90 * 86_400;

/// Opens what clients bring to the token endpoint, and seals what they get there.
#[derive(Debug)]
pub struct Grants {
    seals: Arc<Seals>,
    callback: String,
}

/// What a code holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Where the code was sent.
    pub(super) redirect_uri: String,
    /// The client's challenge.
    pub(super) challenge: String,
    /// The provider's code, not redeemed yet.
    pub(super) code: String,
    /// The verifier of the challenge that the provider was given.
    pub(super) verifier: String,
}

impl Held {
    /// Seals a code for a client.
    pub(super) fn seal(
        &self,
        seals: &Seals,
        client: &Hash,
        expires_at: u64,
    ) -> Result<String, seal::SealError> {
        let plain = seal::join(&[
            self.redirect_uri.as_bytes(),
            self.challenge.as_bytes(),
            self.code.as_bytes(),
            self.verifier.as_bytes(),
        ]);
        seals.code.until(expires_at, &plain, client)
    }

    fn open(seals: &Seals, text: &str, client: &Hash, now: u64) -> Result<Self, OpenError> {
        let plain = seals.code.at(now, text, client)?;
        let parts = seal::split(&plain).ok_or(OpenError::Malformed)?;
        let texts: Option<Vec<String>> = parts
            .into_iter()
            .map(|part| String::from_utf8(part.to_vec()).ok())
            .collect();
        let texts: [String; 4] = texts
            .and_then(|texts| texts.try_into().ok())
            .ok_or(OpenError::Malformed)?;
        let [redirect_uri, challenge, code, verifier] = texts;
        Ok(Self {
            redirect_uri,
            challenge,
            code,
            verifier,
        })
    }
}

impl Grants {
    /// Grants for codes that the provider sends to `callback`.
    #[must_use]
    pub fn new(seals: Arc<Seals>, callback: String) -> Self {
        Self { seals, callback }
    }

    /// Puts the provider's code or refresh token into a client's form.
    ///
    /// # Errors
    /// `invalid_grant` for everything that this client may not use, or not any more.
    pub fn open(&self, client: &Client, form: &[u8], now: u64) -> Result<Bytes, Refusal> {
        match find(form, "grant_type").as_deref() {
            Some("authorization_code") => self.open_code(client, form, now),
            Some("refresh_token") => self.open_refresh_token(client, form, now),
            // No gate stands before this step, or it let another grant through.
            _ => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "unsupported_grant_type",
                "only the grants authorization_code and refresh_token are served here",
            )),
        }
    }

    fn open_code(&self, client: &Client, form: &[u8], now: u64) -> Result<Bytes, Refusal> {
        let text = find(form, "code").unwrap_or_default();
        let held = Held::open(&self.seals, &text, &client.hash(), now)
            .map_err(|error| refused("code", error))?;
        if find(form, "redirect_uri").as_deref() != Some(held.redirect_uri.as_str()) {
            return Err(invalid_grant(
                "the redirect_uri is not the one that the code was sent to",
            ));
        }
        let verifier = find(form, "code_verifier").unwrap_or_default();
        let proof = challenge(&verifier);
        if verify_slices_are_equal(proof.as_bytes(), held.challenge.as_bytes()).is_err() {
            return Err(invalid_grant(
                "the code_verifier does not belong to the code_challenge of the request",
            ));
        }
        let replaced = replace(
            form,
            &[
                ("code", &held.code),
                ("code_verifier", &held.verifier),
                ("redirect_uri", &self.callback),
            ],
        );
        Ok(replaced)
    }

    fn open_refresh_token(&self, client: &Client, form: &[u8], now: u64) -> Result<Bytes, Refusal> {
        let text = find(form, "refresh_token").unwrap_or_default();
        let opened = self.seals.refresh_token.at(now, &text, &client.hash());
        let token = opened
            .and_then(|token| String::from_utf8(token).map_err(|_| OpenError::Malformed))
            .map_err(|error| refused("refresh token", error))?;
        Ok(replace(form, &[("refresh_token", &token)]))
    }

    /// Seals the refresh token of a token answer for the client that gets it; every other byte stays.
    ///
    /// # Errors
    /// When the answer cannot be read: what is in it could be a token that is not sealed.
    pub fn seal(&self, client: &Client, answer: Bytes, now: u64) -> Result<Bytes, Refusal> {
        #[derive(Deserialize)]
        struct Members<'a> {
            #[serde(borrow)]
            refresh_token: Option<&'a RawValue>,
        }
        let unreadable =
            || Refusal::bad_gateway("the answer of the identity provider cannot be read");
        // A list would be read as a struct whose members come in order.
        if answer.trim_ascii_start().first() != Some(&b'{') {
            return Err(unreadable());
        }
        let text = std::str::from_utf8(&answer).map_err(|_| unreadable())?;
        let members: Members<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
        let Some(raw) = members.refresh_token.map(RawValue::get) else {
            return Ok(answer);
        };
        let token: String = serde_json::from_str(raw).map_err(|_| unreadable())?;
        let expires_at = now + REFRESH_LIFETIME;
        let sealed = self
            .seals
            .refresh_token
            .until(expires_at, token.as_bytes(), &client.hash())
            .map_err(|_| Refusal::bad_gateway("the refresh token cannot be sealed"))?;
        // The value is borrowed from the text, so its distance from the beginning is its place.
        let at = raw.as_ptr().addr().checked_sub(text.as_ptr().addr());
        let (before, rest) = at
            .and_then(|at| text.split_at_checked(at))
            .ok_or_else(unreadable)?;
        let after = rest.get(raw.len()..).ok_or_else(unreadable)?;
        Ok(format!("{before}\"{sealed}\"{after}").into())
    }
}

/// Puts values in the place of those that a form has; the others stay byte for byte.
fn replace(form: &[u8], new: &[(&str, &str)]) -> Bytes {
    let changed = pairs::rewrite(form, |pair| {
        match new.iter().find(|(name, _)| pair.is_named(name)) {
            Some((name, value)) => Change::Replace(pairs::encode(name, value).into_bytes()),
            None => Change::Keep,
        }
    });
    changed.map_or_else(|| Bytes::copy_from_slice(form), Bytes::from)
}

fn refused(what: &str, error: OpenError) -> Refusal {
    Refusal::new(
        StatusCode::BAD_REQUEST,
        "invalid_grant",
        match error {
            OpenError::Expired => format!("the {what} has expired: sign in again"),
            OpenError::UnknownKey => {
                format!("the {what} was sealed with a key that is gone: sign in again")
            }
            OpenError::Malformed | OpenError::TooLong => {
                format!("the {what} is not one that this server gave out: sign in again")
            }
            OpenError::Forged => {
                format!("the {what} was given to another client, or changed: sign in again")
            }
        },
    )
}

fn invalid_grant(description: &'static str) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "invalid_grant", description)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{relay::Source, secret::Secret};

    const NOW: u64 = 1_800_000_000;
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CALLBACK: &str = "https://gw.test/oauth2/callback";

    fn grants(key: u8) -> Grants {
        let seals = Seals::new(&[Secret::new([key; 32])]).unwrap();
        Grants::new(Arc::new(seals), CALLBACK.to_owned())
    }

    fn client(id: &str) -> Client {
        Client {
            id: id.to_owned(),
            name: None,
            redirect_uris: vec![],
            source: Source::Configured,
        }
    }

    fn code() -> String {
        let held = Held {
            redirect_uri: "http://localhost:3118/cb".to_owned(),
            challenge: challenge(VERIFIER),
            code: "1.A/x y".to_owned(),
            verifier: "ours".to_owned(),
        };
        let seals = &grants(1).seals;
        held.seal(seals, &client("ada").hash(), NOW + 300).unwrap()
    }

    fn form(code: &str) -> String {
        format!(
            "grant_type=authorization_code&client_id=own&code={code}&code_verifier={VERIFIER}\
             &redirect_uri=http%3A%2F%2Flocalhost%3A3118%2Fcb&x=%2f"
        )
    }

    fn check_refused(grants: &Grants, client_id: &str, form: &str, now: u64, says: &str) {
        let refusal = grants
            .open(&client(client_id), form.as_bytes(), now)
            .unwrap_err();
        assert_eq!(refusal.code, "invalid_grant");
        assert!(refusal.description.contains(says), "{refusal}");
    }

    #[test]
    fn a_code_becomes_that_of_the_provider() {
        let opened = grants(1).open(&client("ada"), form(&code()).as_bytes(), NOW);
        assert_eq!(
            opened.unwrap(),
            "grant_type=authorization_code&client_id=own&code=1.A%2Fx%20y&code_verifier=ours\
             &redirect_uri=https%3A%2F%2Fgw.test%2Foauth2%2Fcallback&x=%2f"
        );
    }

    #[test]
    fn a_code_is_for_its_client_its_time_and_its_request() {
        let (one, good) = (grants(1), form(&code()));
        check_refused(&one, "bob", &good, NOW, "another client");
        check_refused(&one, "ada", &good, NOW + 300, "expired");
        check_refused(&grants(2), "ada", &good, NOW, "key that is gone");
        check_refused(
            &one,
            "ada",
            &form("1.Araw"),
            NOW,
            "not one that this server",
        );
        let other = good.replace("3118", "3119");
        check_refused(&one, "ada", &other, NOW, "redirect_uri");
        let missing = good.replace("redirect_uri", "x");
        check_refused(&one, "ada", &missing, NOW, "redirect_uri");
        let verifier = good.replace(VERIFIER, &VERIFIER.to_lowercase());
        check_refused(&one, "ada", &verifier, NOW, "code_verifier");
    }

    #[test]
    fn a_refresh_token_goes_out_sealed_and_comes_back_open() {
        let grants = grants(1);
        let answer = r#"{"a":1.0,"refresh_token" : "0.A\/x" ,"b":[]}"#;
        let sealed = grants.seal(&client("ada"), answer.into(), NOW).unwrap();
        let sealed = std::str::from_utf8(&sealed).unwrap();
        assert!(sealed.starts_with(r#"{"a":1.0,"refresh_token" : ""#));
        assert!(sealed.ends_with(r#"" ,"b":[]}"#));
        let token = sealed.split('"').nth(5).unwrap();
        let form = format!("grant_type=refresh_token&refresh_token={token}&scope=a+b");
        assert_eq!(
            grants.open(&client("ada"), form.as_bytes(), NOW + 86_400),
            Ok("grant_type=refresh_token&refresh_token=0.A%2Fx&scope=a+b".into())
        );
        check_refused(&grants, "bob", &form, NOW, "another client");
        check_refused(&grants, "ada", &form, NOW + REFRESH_LIFETIME, "expired");
        let raw = "grant_type=refresh_token&refresh_token=0.A";
        check_refused(
            &grants,
            "ada",
            raw,
            NOW,
            "not one that this server gave out",
        );
        let as_code = self::form(token);
        check_refused(&grants, "ada", &as_code, NOW, "key that is gone");
    }

    #[test]
    fn an_answer_without_a_refresh_token_stays_as_it_is() {
        let seal = |answer: &'static str| grants(1).seal(&client("ada"), answer.into(), NOW);
        assert_eq!(seal("{}").unwrap(), "{}");
        assert_eq!(
            seal(r#"{"refresh_token":null}"#).unwrap(),
            r#"{"refresh_token":null}"#
        );
        for unreadable in [
            r#"{"refresh_token":"a","refresh_token":"b"}"#,
            r#"{"refresh_token":{}}"#,
            r#"["a"]"#,
            "",
        ] {
            assert!(seal(unreadable).is_err(), "{unreadable}");
        }
    }

    proptest! {
        #[test]
        fn no_made_up_grant_opens(text in "[A-Za-z0-9_-]{0,600}", form in "\\PC*") {
            let grants = grants(1);
            prop_assert!(grants.open(&client("ada"), self::form(&text).as_bytes(), NOW).is_err());
            let refresh = format!("grant_type=refresh_token&refresh_token={text}");
            prop_assert!(grants.open(&client("ada"), refresh.as_bytes(), NOW).is_err());
            prop_assert!(grants.open(&client("ada"), form.as_bytes(), NOW).is_err());
        }

        #[test]
        fn no_changed_code_opens(at: proptest::sample::Index, to in "[A-Za-z0-9_-]") {
            let mut code = code();
            let at = at.index(code.len());
            prop_assume!(code[at..=at] != *to);
            code.replace_range(at..=at, &to);
            prop_assert!(grants(1).open(&client("ada"), form(&code).as_bytes(), NOW).is_err());
        }

        #[test]
        fn every_refresh_token_survives(token in "\\PC{1,200}") {
            let grants = grants(1);
            let answer = serde_json::json!({ "refresh_token": token }).to_string();
            let sealed = grants.seal(&client("ada"), answer.into(), NOW).unwrap();
            let sealed: serde_json::Value = serde_json::from_slice(&sealed).unwrap();
            let form = pairs::encode("refresh_token", sealed["refresh_token"].as_str().unwrap());
            let form = format!("grant_type=refresh_token&{form}");
            let opened = grants.open(&client("ada"), form.as_bytes(), NOW).unwrap();
            prop_assert_eq!(find(&opened, "refresh_token"), Some(token));
        }
    }
}
