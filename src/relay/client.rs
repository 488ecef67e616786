//! Who wants to sign somebody in.
//!
//! A client is known by the id it sends: the configured one, or one that `/register` issued and that
//! holds name and redirect URIs of the client itself, sealed. Steps behind see the configured id
//! either way, since the provider knows no other. An id that nothing is known of is left as it is,
//! for the gates behind to refuse.

use http::request;
use mcp_gateway_filters::{
    Edits, Page, Response, is_loopback,
    pairs::{self, Change},
};
use serde_json::{Map, Value};

use super::{Hash, Seals, hash};
use crate::seal::{self, OpenError, SealError};

/// The longest name that is sealed, in characters.
const MAX_NAME: usize = 64;

/// A client that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its id as it sent it.
    pub id: String,
    /// What it calls itself.
    pub name: Option<String>,
    /// Its redirect URIs; empty when every allowed one will do.
    pub redirect_uris: Vec<String>,
    /// How it is known.
    pub source: Source,
}

/// How a client is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By the configured client id, which says nothing about it.
    Configured,
    /// By its registration, whose name nobody has checked.
    Registered,
    /// By the metadata that this host publishes about it.
    Published(String),
}

impl Client {
    /// What values are bound to that only this client may use.
    pub(super) fn hash(&self) -> Hash {
        hash(self.id.as_bytes())
    }

    /// Says whether codes for this client may go to `uri`.
    ///
    /// The port of a loopback address is chosen when a client starts (RFC 8252 §7.3), and the three
    /// names of loopback are one machine: some clients register one and listen on another.
    #[must_use]
    pub fn may_return_to(&self, uri: &str) -> bool {
        self.redirect_uris.is_empty()
            || self.redirect_uris.iter().any(|known| {
                known == uri
                    || (is_loopback(known) && is_loopback(uri) && behind(known) == behind(uri))
            })
    }
}

/// Returns what stands behind host and port of an http URI.
fn behind(uri: &str) -> &str {
    let rest = uri.strip_prefix("http://").unwrap_or(uri);
    let path = rest.find(['/', '?']).and_then(|at| rest.get(at..));
    match path {
        None | Some("") => "/",
        Some(path) => path,
    }
}

/// Where a client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the query of an authorization request.
    Query,
    /// In the form of a token request.
    Form,
}

/// What became of a request whose client was looked up.
#[derive(Debug)]
pub enum Resolved {
    /// It goes on: the client, where it is known, and what changes.
    Known(Option<Client>, Edits),
    /// It ends with a page.
    Refused(Response),
}

/// Knows clients by what they send, and issues ids.
#[derive(Debug)]
pub struct Clients {
    client_id: String,
}

impl Clients {
    /// Knows the configured client, and those with a sealed registration.
    #[must_use]
    pub fn new(client_id: String) -> Self {
        Self { client_id }
    }

    /// Returns the client id that parameters name, once.
    #[must_use]
    pub fn id(parameters: &[u8]) -> Option<String> {
        find(parameters, "client_id")
    }

    /// Finds out who sent a request, whose parameters are `raw`, and puts the configured client id
    /// in the place of the client's own.
    #[must_use]
    pub fn resolve(
        &self,
        seals: &Seals,
        place: Place,
        head: &request::Parts,
        raw: &[u8],
    ) -> Resolved {
        let Some(id) = find(raw, "client_id") else {
            return Resolved::Known(None, Edits::default());
        };
        if id == self.client_id {
            let client = Client {
                id,
                name: None,
                redirect_uris: vec![],
                source: Source::Configured,
            };
            return Resolved::Known(Some(client), Edits::default());
        }
        let client = match open(seals, &id) {
            Ok(client) => client,
            Err(error) => {
                log::debug!(error:%; "a client id is not known here");
                return Resolved::Known(None, Edits::default());
            }
        };
        self.admit(client, place, head, raw)
    }

    /// Lets a client go on that is known otherwise, with the configured client id in the place of
    /// its own.
    #[must_use]
    pub fn admit(
        &self,
        client: Client,
        place: Place,
        head: &request::Parts,
        raw: &[u8],
    ) -> Resolved {
        if place == Place::Query
            && let Some(uri) = find(raw, "redirect_uri")
            && !client.may_return_to(&uri)
        {
            let page = Page {
                what: "The application wants to return to an address that it did not register:",
                shown: Some(&uri),
                remedy: "Remove the server from your application and add it again. If you did not \
                         start this sign-in yourself, close this page: somebody may be after it.",
            };
            return Resolved::Refused(page.bad_request());
        }
        match self.replaced(place, head, raw) {
            Some(edits) => Resolved::Known(Some(client), edits),
            None => Resolved::Known(None, Edits::default()),
        }
    }

    fn replaced(&self, place: Place, head: &request::Parts, raw: &[u8]) -> Option<Edits> {
        let own = pairs::encode("client_id", &self.client_id).into_bytes();
        let changed = pairs::rewrite(raw, |pair| {
            if pair.is_named("client_id") {
                Change::Replace(own.clone())
            } else {
                Change::Keep
            }
        })?;
        Some(match place {
            Place::Query => Edits {
                target: Some(pairs::target(&head.uri, &changed).ok()?),
                ..Edits::default()
            },
            Place::Form => Edits {
                body: Some(changed.into()),
                ..Edits::default()
            },
        })
    }

    /// Puts a sealed registration in the place of the client id of a registration's answer
    /// (RFC 7591 §3.2.1).
    ///
    /// # Errors
    /// When what was registered does not fit into an id.
    pub fn issue(seals: &Seals, mut answer: Map<String, Value>) -> Result<Vec<u8>, SealError> {
        let name = answer.get("client_name").and_then(Value::as_str);
        let name: String = name.unwrap_or_default().chars().take(MAX_NAME).collect();
        let uris = answer.get("redirect_uris").and_then(Value::as_array);
        let uris = uris.into_iter().flatten().filter_map(Value::as_str);
        let mut parts = vec![name.as_bytes()];
        parts.extend(uris.map(str::as_bytes));
        let id = seals.registration.seal(&seal::join(&parts), b"")?;
        answer.insert("client_id".to_owned(), id.into());
        serde_json::to_vec(&answer).map_err(|_| SealError::Cipher)
    }
}

fn open(seals: &Seals, id: &str) -> Result<Client, OpenError> {
    let plain = seals.registration.open(id, b"")?;
    let parts = seal::split(&plain).ok_or(OpenError::Malformed)?;
    let mut texts = parts
        .into_iter()
        .map(|part| String::from_utf8(part.to_vec()).map_err(|_| OpenError::Malformed));
    let name = texts.next().ok_or(OpenError::Malformed)??;
    let redirect_uris: Vec<String> = texts.collect::<Result<_, _>>()?;
    if redirect_uris.is_empty() {
        return Err(OpenError::Malformed);
    }
    Ok(Client {
        id: id.to_owned(),
        name: (!name.is_empty()).then_some(name),
        redirect_uris,
        source: Source::Registered,
    })
}

/// Returns the decoded value of a parameter that stands there once and can be read in one way.
///
/// Also in another case of letters it would stand there twice: the gates refuse that.
pub(super) fn find(raw: &[u8], name: &str) -> Option<String> {
    let mut found = None;
    for pair in pairs::pairs(raw) {
        let (named, value) = pair.strict().ok()?;
        if named.eq_ignore_ascii_case(name) {
            if named != name || found.is_some() {
                return None;
            }
            found = Some(value.into_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::secret::Secret;

    const OWN: &str = "22222222-3333-4444-5555-666666666666";

    fn seals(key: u8) -> Seals {
        Seals::new(&[Secret::new([key; 32])]).unwrap()
    }

    fn issued(answer: &Value) -> String {
        let bytes = Clients::issue(&seals(1), answer.as_object().unwrap().clone()).unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        answer["client_id"].as_str().unwrap().to_owned()
    }

    fn registered() -> String {
        issued(&json!({
            "client_id": OWN,
            "client_name": "Claude Code",
            "redirect_uris": ["http://localhost:3118/callback", "https://app.test/cb?x=1"],
        }))
    }

    /// How a known client calls itself.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Named<'a> {
        By(&'a str),
        Not,
    }

    fn resolve(seals: &Seals, query: &str) -> Resolved {
        let head = http::Request::get(format!("/authorize?{query}"))
            .body(())
            .unwrap()
            .into_parts()
            .0;
        Clients::new(OWN.to_owned()).resolve(seals, Place::Query, &head, query.as_bytes())
    }

    fn check(query: &str, expect_target: Option<&str>, expect: Option<Named<'_>>) {
        let Resolved::Known(client, edits) = resolve(&seals(1), query) else {
            panic!("{query} is refused");
        };
        let target = edits.target.map(|target| target.to_string());
        assert_eq!(target.as_deref(), expect_target, "{query}");
        let found = client.as_ref().map(|client| match client.name.as_deref() {
            Some(name) => Named::By(name),
            None => Named::Not,
        });
        assert_eq!(found, expect, "{query}");
    }

    #[test]
    fn a_registration_is_its_own_client_id() {
        let id = registered();
        check(
            &format!("a=%2F&client_id={id}&b"),
            Some(&format!("/authorize?a=%2F&client_id={OWN}&b")),
            Some(Named::By("Claude Code")),
        );
        check(&format!("client_id={OWN}"), None, Some(Named::Not));
    }

    #[test]
    fn an_id_that_is_not_known_is_left_to_the_gates() {
        check("", None, None);
        check("client_id=other", None, None);
        let id = registered();
        check(&format!("client_id={id}&client_id={id}"), None, None);
        check(&format!("Client_Id={id}"), None, None);
        check(&format!("client_id={id}&x=%zz"), None, None);
        let Resolved::Known(None, _) = resolve(&seals(2), &format!("client_id={id}")) else {
            panic!("opened with another key");
        };
    }

    #[test]
    fn a_client_returns_to_what_it_registered() {
        let id = registered();
        for (uri, allowed) in [
            ("http://localhost:3118/callback", true),
            ("http://localhost:9/callback", true),
            ("http://127.0.0.1:9/callback", true),
            ("http://[::1]/callback", true),
            ("https://app.test/cb?x=1", true),
            ("http://localhost:3118/other", false),
            ("http://localhost:3118/callback?x", false),
            ("http://localhost.evil.test/callback", false),
            ("https://app.test/cb", false),
            ("https://evil.test/", false),
        ] {
            let encoded = pairs::encode("redirect_uri", uri);
            let found = resolve(&seals(1), &format!("client_id={id}&{encoded}"));
            assert_eq!(matches!(found, Resolved::Known(..)), allowed, "{uri}");
        }
    }

    #[test]
    fn loopback_without_a_path_is_its_root() {
        let client = Client {
            id: String::new(),
            name: None,
            redirect_uris: vec!["http://127.0.0.1".to_owned()],
            source: Source::Registered,
        };
        assert!(client.may_return_to("http://127.0.0.1:33418/"));
        assert!(!client.may_return_to("http://127.0.0.1:33418/x"));
    }

    #[test]
    fn what_does_not_fit_into_an_id_is_refused() {
        let uri = format!("https://app.test/{}", "x".repeat(2000));
        let answer = json!({ "redirect_uris": [uri] });
        assert_eq!(
            Clients::issue(&seals(1), answer.as_object().unwrap().clone()),
            Err(SealError::TooLong)
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        let id = issued(&json!({
            "client_name": "é".repeat(200),
            "redirect_uris": ["http://localhost/"],
        }));
        check(
            &format!("client_id={id}"),
            Some(&format!("/authorize?client_id={OWN}")),
            Some(Named::By(&"é".repeat(MAX_NAME))),
        );
    }

    proptest! {
        #[test]
        fn every_registration_comes_back(
            name in "[a-z é]{1,40}",
            uris in proptest::collection::vec("[a-z]{1,8}://[a-z/]{1,40}", 1..8),
        ) {
            let id = issued(&json!({ "client_name": name, "redirect_uris": uris }));
            let client = open(&seals(1), &id).unwrap();
            prop_assert_eq!(client.name, Some(name));
            prop_assert_eq!(client.redirect_uris, uris);
        }

        #[test]
        fn a_made_up_id_is_nobody(id in "[A-Za-z0-9_-]{0,400}") {
            prop_assert!(open(&seals(1), &id).is_err());
        }
    }
}
