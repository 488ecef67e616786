//! Publishes the metadata of a protected resource (RFC 9728).
//!
//! The document is built once. `resource` is published as written, because clients compare it byte
//! for byte; it needs a path and no trailing slash, as URL parsers turn a bare origin into one with
//! a slash. `offline_access` is no scope of a resource and is refused here: it belongs into the
//! metadata of the authorization server.
//!
//! ```yaml
//! - protected_resource:
//!     resource: https://mcp.example.com/mcp
//!     authorization_servers: [https://mcp.example.com]
//!     scopes: [openid, profile, email]
//! ```

use http::{Method, request};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Context, Filter, FilterConfig, Problem, Refusal, Response, Verdict, reply,
    settings::{self, UrlRule},
};

/// Settings of `protected_resource`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProtectedResourceConfig {
    /// The public URL of the resource.
    resource: String,
    /// The issuers whose tokens it accepts, byte for byte as they publish themselves.
    authorization_servers: Vec<String>,
    /// The scopes that a client should ask for.
    #[serde(default)]
    scopes: Vec<String>,
    /// What a person calls the resource.
    #[serde(default)]
    name: Option<String>,
}

/// The document of RFC 9728 §2.
#[derive(Debug, Serialize)]
struct Document {
    resource: String,
    authorization_servers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<String>,
}

impl FilterConfig for ProtectedResourceConfig {
    const NAME: &'static str = "protected_resource";
    const SUMMARY: &'static str = "Publishes the metadata of a protected resource (RFC 9728)";
    const SOURCE: &'static str = include_str!("protected_resource.rs");
    const ANSWERS: bool = true;

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_url("resource", &self.resource, UrlRule::Resource, &mut problems);
        if self.authorization_servers.is_empty() {
            problems.push(Problem::new(
                "authorization_servers",
                "names no authorization server",
            ));
        }
        for (index, issuer) in self.authorization_servers.iter().enumerate() {
            let at = format!("authorization_servers[{index}]");
            settings::check_url(&at, issuer, UrlRule::Issuer, &mut problems);
        }
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        if let Some(index) = self
            .scopes
            .iter()
            .position(|scope| scope == "offline_access")
        {
            problems.push(
                Problem::new(
                    format!("scopes[{index}]"),
                    "`offline_access` is no scope of a resource",
                )
                .help("list it in the scopes of `authorization_server`"),
            );
        }
        let response = reply::metadata(&Document {
            resource: self.resource,
            authorization_servers: self.authorization_servers,
            scopes_supported: self.scopes,
            bearer_methods_supported: ["header"],
            resource_name: self.name,
        });
        Metadata::build(response, problems)
    }
}

/// A document that is read with GET and HEAD.
#[derive(Debug)]
pub(crate) struct Metadata {
    response: Response,
}

impl Metadata {
    /// Publishes the document unless it or the settings behind it are wrong.
    pub(crate) fn build(
        document: Result<Response, Problem>,
        mut problems: Vec<Problem>,
    ) -> Result<Box<dyn Filter>, Vec<Problem>> {
        match document {
            Ok(response) if problems.is_empty() => Ok(Box::new(Self { response })),
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.push(problem);
                Err(problems)
            }
        }
    }
}

impl Filter for Metadata {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        Ok(Verdict::Respond(
            if matches!(head.method, Method::GET | Method::HEAD) {
                self.response.clone()
            } else {
                reply::method_not_allowed("GET, HEAD")
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use crate::testing::{build, cx, problems, reply, request, try_build_json};

    const YAML: &str = "{ resource: 'https://gw.test/mcp', \
        authorization_servers: ['https://gw.test'], scopes: [openid], name: GitHub }";

    #[test]
    fn the_document_says_what_rfc_9728_asks() {
        let response = reply(build("protected_resource", YAML).request(&cx(), &request("GET /")));
        assert_eq!(response.headers()["content-type"], "application/json");
        assert_eq!(response.headers()["cache-control"], "public, max-age=300");
        insta::assert_snapshot!(
            String::from_utf8_lossy(response.body()),
            @r#"{"resource":"https://gw.test/mcp","authorization_servers":["https://gw.test"],"scopes_supported":["openid"],"bearer_methods_supported":["header"],"resource_name":"GitHub"}"#
        );
    }

    #[test]
    fn other_methods_are_told_what_is_served() {
        let filter = build("protected_resource", YAML);
        let head = reply(filter.request(&cx(), &request("HEAD /")));
        assert_eq!(head.status(), StatusCode::OK);
        let post = reply(filter.request(&cx(), &request("POST /")));
        assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(post.headers()["allow"], "GET, HEAD");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(
            problems(
                "protected_resource",
                "{ resource: 'https://gw.test', authorization_servers: ['https://gw.test/'], \
                 scopes: [offline_access] }"
            ),
            [
                "resource: `https://gw.test` has no path",
                "authorization_servers[0]: `https://gw.test/` ends in a slash",
                "scopes[0]: `offline_access` is no scope of a resource",
            ]
        );
    }

    proptest! {
        #[test]
        fn a_document_that_is_built_can_be_compared(path in "[a-z/?#@:. -]{0,12}") {
            let resource = format!("https://gw.test/{path}");
            let yaml = serde_json::json!({
                "resource": resource, "authorization_servers": ["https://gw.test"],
            });
            if let Ok(filter) = try_build_json("protected_resource", yaml) {
                let response = reply(filter.request(&cx(), &request("GET /")));
                let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
                prop_assert_eq!(json["resource"].as_str().unwrap(), &resource);
                prop_assert!(!resource.ends_with('/') && !resource.contains(['?', '#', ' ']));
            }
        }
    }
}
