//! `upstream_token`: what an upstream gets as proof of who calls, as written and as needed.
//!
//! What is written may leave out what the authorization server's profile says; `complete` writes it
//! in, so that `explain` shows everything, and returns the same with every secret at hand.

use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    reader::Reader,
    secrets::Secrets,
    token_client::{self, Missing, Profile, Proof},
};
use crate::{
    delegation,
    oauth::{Asked, Asking, Bearer},
    secret::{Secret, SecretSource},
};

/// What an upstream gets as `Authorization`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamToken {
    /// The caller's own, which ToolHive verifies again.
    #[default]
    Caller,
    /// Nothing.
    None,
    /// The same for every caller.
    Static(StaticToken),
    /// One that Entra gives on behalf of the caller.
    OnBehalfOf(Box<Asking<OnBehalfOf>>),
    /// One that an authorization server gives in exchange for the caller's (RFC 8693).
    Exchange(Box<Asking<TokenExchange>>),
}

/// Derived, it would be a YAML tag.
impl Serialize for UpstreamToken {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Caller => ser.serialize_str("caller"),
            Self::None => ser.serialize_str("none"),
            Self::Static(settings) => ser.collect_map([("static", settings)]),
            Self::OnBehalfOf(settings) => ser.collect_map([("on_behalf_of", settings)]),
            Self::Exchange(settings) => ser.collect_map([("exchange", settings)]),
        }
    }
}

/// A credential that is the same for every caller.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StaticToken {
    /// The header that carries the secret as it is; `Authorization: Bearer …` when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The secret.
    pub secret: SecretSource,
}

/// Entra's on-behalf-of flow.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OnBehalfOf {
    /// The scopes of the upstream's API.
    pub scopes: Vec<String>,
}

impl Asked for OnBehalfOf {
    const KEYS: &'static [&'static str] = &["scopes", "url", "client_id", "credentials"];
}

/// A token exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExchange {
    /// The name of the service that the new token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The URL of the service that the new token is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What the new token may be used for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// What kind of token the caller's is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
    /// What kind of token is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_token_type: Option<String>,
}

impl Asked for TokenExchange {
    const KEYS: &'static [&'static str] = &[
        "url",
        "audience",
        "resource",
        "scopes",
        "subject_token_type",
        "requested_token_type",
        "client_id",
        "credentials",
    ];
}

/// The same, with everything at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenSource {
    /// The caller's own.
    Caller,
    /// Nothing.
    #[default]
    None,
    /// A field with a secret.
    Static(Box<(HeaderName, Secret<HeaderValue>)>),
    /// One that is asked for.
    Delegated(Box<delegation::Config>),
}

/// Completes the settings at `base` and gathers what they need, or says what is wrong.
pub(super) fn complete(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    profile: Option<Profile<'_>>,
    base: &str,
    token: &mut UpstreamToken,
) -> Option<TokenSource> {
    match token {
        UpstreamToken::Caller => Some(TokenSource::Caller),
        UpstreamToken::None => Some(TokenSource::None),
        UpstreamToken::Static(settings) => {
            fixed(reader, secrets, &format!("{base}.static"), settings)
        }
        UpstreamToken::OnBehalfOf(settings) => {
            let base = format!("{base}.on_behalf_of");
            on_behalf_of(reader, secrets, profile, &base, settings)
        }
        UpstreamToken::Exchange(settings) => {
            let base = format!("{base}.exchange");
            exchange(reader, secrets, profile, &base, settings)
        }
    }
}

fn fixed(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    base: &str,
    settings: &StaticToken,
) -> Option<TokenSource> {
    let at = format!("{base}.secret");
    let secret = secrets.read(reader, &at, &settings.secret);
    let header = match &settings.header {
        None => Some(header::AUTHORIZATION),
        Some(name) => named(reader, &format!("{base}.header"), name),
    };
    let (secret, header) = (secret?, header?);
    let text = match settings.header {
        None => format!("Bearer {}", secret.reveal()),
        Some(_) => secret.reveal().clone(),
    };
    let Ok(mut value) = HeaderValue::try_from(text) else {
        reader.problem(
            &at,
            "the secret holds a character that a header cannot hold",
        );
        return None;
    };
    value.set_sensitive(true);
    Some(TokenSource::Static(Box::new((header, Secret::new(value)))))
}

/// Reads the name of a field for a secret; those that frame or route a message are none.
fn named(reader: &mut Reader<'_>, at: &str, name: &str) -> Option<HeaderName> {
    const TAKEN: [&str; 8] = [
        "host",
        "connection",
        "content-length",
        "content-type",
        "transfer-encoding",
        "mcp-session-id",
        "x-request-id",
        "accept",
    ];
    match HeaderName::try_from(name) {
        Ok(header)
            if !TAKEN.contains(&header.as_str())
                && !header.as_str().starts_with("x-forwarded-") =>
        {
            Some(header)
        }
        Ok(_) => {
            reader.problem(at, format!("header `{name}` is the gateway's to set"));
            None
        }
        Err(_) => {
            reader.problem(at, format!("expected the name of a header, found `{name}`"));
            None
        }
    }
}

fn on_behalf_of(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    profile: Option<Profile<'_>>,
    base: &str,
    settings: &mut Asking<OnBehalfOf>,
) -> Option<TokenSource> {
    if let Some(profile) = profile
        && profile.entra.bearer == Bearer::IdToken
    {
        let what = "callers come with id tokens, for which Entra gives nothing (AADSTS240002)";
        let help = "set `bearer: access_token` in `authorization_server.entra`";
        reader.problem_help(base, what, help);
        return None;
    }
    if settings.what.scopes.is_empty() {
        let what = "expected the scopes of the upstream's API, found none";
        let help = "write `scopes: [api://ID/.default]`";
        reader.problem_help(&format!("{base}.scopes"), what, help);
    }
    // A caller's token is only good in the hands of the application that it is for.
    let proof = match profile {
        Some(profile) => {
            let application = profile.entra.audience_application();
            token_client::complete(&mut settings.client, profile, application)
        }
        None => Proof::Own,
    };
    let missing = Missing {
        what: "Entra gives tokens on behalf of a user only to an application that proves who it is",
        help: "add the `credentials` of the application that callers' tokens are for, here or to `authorization_server.entra`",
    };
    let client = token_client::read(reader, secrets, base, &settings.client, proof, missing)?;
    Some(TokenSource::Delegated(Box::new(delegation::Config {
        url: client.url,
        client_id: Some(client.id),
        credentials: Some(client.credentials),
        grant: delegation::Grant::OnBehalfOf {
            scopes: settings.what.scopes.clone(),
        },
    })))
}

fn exchange(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    profile: Option<Profile<'_>>,
    base: &str,
    settings: &mut Asking<TokenExchange>,
) -> Option<TokenSource> {
    let Asking { what, client } = settings;
    let bearer = profile.map(|profile| profile.entra.bearer);
    let subject_token_type = what.subject_token_type.get_or_insert_with(|| {
        let kind = match bearer {
            Some(Bearer::IdToken) => "id_token",
            _ => "access_token",
        };
        format!("urn:ietf:params:oauth:token-type:{kind}")
    });
    let subject_token_type = subject_token_type.clone();
    let credentials = match &client.credentials {
        None => None,
        Some(_) if client.client_id.is_none() => {
            let what = "expected the `client_id` of the credentials, found none";
            reader.problem(base, what);
            return None;
        }
        Some(source) => {
            Some(secrets.credentials(reader, &format!("{base}.credentials"), source)?)
        }
    };
    Some(TokenSource::Delegated(Box::new(delegation::Config {
        url: token_client::url(reader, base, client)?,
        client_id: client.client_id.clone(),
        credentials,
        grant: delegation::Grant::Exchange(delegation::Exchange {
            subject_token_type,
            audience: what.audience.clone(),
            resource: what.resource.clone(),
            scopes: what.scopes.clone(),
            requested_token_type: what.requested_token_type.clone(),
        }),
    })))
}

#[cfg(test)]
mod tests;
