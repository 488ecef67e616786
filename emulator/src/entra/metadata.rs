//! The documents a tenant publishes: configuration and keys.
//!
//! What is absent matters as much as what is there: no `code_challenge_methods_supported`, no
//! `registration_endpoint`, and nothing at the paths of RFC 8414.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;

use super::directory::Directory;
use super::state::State;
use crate::keys::Jwks;
use crate::reply;

const JSON: &str = "application/json; charset=utf-8";

/// `{authority}/{tenant}/v2.0/.well-known/openid-configuration`.
pub(super) fn configuration(state: &State, directory: &Directory, segment: &str) -> Response<Body> {
    let base = format!("{}/{segment}", state.authority);
    let issuer = if directory.is_template(segment) {
        state.issuer("{tenantid}")
    } else {
        state.issuer(directory.tenant_named(segment).unwrap_or_default())
    };
    public(reply::json(
        StatusCode::OK,
        JSON,
        &json!({
            "token_endpoint": format!("{base}/oauth2/v2.0/token"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": format!("{base}/discovery/v2.0/keys"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": issuer,
            "request_uri_parameter_supported": false,
            "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
            "device_authorization_endpoint": format!("{base}/oauth2/v2.0/devicecode"),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
            "claims_supported": [
                "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr",
                "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"
            ],
            "kerberos_endpoint": format!("{base}/kerberos"),
            "tenant_region_scope": null,
            "cloud_instance_name": "microsoftonline.com",
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        }),
    ))
}

/// `{authority}/{tenant}/.well-known/openid-configuration`, the document of v1.0.
pub(super) fn configuration_v1(
    state: &State,
    directory: &Directory,
    segment: &str,
) -> Response<Body> {
    let base = format!("{}/{segment}", state.authority);
    let tenant = if directory.is_template(segment) {
        "{tenantid}"
    } else {
        &directory.tenant
    };
    public(reply::json(
        StatusCode::OK,
        JSON,
        &json!({
            "token_endpoint": format!("{base}/oauth2/token"),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": format!("{base}/discovery/keys"),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported":
                ["code", "id_token", "code id_token", "token id_token", "token"],
            "scopes_supported": ["openid"],
            "issuer": format!("https://sts.windows.net/{tenant}/"),
            "microsoft_multi_refresh_token": true,
            "authorization_endpoint": format!("{base}/oauth2/authorize"),
            "userinfo_endpoint": format!("{base}/openid/userinfo"),
            "cloud_instance_name": "microsoftonline.com",
        }),
    ))
}

/// The published keys; those of v2.0 say which issuer they sign for.
pub(super) fn keys(
    state: &State,
    directory: &Directory,
    segment: &str,
    version: u8,
) -> Response<Body> {
    let issuer = (version >= 2).then(|| {
        if directory.is_template(segment) {
            state.issuer("{tenantid}")
        } else {
            state.issuer(directory.tenant_named(segment).unwrap_or_default())
        }
    });
    let published = state.published();
    public(reply::json(
        StatusCode::OK,
        JSON,
        &Jwks::new(&published, issuer.as_deref()),
    ))
}

/// Adds what every public document carries.
fn public(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in [
        ("cache-control", "max-age=86400, private"),
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, OPTIONS"),
        ("x-content-type-options", "nosniff"),
    ] {
        reply::set(&mut response, name, value);
    }
    response
}
