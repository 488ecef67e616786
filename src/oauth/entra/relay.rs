//! What changes at Entra when sign-ins are relayed through the gateway's own callback.

use super::{Endpoints, Settings};
use crate::{
    oauth::{
        plain::{Route, Setting, Step},
        way::{self, Way},
    },
    origin::Origin,
};

pub use crate::oauth::way::Authorize;

impl Settings {
    /// Says whether sign-ins come back to the gateway.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.way().is_relayed()
    }

    /// The redirect URI to register at Entra when sign-ins are relayed.
    #[must_use]
    pub fn callback(public: &Origin) -> String {
        way::callback(public)
    }

    fn way(&self) -> Way<'_> {
        Way {
            authorize: self.authorize,
            client_id: self.client_id.as_str(),
            documents: &self.client_id_metadata,
            credentials: self.credentials.as_ref(),
        }
    }

    pub(super) fn resolve_client(&self, place: &str) -> Option<Step> {
        self.way().resolve_client(place)
    }

    pub(super) fn issuer_of_errors(&self, public: &Origin) -> Option<Setting> {
        self.way().issuer_of_errors(public)
    }

    pub(super) fn leave(&self, public: &Origin, endpoints: &Endpoints) -> Step {
        self.way().leave(public, &endpoints.authorize)
    }

    pub(super) fn open_grant(&self, public: &Origin) -> Option<Step> {
        self.way().open_grant(public)
    }

    pub(super) fn exchange(&self, endpoints: &Endpoints) -> Step {
        self.way().exchange(&endpoints.token)
    }

    pub(super) fn registrar(&self) -> &'static str {
        self.way().registrar()
    }

    pub(super) fn relay_routes(&self, public: &Origin, endpoints: &Endpoints) -> Vec<Route> {
        self.way().routes(public, &endpoints.authorize)
    }
}
