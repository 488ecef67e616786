//! `upstream_token`: what an upstream gets as proof of who calls, as written and as needed.
//!
//! What is written may leave out what the authorization server's profile says; `complete` writes it
//! in, so that `explain` shows everything, and returns the same with every secret at hand.

use http::{HeaderName, HeaderValue, header};
use serde::{Deserialize, Serialize, Serializer};

use super::{reader::Reader, secrets::Secrets};
use crate::{
    delegation,
    egress::Target,
    oauth::{Bearer, ClientCredentials, CredentialSource, Entra},
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
    OnBehalfOf(Box<OnBehalfOf>),
    /// One that an authorization server gives in exchange for the caller's (RFC 8693).
    Exchange(Box<TokenExchange>),
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
    /// The token endpoint; `{tenantid}` in it stands for the caller's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The application that callers' tokens are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How the gateway proves that it is this application.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
}

/// A token exchange.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenExchange {
    /// The token endpoint.
    pub url: String,
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
    /// Whom the gateway acts as, where the server asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How it proves that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
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

/// Whose profile completes what is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile<'a> {
    pub(super) entra: &'a Entra,
    /// Missing when there are none, or none that could be read.
    pub(super) credentials: Option<&'a ClientCredentials>,
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
    settings: &mut OnBehalfOf,
) -> Option<TokenSource> {
    if let Some(profile) = profile
        && profile.entra.bearer == Bearer::IdToken
    {
        let what = "callers come with id tokens, for which Entra gives nothing (AADSTS240002)";
        let help = "set `bearer: access_token` in `authorization_server.entra`";
        reader.problem_help(base, what, help);
        return None;
    }
    if settings.scopes.is_empty() {
        let what = "expected the scopes of the upstream's API, found none";
        let help = "write `scopes: [api://ID/.default]`";
        reader.problem_help(&format!("{base}.scopes"), what, help);
    }
    let own = settings.credentials.is_some();
    if let Some(Profile { entra, .. }) = profile {
        let endpoints = entra.endpoints();
        settings.url.get_or_insert(endpoints.token_of_tenant);
        // A caller's token is only good in the hands of the application that it is for.
        let client_id = settings
            .client_id
            .get_or_insert_with(|| entra.audience_application().to_owned());
        if !own && client_id == entra.client_id.as_str() {
            settings.credentials.clone_from(&entra.credentials);
        }
    }
    let url = needed(reader, base, "url", settings.url.as_ref());
    let client_id = needed(reader, base, "client_id", settings.client_id.as_ref());
    let credentials = match (&settings.credentials, profile) {
        (Some(source), _) if own || profile.is_none() => {
            secrets.credentials(reader, &format!("{base}.credentials"), source)
        }
        // Read for the profile already, and complained about there.
        (Some(_), Some(profile)) => profile.credentials.cloned(),
        _ => {
            let what = "Entra gives tokens on behalf of a user only to an application that proves who it is";
            let help = "add the `credentials` of the application that callers' tokens are for, here or to `authorization_server.entra`";
            reader.problem_help(base, what, help);
            None
        }
    };
    let url = called(reader, &format!("{base}.url"), url?)?;
    Some(TokenSource::Delegated(Box::new(delegation::Config {
        url,
        client_id: Some(client_id?),
        credentials: Some(credentials?),
        grant: delegation::Grant::OnBehalfOf {
            scopes: settings.scopes.clone(),
        },
    })))
}

fn exchange(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    profile: Option<Profile<'_>>,
    base: &str,
    settings: &mut TokenExchange,
) -> Option<TokenSource> {
    let bearer = profile.map(|profile| profile.entra.bearer);
    let subject_token_type = settings.subject_token_type.get_or_insert_with(|| {
        let kind = match bearer {
            Some(Bearer::IdToken) => "id_token",
            _ => "access_token",
        };
        format!("urn:ietf:params:oauth:token-type:{kind}")
    });
    let subject_token_type = subject_token_type.clone();
    let credentials = match &settings.credentials {
        None => None,
        Some(_) if settings.client_id.is_none() => {
            let what = "expected the `client_id` of the credentials, found none";
            reader.problem(base, what);
            return None;
        }
        Some(source) => {
            Some(secrets.credentials(reader, &format!("{base}.credentials"), source)?)
        }
    };
    let url = called(reader, &format!("{base}.url"), settings.url.clone())?;
    Some(TokenSource::Delegated(Box::new(delegation::Config {
        url,
        client_id: settings.client_id.clone(),
        credentials,
        grant: delegation::Grant::Exchange(delegation::Exchange {
            subject_token_type,
            audience: settings.audience.clone(),
            resource: settings.resource.clone(),
            scopes: settings.scopes.clone(),
            requested_token_type: settings.requested_token_type.clone(),
        }),
    })))
}

/// Names a setting that no profile completes.
pub(super) fn needed(
    reader: &mut Reader<'_>,
    base: &str,
    key: &str,
    value: Option<&String>,
) -> Option<String> {
    if value.is_none_or(String::is_empty) {
        reader.problem(base, format!("missing key `{key}`"));
        return None;
    }
    value.cloned()
}

/// Checks a URL that the gateway calls.
pub(super) fn called(reader: &mut Reader<'_>, at: &str, url: String) -> Option<String> {
    match Target::parse(&url.replace("{tenantid}", "common")) {
        Ok(_) => Some(url),
        Err(why) => {
            reader.problem(at, why.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests;
