//! A token answer (RFC 6749 §5.1), read strictly and changed without being written anew.
//!
//! What filters of token answers share: which heads are taken and what of them goes, the members of
//! the one JSON object, and the payload of a JWT that came straight from its issuer. No signature is checked here: over
//! TLS the sender is known (OpenID Connect Core §3.1.3.7), and a token is verified when it is used.

use std::{collections::BTreeSet, fmt};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header, request, response};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{BodyPlan, Context, Filter, HeaderEdit, Refusal, ResponseEdits, reply, scan};

/// The largest token answer that is read, in bytes.
pub(crate) const LIMIT: usize = 1024 * 1024;
/// How long before its end a token is given out as expired, in seconds: clients renew it before
/// the gateway, which grants no leeway, refuses it.
const MARGIN: u64 = 60;

/// What a client gets of the tokens in a success.
pub(crate) trait HandOut: Send + Sync + fmt::Debug {
    /// Returns the body for the client; `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When there is no token that may be handed out.
    fn hand_out(&self, now: u64, body: &[u8]) -> Result<Vec<u8>, Refusal>;
}

/// The filter of a token answer: a success is handed out, other answers pass, redirects do not.
#[derive(Debug)]
pub(crate) struct TokenAnswer<T>(pub(crate) T);

impl<T: HandOut> Filter for TokenAnswer<T> {
    fn response(
        &self,
        _: &Context<'_>,
        request: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        judge(request, head)
    }

    fn response_body(
        &self,
        cx: &Context<'_>,
        _: &request::Parts,
        head: &response::Parts,
        body: Bytes,
    ) -> Result<Bytes, Refusal> {
        if head.status.is_success() {
            self.0.hand_out(cx.now, &body).map(Bytes::from)
        } else {
            Ok(body)
        }
    }
}

/// Judges the head of an answer, and has the body of a success held.
///
/// Cookies, CORS headers, host policies and diagnostics of the provider are removed from every
/// answer, and none may be stored.
///
/// # Errors
/// When it is a redirect, which no token endpoint makes, or a success in anything but plain JSON.
fn judge(request: &request::Parts, head: &response::Parts) -> Result<ResponseEdits, Refusal> {
    let mut edits = ResponseEdits::default();
    let dropped = head.headers.keys().filter(|name| is_of_provider(name));
    edits
        .headers
        .extend(dropped.cloned().map(HeaderEdit::Remove));
    edits
        .headers
        .push(HeaderEdit::Set(header::CACHE_CONTROL, reply::NO_STORE));
    edits.headers.push(HeaderEdit::Set(
        header::PRAGMA,
        HeaderValue::from_static("no-cache"),
    ));
    if request.method == Method::OPTIONS {
        return Ok(edits);
    }
    if head.status.is_redirection() || head.status.is_informational() {
        return Err(Refusal::bad_gateway(
            "the identity provider answered with a redirect where a token was expected",
        ));
    }
    if head.status.is_success() {
        let coded = head.headers.get_all(header::CONTENT_ENCODING).iter();
        if !reply::is_json(&head.headers) || coded.into_iter().any(|coding| coding != "identity") {
            return Err(Refusal::bad_gateway(
                "the identity provider did not answer with plain JSON",
            ));
        }
        edits.body = BodyPlan::Gather { limit: LIMIT };
    }
    Ok(edits)
}

/// Says whether a header speaks of the provider, or for its host: on the gateway's own host a
/// `Strict-Transport-Security` or `Alt-Svc` of the provider would be a policy that nobody chose.
fn is_of_provider(name: &HeaderName) -> bool {
    let name = name.as_str();
    matches!(
        name,
        "alt-svc"
            | "clear-site-data"
            | "nel"
            | "p3p"
            | "report-to"
            | "reporting-endpoints"
            | "set-cookie"
            | "strict-transport-security"
    ) || name.starts_with("access-control-")
        || name.starts_with("x-ms-")
}

/// Returns what is left of a token less the margin, in seconds; `None` when nothing is.
pub(crate) fn lifetime(exp: u64, now: u64) -> Option<u64> {
    exp.checked_sub(now.saturating_add(MARGIN))
        .filter(|left| *left > 0)
}

/// A JWT in its three parts, of which nothing but the alphabet has been looked at.
pub(crate) struct Jwt<'a> {
    header: &'a str,
    payload: &'a str,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` when it is not three parts of base64url.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let segment = |part: &str| !part.is_empty() && scan::all(part.as_bytes(), base64url);
        // A fourth part is no base64url either, for the dot before it.
        let (header, rest) = token.split_once('.')?;
        let (payload, signature) = rest.split_once('.')?;
        [header, payload, signature]
            .into_iter()
            .all(segment)
            .then_some(Self { header, payload })
    }

    /// Reads the header; `None` when it is no object of that shape.
    pub(crate) fn header<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&object(self.header)?).ok()
    }

    /// Returns the payload, decoded; `None` when it is no object.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        object(self.payload)
    }
}

/// Decodes a part that must hold an object.
fn object(part: &str) -> Option<Vec<u8>> {
    let decoded = URL_SAFE_NO_PAD.decode(part).ok()?;
    (decoded.trim_ascii_start().first() == Some(&b'{')).then_some(decoded)
}

/// The members of a JSON object in order, their values as they are written.
pub(crate) struct Members<'a> {
    text: &'a str,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Reads one object of distinct members.
    ///
    /// # Errors
    /// When it is anything else: what stands there twice has no single reading.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| not_an_object())?;
        let Distinct(members) = serde_json::from_str(text).map_err(|_| not_an_object())?;
        Ok(Self { text, members })
    }

    /// Returns the value of a member as it is written.
    pub(crate) fn find(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.members.iter().find(|(found, _)| found == name)?;
        Some(value)
    }

    /// Returns a member that must be a string if it is there and not null.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let Some(value) = self.find(name) else {
            return Ok(None);
        };
        serde_json::from_str(value.get()).map_err(|_| {
            Refusal::bad_gateway(format!(
                "the member `{name}` of the identity provider's answer is not a string"
            ))
        })
    }

    /// Returns the access token of a bearer answer.
    ///
    /// # Errors
    /// When there is none, or when it is of another type.
    pub(crate) fn bearer(&self) -> Result<String, Refusal> {
        match self.text("token_type")? {
            Some(kind) if kind.eq_ignore_ascii_case("bearer") => {}
            _ => {
                return Err(Refusal::bad_gateway(
                    "the identity provider did not give out a bearer token",
                ));
            }
        }
        self.text("access_token")?
            .ok_or_else(|| Refusal::bad_gateway("the identity provider gave out no access token"))
    }

    /// Writes the object with new values; every other byte stays. A member that is missing is not
    /// added, except those of `add`.
    ///
    /// # Errors
    /// When the object has no end, which one that was read has.
    pub(crate) fn with(&self, changes: &[(&str, String)], add: &str) -> Result<Vec<u8>, Refusal> {
        let mut splices: Vec<(usize, usize, &str)> = changes
            .iter()
            .filter_map(|(name, new)| {
                let value = self.find(name)?.get();
                // The value is borrowed from the text, so its distance from the beginning is its
                // place.
                let at = value
                    .as_ptr()
                    .addr()
                    .checked_sub(self.text.as_ptr().addr())?;
                Some((at, value.len(), new.as_str()))
            })
            .collect();
        splices.sort_unstable();

        let mut written = String::with_capacity(self.text.len());
        let mut copied = 0;
        for (at, length, new) in splices {
            written.push_str(self.text.get(copied..at).unwrap_or_default());
            written.push_str(new);
            copied = at + length;
        }
        let rest = self.text.get(copied..).unwrap_or_default();
        let added = changes
            .iter()
            .find(|(name, _)| *name == add && self.find(add).is_none());
        let Some((name, value)) = added else {
            written.push_str(rest);
            return Ok(written.into_bytes());
        };
        // The object has members, so the new one follows another.
        let end = rest.rfind('}').ok_or_else(not_an_object)?;
        let (before, after) = rest.split_at_checked(end).ok_or_else(not_an_object)?;
        for piece in [before, ",\"", name, "\":", value, after] {
            written.push_str(piece);
        }
        Ok(written.into_bytes())
    }
}

/// Writes a text as JSON.
pub(crate) fn quoted(text: &str) -> Result<String, Refusal> {
    serde_json::to_string(text).map_err(|_| not_an_object())
}

fn not_an_object() -> Refusal {
    Refusal::bad_gateway(
        "the identity provider did not answer with one JSON object of distinct members",
    )
}

/// An object none of whose members stands there twice.
struct Distinct<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Distinct<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of distinct members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                let mut seen = BTreeSet::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if !seen.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a member is given twice"));
                    }
                    members.push((name, value));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(MembersVisitor).map(Distinct)
    }
}
