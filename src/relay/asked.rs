//! An authorization request, as it waits for consent and as it is remembered behind `state`.

use mcp_gateway_filters::pairs::{self, pairs};

use super::{Hash, client::find};
use crate::seal;

/// Parameters that the relay sets itself; the others go on to the provider as they are.
const OWN: [&str; 6] = [
    "redirect_uri",
    "response_mode",
    "state",
    "code_challenge",
    "code_challenge_method",
    "iss",
];

/// The longest `state` of a client in bytes, as sent. It travels inside ours.
const MAX_STATE: usize = 2048;

/// Where the answer goes, and what binds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Back {
    /// The client that asked.
    pub(super) client: Hash,
    /// Where it wants the answer.
    pub(super) redirect_uri: String,
    /// Its `state`, byte for byte; missing when it sent none.
    pub(super) state: Option<String>,
    /// Its PKCE challenge (S256).
    pub(super) challenge: String,
}

/// An authorization request that the gates have let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) back: Back,
    /// What goes on to the provider: a query without the relay's own parameters.
    pub(super) onward: String,
}

/// Why a request that passed the gates cannot be relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("response_mode is not supported here: leave it out")]
    ResponseMode,
    #[error("state is longer than 2048 bytes")]
    LongState,
    #[error("the request lacks what a gate before this step requires")]
    Incomplete,
}

impl Asked {
    /// Reads a query; the faults come with where to report them, as far as that is known.
    pub(super) fn read(query: &str, client: Hash) -> Result<Self, (Fault, Option<Back>)> {
        let value = |name| find(query.as_bytes(), name);
        let raw = |name: &str| {
            let mut pairs = pairs(query.as_bytes());
            let pair = pairs.find(|pair| pair.is_named(name))?;
            std::str::from_utf8(pair.value).ok().map(str::to_owned)
        };
        let (Some(redirect_uri), Some(challenge)) =
            (value("redirect_uri"), value("code_challenge"))
        else {
            return Err((Fault::Incomplete, None));
        };
        let mut back = Back {
            client,
            redirect_uri,
            state: raw("state"),
            challenge,
        };
        if back
            .state
            .as_ref()
            .is_some_and(|state| state.len() > MAX_STATE)
        {
            back.state = None;
            return Err((Fault::LongState, Some(back)));
        }
        if value("response_mode").is_some_and(|mode| mode != "query") {
            return Err((Fault::ResponseMode, Some(back)));
        }
        let mut onward = Vec::new();
        for pair in pairs(query.as_bytes()) {
            // In another case of letters, too: the provider may not tell them apart.
            let (named, _) = pair.strict().map_err(|_| (Fault::Incomplete, None))?;
            let own = OWN.iter().any(|name| named.eq_ignore_ascii_case(name));
            if !own && !pair.raw.is_empty() {
                pairs::append(&mut onward, pair.raw);
            }
        }
        let onward = String::from_utf8(onward).map_err(|_| (Fault::Incomplete, None))?;
        Ok(Self { back, onward })
    }

    /// The decoded value of a parameter that goes on.
    pub(super) fn value(&self, name: &str) -> Option<String> {
        find(self.onward.as_bytes(), name)
    }

    /// Writes the request for a seal.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        seal::join(&[&self.back.to_bytes(), self.onward.as_bytes()])
    }

    /// Reads what [`Asked::to_bytes`] wrote.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let parts = seal::split(bytes)?;
        let [back, onward] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            back: Back::of_bytes(back)?,
            onward: text(onward)?,
        })
    }
}

impl Back {
    /// Writes the way back for a seal.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // An empty `state` is not a missing one: what the client sent comes back to it.
        let (given, state) = match &self.state {
            Some(state) => (&b"s"[..], state.as_bytes()),
            None => (&b""[..], &b""[..]),
        };
        seal::join(&[
            &self.client,
            self.redirect_uri.as_bytes(),
            given,
            state,
            self.challenge.as_bytes(),
        ])
    }

    /// Reads what [`Back::to_bytes`] wrote.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let parts = seal::split(bytes)?;
        let [client, redirect_uri, given, state, challenge] = parts.as_slice() else {
            return None;
        };
        Some(Self {
            client: (*client).try_into().ok()?,
            redirect_uri: text(redirect_uri)?,
            state: if given.is_empty() {
                None
            } else {
                Some(text(state)?)
            },
            challenge: text(challenge)?,
        })
    }

    /// Writes the query of an answer: the pairs, then `state` as it was sent, then `iss`.
    pub(super) fn query(&self, answer: &[(&str, &str)], issuer: &str) -> String {
        let mut query = String::new();
        for (name, value) in answer {
            query.push_str(&pairs::encode(name, value));
            query.push('&');
        }
        if let Some(state) = &self.state {
            query.push_str("state=");
            query.push_str(state);
            query.push('&');
        }
        query.push_str(&pairs::encode("iss", issuer));
        query
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "client_id=c&redirect_uri=http%3A%2F%2Flocalhost%2Fcb&response_type=code\
                        &scope=openid+email&code_challenge=E9&code_challenge_method=S256\
                        &state=a%2Fb+c%3D&login_hint=ada%40x.test";

    #[test]
    fn what_is_not_the_relays_goes_on_as_sent() {
        let asked = Asked::read(GOOD, [1; 32]).unwrap();
        assert_eq!(
            asked.onward,
            "client_id=c&response_type=code&scope=openid+email&login_hint=ada%40x.test"
        );
        assert_eq!(asked.back.redirect_uri, "http://localhost/cb");
        assert_eq!(asked.back.state.as_deref(), Some("a%2Fb+c%3D"));
        assert_eq!(asked.value("scope").as_deref(), Some("openid email"));
    }

    #[test]
    fn what_cannot_be_relayed_is_said() {
        let check = |query: String, expect: Fault| {
            assert_eq!(Asked::read(&query, [1; 32]).unwrap_err().0, expect);
        };
        check(
            format!("{GOOD}&response_mode=form_post"),
            Fault::ResponseMode,
        );
        check(GOOD.replace("a%2Fb", &"a".repeat(2049)), Fault::LongState);
        check(GOOD.replace("redirect_uri", "x"), Fault::Incomplete);
        assert!(Asked::read(&format!("{GOOD}&response_mode=query"), [1; 32]).is_ok());
    }

    #[test]
    fn an_answer_carries_the_state_byte_for_byte_and_the_issuer() {
        let mut back = Asked::read(GOOD, [1; 32]).unwrap().back;
        assert_eq!(
            back.query(&[("code", "a b")], "https://gw.test"),
            "code=a%20b&state=a%2Fb+c%3D&iss=https%3A%2F%2Fgw.test"
        );
        back.state = None;
        assert_eq!(
            back.query(&[], "https://gw.test"),
            "iss=https%3A%2F%2Fgw.test"
        );
    }

    proptest! {
        #[test]
        fn every_request_comes_back(
            state in proptest::option::of("[a-z%+]{0,40}"), uri in "\\PC{0,40}", onward in "\\PC{0,40}"
        ) {
            let back = Back { client: [7; 32], redirect_uri: uri, state, challenge: "E9".to_owned() };
            let asked = Asked { back, onward };
            prop_assert_eq!(Asked::of_bytes(&asked.to_bytes()), Some(asked));
        }

        #[test]
        fn arbitrary_bytes_are_no_request(bytes: Vec<u8>, query in "\\PC*") {
            prop_assert!(Asked::of_bytes(&bytes).is_none());
            let _ = Asked::read(&query, [0; 32]);
        }
    }
}
