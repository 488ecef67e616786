//! Which way a browser takes from a client to the provider and back, as steps: the same for every
//! provider.
//!
//! With a relay one redirect URI is registered at the provider, whatever clients listen on; clients
//! get ids of their own, and codes and refresh tokens that only the gateway can use.

use serde::Deserialize;

use super::{
    client_id_metadata::ClientIdMetadata,
    credentials::CredentialSource,
    plain::{Route, Setting, Step},
};
use crate::{origin::Origin, secret::SecretSource};

const CALLBACK: &str = "/oauth2/callback";
const CONSENT: &str = "/oauth2/consent";

/// Which way a browser takes from the client to the provider and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorize {
    /// The client's own redirect URI goes to the provider, which sends the browser there.
    #[default]
    Passthrough,
    /// The provider sends the browser to the gateway, which asked before whether it may go on.
    Relay,
}

/// Returns the redirect URI to register at the provider when sign-ins are relayed.
#[must_use]
pub fn callback(public: &Origin) -> String {
    public.join(CALLBACK)
}

/// The way of one provider's sign-ins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    pub(super) authorize: Authorize,
    /// The client id that the provider knows.
    pub(super) client_id: &'a str,
    pub(super) documents: &'a ClientIdMetadata,
    pub(super) credentials: Option<&'a CredentialSource>,
}

impl Way<'_> {
    /// Says whether sign-ins come back to the gateway.
    pub(super) fn is_relayed(self) -> bool {
        self.authorize == Authorize::Relay
    }

    /// The step that knows clients by ids of their own.
    pub(super) fn resolve_client(self, place: &str) -> Option<Step> {
        (self.is_relayed() || self.documents.is_on())
            .then(|| self.documents.resolve_client(place, self.client_id))
    }

    /// What errors at the authorization endpoint name as `iss`: every answer does, or none.
    pub(super) fn issuer_of_errors(self, public: &Origin) -> Option<Setting> {
        self.is_relayed().then(|| public.as_str().into())
    }

    /// The last step of the authorization endpoint; `to` is the provider's.
    pub(super) fn leave(self, public: &Origin, to: &str) -> Step {
        if self.is_relayed() {
            relay("authorize", public, to)
        } else {
            Step::new("redirect", [("to", to.into())])
        }
    }

    /// The step that opens what only the gateway can use.
    pub(super) fn open_grant(self, public: &Origin) -> Option<Step> {
        self.is_relayed()
            .then(|| Step::new("open_grant", [("callback", callback(public).into())]))
    }

    /// The call of the token endpoint. Credentials go with what a relay has opened, and never with
    /// what a client brought as it is.
    pub(super) fn exchange(self, url: &str) -> Step {
        let credentials = self.credentials.filter(|_| self.is_relayed());
        Step::new("exchange", [("url", url.into())])
            .with("client_id", credentials.map(|_| self.client_id.into()))
            .with("credentials", credentials.map(written))
    }

    /// The name of the step that answers registrations.
    pub(super) fn registrar(self) -> &'static str {
        if self.is_relayed() {
            "issue_client"
        } else {
            "register_client"
        }
    }

    /// The routes that only a relay has; `to` is the provider's authorization endpoint.
    pub(super) fn routes(self, public: &Origin, to: &str) -> Vec<Route> {
        if !self.is_relayed() {
            return vec![];
        }
        let route = |path: &str, station| Route {
            path: path.to_owned(),
            methods: vec![],
            filters: vec![relay(station, public, to)],
        };
        vec![route(CONSENT, "consent"), route(CALLBACK, "callback")]
    }
}

fn written(credentials: &CredentialSource) -> Setting {
    match credentials {
        CredentialSource::ClientSecret(secret) => Setting::map([("client_secret", source(secret))]),
        CredentialSource::Certificate { certificate, key } => Setting::map([
            ("certificate", certificate.display().to_string().into()),
            ("key", source(key)),
        ]),
    }
}

fn source(secret: &SecretSource) -> Setting {
    match secret {
        SecretSource::Env(name) => Setting::map([("env", name.as_str().into())]),
        SecretSource::File(path) => Setting::map([("file", path.display().to_string().into())]),
    }
}

fn relay(station: &str, public: &Origin, to: &str) -> Step {
    Step::new(
        "relay",
        [
            ("at", station.into()),
            ("to", to.into()),
            ("callback", callback(public).into()),
            ("consent", public.join(CONSENT).into()),
            ("issuer", public.as_str().into()),
        ],
    )
}
