//! What is done about tokens that do not list their user's groups, as written in `gateway.yaml`.

use serde::{Deserialize, Serialize};

use super::credentials::CredentialSource;

/// Whom to ask for the groups that a token does not list, and as whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// What is done when a token has too many groups to list them.
    #[serde(default)]
    pub overage: Overage,
    /// The base of Microsoft Graph; the cloud's own when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
    /// The token endpoint; `{tenantid}` in it stands for the user's tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The application that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How it proves that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialSource>,
}

/// What is done when a token has too many groups to list them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overage {
    /// Graph is asked by the application itself, which needs `GroupMember.Read.All`.
    Graph,
    /// Graph is asked on behalf of the user; needs access tokens as bearers.
    OnBehalfOf,
    /// Nothing: rules that depend on groups refuse such users.
    #[default]
    Unresolved,
}
