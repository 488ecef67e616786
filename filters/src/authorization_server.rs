//! Publishes the metadata of an authorization server (RFC 8414 and OpenID Connect Discovery).
//!
//! One document serves both well-known forms. It says what the gateway's sign-in accepts: the code
//! flow of public clients with S256, and refresh tokens. `issuer` is published as written, because
//! clients compare it byte for byte with `authorization_servers` of the resource.
//!
//! ```yaml
//! - authorization_server:
//!     issuer: https://mcp.example.com
//!     authorization_endpoint: https://mcp.example.com/oauth2/authorize
//!     token_endpoint: https://mcp.example.com/oauth2/token
//!     registration_endpoint: https://mcp.example.com/register
//!     jwks_uri: https://login.microsoftonline.com/common/discovery/v2.0/keys
//!     scopes: [openid, profile, email, offline_access]
//! ```

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Filter, FilterConfig, Problem,
    protected_resource::Metadata,
    reply,
    settings::{self, UrlRule},
};

/// Settings of `authorization_server`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthorizationServerConfig {
    /// The issuer: an https URL without query, fragment and trailing slash.
    issuer: String,
    /// Where a browser signs in. It has no query: clients append theirs, and a parameter that is
    /// then given twice is an error.
    authorization_endpoint: String,
    /// Where a code is exchanged.
    token_endpoint: String,
    /// Where a client registers, if anywhere.
    #[serde(default)]
    registration_endpoint: Option<String>,
    /// Where the signing keys of the tokens are.
    jwks_uri: String,
    /// The scopes that a client may ask for.
    scopes: Vec<String>,
    /// Whether every authorization response names the issuer (RFC 9207); clients then refuse those
    /// that do not.
    #[serde(default)]
    iss_parameter: bool,
    /// Whether a client id may be the URL of a document that describes the client.
    #[serde(default)]
    client_id_metadata: bool,
}

/// The document of RFC 8414 §2, with what OpenID Connect Discovery 1.0 §3 requires beside it.
#[derive(Debug, Serialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_endpoint: Option<String>,
    jwks_uri: String,
    scopes_supported: Vec<String>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    code_challenge_methods_supported: [&'static str; 1],
    token_endpoint_auth_methods_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    client_id_metadata_document_supported: bool,
}

impl FilterConfig for AuthorizationServerConfig {
    const NAME: &'static str = "authorization_server";
    const SUMMARY: &'static str = "Publishes the metadata of an authorization server (RFC 8414)";
    const SOURCE: &'static str = include_str!("authorization_server.rs");
    const ANSWERS: bool = true;

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_url("issuer", &self.issuer, UrlRule::Issuer, &mut problems);
        let endpoints = [
            ("authorization_endpoint", Some(&self.authorization_endpoint)),
            ("token_endpoint", Some(&self.token_endpoint)),
            ("registration_endpoint", self.registration_endpoint.as_ref()),
        ];
        for (at, url) in endpoints {
            if let Some(url) = url {
                settings::check_url(at, url, UrlRule::Endpoint, &mut problems);
            }
        }
        // Some providers tell their key sets apart by a query.
        settings::check_url(
            "jwks_uri",
            &self.jwks_uri,
            UrlRule::Destination,
            &mut problems,
        );
        settings::check_scopes("scopes", &self.scopes, &mut problems);
        let response = reply::metadata(&Document {
            issuer: self.issuer,
            authorization_endpoint: self.authorization_endpoint,
            token_endpoint: self.token_endpoint,
            registration_endpoint: self.registration_endpoint,
            jwks_uri: self.jwks_uri,
            scopes_supported: self.scopes,
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: ["authorization_code", "refresh_token"],
            code_challenge_methods_supported: ["S256"],
            token_endpoint_auth_methods_supported: ["none"],
            subject_types_supported: ["pairwise"],
            id_token_signing_alg_values_supported: ["RS256"],
            authorization_response_iss_parameter_supported: self.iss_parameter,
            client_id_metadata_document_supported: self.client_id_metadata,
        });
        Metadata::build(response, problems)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::testing::{cx, problems, reply, request, try_build_json};

    fn settings(issuer: &str, endpoint: &str) -> serde_json::Value {
        serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": endpoint,
            "token_endpoint": "https://gw.test/oauth2/token",
            "registration_endpoint": "https://gw.test/register",
            "jwks_uri": "https://idp.test/keys?appid=1",
            "scopes": ["openid", "offline_access"],
        })
    }

    #[test]
    fn the_document_serves_both_discovery_forms() {
        let yaml = settings("https://gw.test", "https://gw.test/oauth2/authorize");
        let filter = try_build_json("authorization_server", yaml).unwrap();
        let response = reply(filter.request(&cx(), &request("GET /")));
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r#"
        {
          "authorization_endpoint": "https://gw.test/oauth2/authorize",
          "code_challenge_methods_supported": [
            "S256"
          ],
          "grant_types_supported": [
            "authorization_code",
            "refresh_token"
          ],
          "id_token_signing_alg_values_supported": [
            "RS256"
          ],
          "issuer": "https://gw.test",
          "jwks_uri": "https://idp.test/keys?appid=1",
          "registration_endpoint": "https://gw.test/register",
          "response_modes_supported": [
            "query"
          ],
          "response_types_supported": [
            "code"
          ],
          "scopes_supported": [
            "openid",
            "offline_access"
          ],
          "subject_types_supported": [
            "pairwise"
          ],
          "token_endpoint": "https://gw.test/oauth2/token",
          "token_endpoint_auth_methods_supported": [
            "none"
          ]
        }
        "#);
    }

    #[test]
    fn who_names_the_issuer_in_every_response_says_so() {
        let mut yaml = settings("https://gw.test", "https://gw.test/oauth2/authorize");
        yaml["iss_parameter"] = true.into();
        let filter = try_build_json("authorization_server", yaml).unwrap();
        let response = reply(filter.request(&cx(), &request("GET /")));
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json["authorization_response_iss_parameter_supported"], true);
    }

    #[test]
    fn who_knows_clients_by_their_documents_says_so() {
        let mut yaml = settings("https://gw.test", "https://gw.test/oauth2/authorize");
        yaml["client_id_metadata"] = true.into();
        let filter = try_build_json("authorization_server", yaml).unwrap();
        let response = reply(filter.request(&cx(), &request("GET /")));
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(json["client_id_metadata_document_supported"], true);
    }

    #[test]
    fn mistakes_are_named() {
        let yaml = settings("https://gw.test/", "https://gw.test/a?prompt=login");
        assert_eq!(
            problems("authorization_server", &yaml.to_string()),
            [
                "issuer: `https://gw.test/` ends in a slash",
                "authorization_endpoint: `https://gw.test/a?prompt=login` holds a query",
            ]
        );
    }

    proptest! {
        #[test]
        fn an_issuer_is_published_as_written(issuer in "https://gw[.]test[a-z/:?#%. ]{0,10}") {
            let yaml = settings(&issuer, "https://gw.test/a");
            if let Ok(filter) = try_build_json("authorization_server", yaml) {
                let response = reply(filter.request(&cx(), &request("GET /")));
                let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
                prop_assert_eq!(json["issuer"].as_str().unwrap(), &issuer);
            }
        }
    }
}
