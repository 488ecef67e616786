//! Providers other than Entra ID: their problems and notes, and whose tokens follow from them.

use super::{Endpoint, Identity, path, reader::Reader};
use crate::{
    egress,
    oauth::{self, Entra, Provider, ProviderBearer, ProviderSettings},
    origin::Origin,
};

/// Says what keeps clients' documents from being fetched.
pub(super) fn note_documents(
    reader: &mut Reader<'_>,
    entra: Option<&Entra>,
    provider: Option<&Provider>,
    egress: Option<&egress::Config>,
) {
    let (name, documents) = match (entra, provider) {
        (Some(entra), _) => ("entra", &entra.client_id_metadata),
        (None, Some(provider)) => (provider.name, &provider.client_id_metadata),
        (None, None) => return,
    };
    let proxied = egress.is_some_and(|egress| !egress.https_proxy.is_empty());
    if documents.is_open() && proxied {
        let what = "behind a proxy no client's document is fetched from a host that is not listed in \
                    `hosts`: the proxy looks names up, and nobody can check that they lead out of the \
                    house";
        let at = format!("authorization_server.{name}.client_id_metadata");
        reader.note(&at, what);
    }
}

/// Fills in what is known of a provider; `None` beside every problem.
pub(super) fn read(
    reader: &mut Reader<'_>,
    name: &str,
    settings: ProviderSettings,
    public: Option<&Origin>,
) -> Option<Provider> {
    let section = format!("authorization_server.{name}");
    let problems = match settings.provider(name) {
        Ok(provider) => {
            if provider.bearer == ProviderBearer::IdToken {
                let what = "clients get the id token as their bearer: it says who signed in to this \
                            client, not what the caller may do";
                reader.note(&section, what);
            }
            if provider.is_relayed()
                && let Some(callback) = public.map(oauth::callback)
            {
                let what = format!(
                    "register `{callback}` as the client's only redirect URI; those of MCP clients \
                     need not be registered"
                );
                reader.note(&format!("{section}.authorize"), what);
            }
            return Some(provider);
        }
        Err(problems) => problems,
    };
    for problem in problems {
        let at = path::join(&section, &problem.at);
        if let Some(help) = problem.help {
            reader.problem_help(&at, problem.what, help);
        } else {
            reader.problem(&at, problem.what);
        }
    }
    None
}

/// Returns whose tokens are accepted.
pub(super) fn identity(provider: &Provider) -> Option<Identity> {
    Some(Identity {
        issuer: provider.endpoints.issuer.clone(),
        v1_issuer: None,
        audiences: provider.audiences.clone(),
        audience_claim: provider.audience_claim.clone(),
        claims: provider.claims.clone(),
        tenant: None,
        tenants: vec![],
        jwks_uri: Endpoint::parse(&provider.endpoints.jwks).ok()?,
        scopes: provider.challenge_scopes(),
        step_up: None,
        token_scopes: vec![],
        groups: None,
    })
}
