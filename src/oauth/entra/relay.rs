//! What changes when sign-ins are relayed through the gateway's own callback.
//!
//! One redirect URI is registered at Entra, whatever clients listen on; clients get ids of their
//! own, and codes and refresh tokens that only the gateway can use.

use serde::Deserialize;

use super::{Endpoints, Settings, plain};
use crate::{
    oauth::{
        credentials::CredentialSource,
        plain::{Route, Setting, Step},
    },
    origin::Origin,
    secret::SecretSource,
};

const CALLBACK: &str = "/oauth2/callback";
const CONSENT: &str = "/oauth2/consent";

/// Which way a browser takes from the client to Entra and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorize {
    /// The client's own redirect URI goes to Entra, which sends the browser there.
    #[default]
    Passthrough,
    /// Entra sends the browser to the gateway, which asked before whether it may go on.
    Relay,
}

impl Settings {
    /// Says whether sign-ins come back to the gateway.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.authorize == Authorize::Relay
    }

    /// The redirect URI to register at Entra when sign-ins are relayed.
    #[must_use]
    pub fn callback(public: &Origin) -> String {
        public.join(CALLBACK)
    }

    /// The step that knows clients by ids of their own.
    pub(super) fn resolve_client(&self, place: &str) -> Option<Step> {
        let documents = &self.client_id_metadata;
        (self.is_relayed() || documents.is_on())
            .then(|| documents.known(place, self.client_id.as_str()))
    }

    /// What errors at the authorization endpoint name as `iss`: every answer does, or none.
    pub(super) fn issuer_of_errors(&self, public: &Origin) -> Option<Setting> {
        self.is_relayed().then(|| public.as_str().into())
    }

    /// The last step of the authorization endpoint.
    pub(super) fn leave(&self, public: &Origin, endpoints: &Endpoints) -> Step {
        if self.is_relayed() {
            relay("authorize", public, endpoints)
        } else {
            Step::new("redirect", [("to", endpoints.authorize.as_str().into())])
        }
    }

    /// The step that opens what only the gateway can use.
    pub(super) fn open_grant(&self, public: &Origin) -> Option<Step> {
        self.is_relayed()
            .then(|| Step::new("open_grant", [("callback", Self::callback(public).into())]))
    }

    /// The call of the token endpoint. Credentials go with what a relay has opened, and never with
    /// what a client brought as it is.
    pub(super) fn exchange(&self, endpoints: &Endpoints) -> Step {
        let credentials = self.credentials.as_ref().filter(|_| self.is_relayed());
        Step::new("exchange", [("url", endpoints.token.as_str().into())])
            .with(
                "client_id",
                credentials.map(|_| self.client_id.as_str().into()),
            )
            .with("credentials", credentials.map(written))
    }

    /// The name of the step that answers registrations.
    pub(super) fn registrar(&self) -> &'static str {
        if self.is_relayed() {
            "issue_client"
        } else {
            "register_client"
        }
    }

    /// The routes that only a relay has.
    pub(super) fn relay_routes(&self, public: &Origin, endpoints: &Endpoints) -> Vec<Route> {
        if !self.is_relayed() {
            return vec![];
        }
        let route = |path, station| plain(path, vec![relay(station, public, endpoints)]);
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

fn relay(station: &str, public: &Origin, endpoints: &Endpoints) -> Step {
    Step::new(
        "relay",
        [
            ("at", station.into()),
            ("to", endpoints.authorize.as_str().into()),
            ("callback", Settings::callback(public).into()),
            ("consent", public.join(CONSENT).into()),
            ("issuer", public.as_str().into()),
        ],
    )
}
