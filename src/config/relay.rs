//! The settings of the steps that relay a sign-in.

use std::sync::Arc;

use mcp_gateway_filters::Filter;
use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::{cimd, origin::Origin};

/// Who is signing somebody in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveClient {
    /// Where the client says who it is.
    #[serde(rename = "in")]
    pub place: Place,
    /// The client id that the provider knows.
    pub client_id: String,
    /// Whose metadata documents are fetched; none are when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id_metadata: Option<cimd::Config>,
}

/// Where parameters stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the query.
    Query,
    /// In the form.
    Form,
}

/// A station of a relayed sign-in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// Which one this is.
    pub at: Station,
    /// The authorization endpoint of the provider.
    pub to: Endpoint,
    /// Where the provider sends browsers back to.
    pub callback: Endpoint,
    /// Where the consent page posts its answer.
    pub consent: Endpoint,
    /// The issuer that clients know.
    pub issuer: Origin,
}

/// Where in a sign-in a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Station {
    /// A client asks, and the gateway asks a person.
    Authorize,
    /// The person answers.
    Consent,
    /// The provider has answered.
    Callback,
}

/// What clients bring to the token endpoint is opened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OpenGrant {
    /// Where the provider sent its codes.
    pub callback: Endpoint,
}

/// Registrations are answered with ids of their own.
#[derive(Clone, Debug)]
pub struct IssueClient {
    /// The filter that judges and answers them.
    pub filter: Arc<dyn Filter>,
}
