//! What is done about tokens that do not list their user's groups, as written in `gateway.yaml`.

use serde::{Deserialize, Serialize};

use super::token_client::Asked;

/// Whether anybody is asked for the groups that a token does not list, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GroupSettings {
    /// What is done when a token has too many groups to list them.
    #[serde(default)]
    pub overage: Overage,
    /// The base of Microsoft Graph; the cloud's own when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<String>,
}

impl Asked for GroupSettings {
    const KEYS: &'static [&'static str] = &["overage", "graph", "url", "client_id", "credentials"];
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
