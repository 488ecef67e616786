//! `mcp:` and `toolhive_api:`, short for lists of steps.

use serde::Deserialize;

use super::{Identity, UpstreamToken, expanded::settings, gateway::upstream_path};
use crate::{
    oauth::{Setting, Step, resource_metadata},
    origin::Origin,
    router::Allow,
    units::Size,
};

const EXPOSED: [&str; 2] = ["WWW-Authenticate", "Mcp-Session-Id"];

/// A protected MCP route.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mcp {
    /// The upstream that serves it.
    pub(super) upstream: String,
    /// The path at the upstream; where ToolHive serves a workload when it is missing.
    #[serde(default, deserialize_with = "upstream_path")]
    path: Option<String>,
    /// What the upstream gets as `Authorization`.
    #[serde(default)]
    pub(super) upstream_token: UpstreamToken,
    /// Web pages that may call, beside those of `public_url`.
    #[serde(default)]
    allowed_origins: Vec<Origin>,
    /// Groups of which a caller must be in at least one; empty lets everyone of the tenant in.
    #[serde(default)]
    groups: Vec<String>,
    /// What a person may be told the resource is.
    #[serde(default)]
    pub(super) name: Option<String>,
    /// The largest request body.
    #[serde(default = "request_body_limit")]
    request_body_limit: Size,
}

const fn request_body_limit() -> Size {
    Size::mib(8)
}

/// The methods of an MCP route; `OPTIONS` is for preflights.
pub(super) const MCP_METHODS: [&str; 4] = ["GET", "POST", "DELETE", "OPTIONS"];

impl Mcp {
    pub(super) fn steps(&self, route: &str, public: &Origin, identity: &Identity) -> Vec<Step> {
        let origins = std::iter::once(public).chain(&self.allowed_origins);
        vec![
            cors(origins, &["GET", "POST", "DELETE"]),
            authenticate(&resource_metadata(public, route), identity, &self.groups),
            Step::new(
                "proxy",
                [
                    ("upstream", self.upstream.as_str().into()),
                    ("path", self.path.as_deref().unwrap_or("/mcp").into()),
                    ("sessions", Setting::Flag(true)),
                    ("upstream_token", settings(&self.upstream_token)),
                    (
                        "request_body_limit",
                        self.request_body_limit.to_string().into(),
                    ),
                ],
            ),
        ]
    }
}

/// ToolHive's management API. It starts containers and reads secrets, so it has no defaults: who
/// may call what is written out.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolhiveApi {
    /// The upstream that serves it.
    pub(super) upstream: String,
    /// Groups of which a caller must be in at least one.
    pub(super) groups: Vec<String>,
    /// What may be asked for.
    pub(super) allow: Vec<Allow>,
}

impl ToolhiveApi {
    /// Where the API is reached: everything that no other route takes.
    pub(super) const PATH: &'static str = "/*";

    pub(super) fn steps(&self, public: &Origin, identity: &Identity) -> Vec<Step> {
        let mut methods: Vec<&str> = self.allow.iter().map(|one| one.method.as_str()).collect();
        methods.sort_unstable();
        methods.dedup();
        let allow = self.allow.iter().map(ToString::to_string);
        vec![
            cors([public], &methods),
            authenticate(&resource_metadata(public, ""), identity, &self.groups),
            Step::new(
                "proxy",
                [
                    ("upstream", self.upstream.as_str().into()),
                    ("upstream_token", "none".into()),
                    ("response_head_timeout", "30s".into()),
                    ("allow", Setting::list(allow)),
                ],
            ),
        ]
    }
}

/// Only pages of these origins; workloads refuse a foreign `Origin` too, but after the token.
fn cors<'a>(origins: impl IntoIterator<Item = &'a Origin>, methods: &[&str]) -> Step {
    let origins = origins.into_iter().map(Origin::as_str);
    Step::new(
        "cors",
        [
            ("origins", Setting::list(origins)),
            ("methods", Setting::list(methods.iter().copied())),
            // The 2026-07-28 revision names headers after tools' parameters: they cannot be listed.
            ("headers", "any".into()),
            ("expose", Setting::list(EXPOSED)),
            ("max_age", Setting::Number(3600)),
            ("foreign", "refuse".into()),
        ],
    )
}

fn authenticate(resource_metadata: &str, identity: &Identity, groups: &[String]) -> Step {
    let groups = (!groups.is_empty()).then(|| Setting::list(groups));
    Step::new(
        "authenticate",
        [
            ("resource_metadata", resource_metadata.into()),
            ("scopes", Setting::list(&identity.scopes)),
        ],
    )
    .with("groups", groups)
}
