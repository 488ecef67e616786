//! Whom the gateway is at a token endpoint: completed from the profile, and read.

use super::{reader::Reader, secrets::Secrets};
use crate::{
    egress::Target,
    oauth::{ClientCredentials, Entra, TokenClient},
};

/// Whose profile completes what is left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile<'a> {
    pub(super) entra: &'a Entra,
    /// Missing when there are none, or none that could be read.
    pub(super) credentials: Option<&'a ClientCredentials>,
}

/// Where the credentials of a client were written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof<'a> {
    /// Beside its id, or nowhere.
    Own,
    /// In the profile; when they could not be read, that was complained about there.
    OfProfile(Option<&'a ClientCredentials>),
}

/// What is said where there are no credentials.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    pub(super) what: &'static str,
    pub(super) help: &'static str,
}

/// A client with everything at hand.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) url: String,
    pub(super) id: String,
    pub(super) credentials: ClientCredentials,
}

/// Writes in what the profile says already; `application` asks where no other is named.
pub(super) fn complete<'a>(
    client: &mut TokenClient,
    profile: Profile<'a>,
    application: &str,
) -> Proof<'a> {
    let Profile { entra, credentials } = profile;
    let endpoints = entra.endpoints();
    client.url.get_or_insert(endpoints.token_of_tenant);
    let id = client
        .client_id
        .get_or_insert_with(|| application.to_owned());
    if client.credentials.is_some() || id != entra.client_id.as_str() {
        return Proof::Own;
    }
    client.credentials.clone_from(&entra.credentials);
    match client.credentials {
        Some(_) => Proof::OfProfile(credentials),
        None => Proof::Own,
    }
}

/// Gathers what a client at `base` needs that must prove who it is, or says everything that is wrong.
pub(super) fn read(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    base: &str,
    client: &TokenClient,
    proof: Proof<'_>,
    missing: Missing,
) -> Option<Known> {
    let credentials = match (proof, &client.credentials) {
        (Proof::OfProfile(known), _) => known.cloned(),
        (Proof::Own, Some(source)) => {
            secrets.credentials(reader, &format!("{base}.credentials"), source)
        }
        (Proof::Own, None) => {
            reader.problem_help(base, missing.what, missing.help);
            None
        }
    };
    let url = url(reader, base, client);
    let id = needed(reader, base, "client_id", client.client_id.as_ref());
    Some(Known {
        url: url?,
        id: id?,
        credentials: credentials?,
    })
}

/// Returns the token endpoint of a client at `base`.
pub(super) fn url(reader: &mut Reader<'_>, base: &str, client: &TokenClient) -> Option<String> {
    let url = needed(reader, base, "url", client.url.as_ref())?;
    called(reader, &format!("{base}.url"), url)
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
