//! A signed token (RFC 7515, RFC 7519) read strictly, and what its claims must say (RFC 8725).
//!
//! Pure: no key is looked up and no signature verified here.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_gateway_filters::{Groups, Identity};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{Denied, Issuer, TENANT, issuer_of, keys::MAX_KID};

/// The longest token, in bytes. Entra's with 200 groups are about 11 KiB.
pub(super) const MAX_TOKEN: usize = 16 * 1024;
/// How far `nbf` and `iat` may be ahead, in seconds: the issuer's clock is not ours. `exp` has no leeway.
pub(super) const SKEW: u64 = 60;

/// Microsoft Graph, by application id and by name; the national clouds have names of their own.
const GRAPH: [&str; 5] = [
    "00000003-0000-0000-c000-000000000000",
    "https://graph.microsoft.com",
    "https://graph.microsoft.us",
    "https://dod-graph.microsoft.us",
    "https://microsoftgraph.chinacloudapi.cn",
];

/// A token whose form is in order and whose signature nobody has looked at.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// The name of the key that is said to have signed it.
    pub(super) kid: String,
    /// The bytes that were signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    payload: &'a str,
}

/// An accepted token.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) identity: Identity,
    /// The later of `nbf` and `iat`, 0 when there is neither.
    pub(super) not_before: u64,
    /// The issuer under which the tenant's keys are published, whatever the token's version.
    pub(super) key_issuer: String,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart and judges its header.
    pub(super) fn parse(token: &'a str) -> Result<Self, Denied> {
        if token.len() > MAX_TOKEN {
            return Err(Denied::TooLong);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Denied::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Denied::Malformed)?;
        if payload.contains('.') {
            return Err(Denied::Malformed);
        }
        let header = object(header)?;
        let text = |name: &str| header.get(name).map(Value::as_str);
        if text("alg") != Some(Some("RS256")) {
            return Err(Denied::Algorithm);
        }
        // Entra hashes this member before it signs, so that only Graph can verify the token.
        if header.contains_key("nonce") {
            return Err(Denied::GraphToken);
        }
        let extended = ["crit", "b64", "zip"]
            .iter()
            .any(|name| header.contains_key(*name));
        let typed = text("typ").is_none_or(|typ| typ.is_some_and(is_jwt));
        let kid = text("kid")
            .flatten()
            .filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID);
        match kid {
            Some(kid) if typed && !extended => Ok(Self {
                kid: kid.to_owned(),
                message: message.as_bytes(),
                signature: decode(signature)?,
                payload,
            }),
            _ => Err(Denied::Header),
        }
    }

    /// Judges the claims; to be called once the signature has been verified.
    pub(super) fn accept(&self, expected: &Issuer, now: u64) -> Result<Accepted, Denied> {
        let claims = object(self.payload)?;
        let audiences = audiences(&claims, &expected.audience_claim)?;
        let issuer = required(&claims, "iss")?;
        let subject = required(&claims, "sub")?;
        let expires_at = number(&claims, "exp")?.ok_or(Denied::Missing)?;
        let not_before = number(&claims, "nbf")?.max(number(&claims, "iat")?);
        let tenant = optional(&claims, "tid")?;
        let object = optional(&claims, "oid")?;

        // Before the issuer, which may be another one for Graph: the better sentence wins.
        if audiences.iter().any(|aud| GRAPH.contains(aud)) {
            return Err(Denied::GraphToken);
        }
        let is_template = expected.issuer.contains(TENANT);
        if is_template {
            check_tenant(expected, tenant)?;
        }
        let key_issuer = issuer_of(&expected.issuer, tenant).into_owned();
        check_issuer(expected, &claims, &key_issuer)?;
        if !audiences
            .iter()
            .any(|aud| expected.audiences.iter().any(|ours| ours == aud))
        {
            return Err(Denied::Audience);
        }
        for (name, value) in &expected.claims {
            if required(&claims, name)? != value {
                return Err(Denied::Kind);
            }
        }
        if !is_template {
            check_tenant(expected, tenant)?;
        }
        check_scopes(expected, &claims)?;
        if now >= expires_at {
            return Err(Denied::Expired);
        }
        let not_before = not_before.unwrap_or(0);
        if now.saturating_add(SKEW) < not_before {
            return Err(Denied::NotYetValid);
        }
        let identity = Identity {
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            tenant: tenant.map(str::to_owned),
            object: object.map(str::to_owned),
            expires_at,
            groups: groups(&claims),
            roles: texts(&claims, "roles").unwrap_or_default(),
            claims,
        };
        Ok(Accepted {
            identity,
            not_before,
            key_issuer,
        })
    }
}

/// Looks for one of our scopes in `scp`, which Entra writes as a list with blanks.
fn check_scopes(expected: &Issuer, claims: &Map<String, Value>) -> Result<(), Denied> {
    if expected.scopes.is_empty() {
        return Ok(());
    }
    let held = optional(claims, "scp")?.unwrap_or_default();
    let ours = |scope: &str| expected.scopes.iter().any(|one| one == scope);
    if held.split(' ').any(ours) {
        Ok(())
    } else {
        Err(Denied::Scope)
    }
}

fn check_tenant(expected: &Issuer, found: Option<&str>) -> Result<(), Denied> {
    match found {
        _ if expected.tenants.is_empty() => Ok(()),
        None => Err(Denied::Missing),
        Some(found) if expected.tenants.iter().any(|ours| ours == found) => Ok(()),
        Some(_) => Err(Denied::Tenant),
    }
}

/// Compares `iss` with the one of the tenant, or, for tokens that say to be of version 1.0, with the
/// one of that version.
fn check_issuer(expected: &Issuer, claims: &Map<String, Value>, ours: &str) -> Result<(), Denied> {
    let issuer = required(claims, "iss")?;
    if issuer == ours {
        return Ok(());
    }
    // Other issuers write other types here, and their tokens are refused for the issuer.
    let is_v1 = claims.get("ver").and_then(Value::as_str) == Some("1.0");
    let tenant = optional(claims, "tid")?;
    match &expected.v1_issuer {
        _ if !is_v1 => Err(Denied::Issuer),
        None => Err(Denied::Version),
        Some(v1) if issuer_of(v1, tenant) == issuer => Ok(()),
        Some(_) => Err(Denied::Issuer),
    }
}

/// The groups that the token lists; a token that had too many says where they could be asked for
/// instead, by `_claim_names` (OpenID Connect Core §5.6.2) or `hasgroups`. That place is in the
/// token's own words and never asked.
fn groups(claims: &Map<String, Value>) -> Groups {
    let elsewhere = claims
        .get("_claim_names")
        .is_some_and(|names| names.get("groups").is_some());
    let many = claims
        .get("hasgroups")
        .is_some_and(|many| *many != Value::Bool(false));
    match texts(claims, "groups") {
        // A list in words that are not understood is not an empty one.
        Some(groups) if !elsewhere && !many => Groups::Known(groups.into()),
        _ => Groups::Unresolved,
    }
}

/// A list of texts; one text is a list of one, a missing claim an empty list, anything else none.
fn texts(claims: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
    match claims.get(name) {
        None => Some(vec![]),
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    }
}

/// RFC 7515 §4.1.9: a media type, whose `application/` may be left out and whose case is free.
fn is_jwt(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(
        typ.strip_prefix("application/").unwrap_or(&typ),
        "jwt" | "at+jwt"
    )
}

/// Unpadded base64url (RFC 7515 §2); padding, blanks and stray bits are refused.
fn decode(part: &str) -> Result<Vec<u8>, Denied> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, Denied> {
    let json = decode(part)?;
    match serde_json::from_slice::<Unique>(&json) {
        Ok(Unique(object)) => Ok(object),
        Err(error) if error.to_string().starts_with(TWICE) => Err(Denied::Duplicate),
        Err(_) => Err(Denied::Malformed),
    }
}

fn required<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<&'c str, Denied> {
    optional(claims, name)?
        .filter(|text| !text.is_empty())
        .ok_or(Denied::Missing)
}

fn optional<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, Denied> {
    claims
        .get(name)
        .map(|value| value.as_str().ok_or(Denied::ClaimType))
        .transpose()
}

/// A `NumericDate` (RFC 7519 §2) in whole seconds, which is what issuers write.
fn number(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Denied> {
    claims
        .get(name)
        .map(|value| value.as_u64().ok_or(Denied::ClaimType))
        .transpose()
}

fn audiences<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Vec<&'c str>, Denied> {
    match claims.get(name) {
        None => Err(Denied::Missing),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().ok_or(Denied::ClaimType))
            .collect(),
        Some(_) => Err(Denied::ClaimType),
    }
}

/// What the error of a repeated member begins with; no other error of the reader does.
const TWICE: &str = "a member occurs twice";

/// A JSON object that names no member twice; RFC 7519 §4 lets a reader refuse the others.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom(TWICE));
                    }
                }
                Ok(Unique(object))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests;
