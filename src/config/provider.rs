//! `authorization_server`: which profile it is, and whose tokens follow from it.

use super::{Endpoint, Identity, path, reader::Reader};
use crate::{
    egress,
    oauth::{self, Entra, Protected, Provider, ProviderBearer, ProviderSettings},
    origin::Origin,
};

/// An authorization server's profile.
#[derive(Debug)]
pub(super) enum AuthorizationServer {
    Entra(Entra),
    Other(Provider),
}

impl AuthorizationServer {
    /// Returns the path of its section.
    pub(super) fn section(&self) -> String {
        let name = match self {
            Self::Entra(_) => "entra",
            Self::Other(provider) => provider.name,
        };
        format!("authorization_server.{name}")
    }

    /// Writes every route that clients need to sign in.
    pub(super) fn routes(&self, public: &Origin, protected: &[Protected]) -> Vec<oauth::Route> {
        match self {
            Self::Entra(entra) => entra.routes(public, protected),
            Self::Other(provider) => provider.routes(public, protected),
        }
    }
}

/// Says what keeps clients' documents from being fetched.
pub(super) fn note_documents(
    reader: &mut Reader<'_>,
    server: Option<&AuthorizationServer>,
    egress: Option<&egress::Config>,
) {
    let documents = match server {
        Some(AuthorizationServer::Entra(entra)) => &entra.client_id_metadata,
        Some(AuthorizationServer::Other(provider)) => &provider.client_id_metadata,
        None => return,
    };
    let section = server.map(AuthorizationServer::section).unwrap_or_default();
    let proxied = egress.is_some_and(|egress| !egress.https_proxy.is_empty());
    if documents.is_open() && proxied {
        let what = "behind a proxy no client's document is fetched from a host that is not listed in \
                    `hosts`: the proxy looks names up, and nobody can check that they lead out of the \
                    house";
        reader.note(&format!("{section}.client_id_metadata"), what);
    }
}

/// Fills in what is known of a provider; `None` beside every problem.
pub(super) fn read(
    reader: &mut Reader<'_>,
    name: &str,
    settings: ProviderSettings,
) -> Option<Provider> {
    let section = format!("authorization_server.{name}");
    let problems = match settings.provider(name) {
        Ok(provider) => {
            if provider.bearer == ProviderBearer::IdToken {
                let what = "clients get the id token as their bearer: it says who signed in to this \
                            client, not what the caller may do";
                reader.note(&section, what);
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
    })
}
