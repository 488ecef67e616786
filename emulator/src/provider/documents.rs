//! Metadata and keys.

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;

use super::State;
use crate::keys::Jwks;
use crate::reply;

/// Whether the path is one of the metadata's: behind the issuer (OpenID Connect Discovery), or
/// between its host and its path (RFC 8414).
pub(super) fn is_configuration(state: &State, path: &str) -> bool {
    let issuer = state.quirks.issuer.trim_end_matches('/');
    path == format!("{issuer}/.well-known/openid-configuration")
        || (state.quirks.rfc8414
            && path == format!("/.well-known/oauth-authorization-server{issuer}"))
}

/// Answers with the metadata.
pub(super) fn configuration(state: &State) -> Response<Body> {
    let quirks = &state.quirks;
    let mut document = json!({
        "issuer": state.issuer(),
        "authorization_endpoint": state.url(&quirks.authorize),
        "token_endpoint": state.url(&quirks.token),
        "jwks_uri": state.url(&quirks.keys),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": quirks.scopes(),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
    });
    if let Some(members) = document.as_object_mut() {
        if quirks.pkce_in_metadata {
            let methods = json!(["plain", "S256"]);
            members.insert("code_challenge_methods_supported".to_owned(), methods);
        }
        if let Some(path) = &quirks.registration {
            let url = state.url(path);
            members.insert("registration_endpoint".to_owned(), url.into());
        }
        if quirks.emits_iss {
            let name = "authorization_response_iss_parameter_supported";
            members.insert(name.to_owned(), true.into());
        }
    }
    reply::json(StatusCode::OK, "application/json", &document)
}

/// Answers with the keys.
pub(super) fn keys(state: &State) -> Response<Body> {
    let keys = [state.key.clone()];
    reply::json(StatusCode::OK, "application/json", &Jwks::new(&keys, None))
}
