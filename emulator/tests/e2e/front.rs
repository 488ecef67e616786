//! The least that stands between a client and the stand-ins so that a sign-in succeeds: metadata,
//! registration, `resource` and `prompt` taken away, the id token as the bearer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http::StatusCode;
use mcp_gateway_emulator::entra::Entra;
use serde_json::{Value, json};

use crate::http::client;

struct Shared {
    base: String,
    authorize: String,
    token: String,
    client_id: String,
    workload: String,
}

/// Starts the front; returns the address of its MCP endpoint.
pub(crate) async fn start(entra: &Entra, workload: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{base}/mcp");
    let shared = Arc::new(Shared {
        base,
        authorize: entra.authorization_endpoint(),
        token: entra.token_endpoint(),
        client_id: entra.client_id().to_owned(),
        workload,
    });
    let router = Router::new()
        .route("/.well-known/oauth-protected-resource/mcp", get(resource))
        .route("/.well-known/oauth-authorization-server", get(server))
        .route("/register", post(register))
        .route("/authorize", get(authorize))
        .route("/token", post(token))
        .route("/mcp", any(mcp))
        .with_state(shared);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

type Front = State<Arc<Shared>>;

async fn resource(State(front): Front) -> Response {
    let base = &front.base;
    let document = json!({"resource": format!("{base}/mcp"), "authorization_servers": [base]});
    axum::Json(document).into_response()
}

async fn server(State(front): Front) -> Response {
    let base = &front.base;
    axum::Json(json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
        "registration_endpoint": format!("{base}/register"),
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "offline_access"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    }))
    .into_response()
}

async fn register(State(front): Front, axum::Json(asked): axum::Json<Value>) -> Response {
    let answer = json!({
        "client_id": front.client_id,
        "redirect_uris": asked["redirect_uris"],
        "token_endpoint_auth_method": "none",
    });
    (StatusCode::CREATED, axum::Json(answer)).into_response()
}

fn cleaned(pairs: &[u8]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(pairs).into_owned().collect();
    pairs.retain(|(name, _)| name != "resource" && name != "prompt");
    for (name, value) in &mut pairs {
        if name == "scope" && !value.contains("openid") {
            value.push_str(" openid profile offline_access");
        }
    }
    pairs
}

async fn authorize(State(front): Front, request: Request) -> Response {
    let mut pairs = cleaned(request.uri().query().unwrap_or_default().as_bytes());
    if !pairs.iter().any(|(name, _)| name == "scope") {
        pairs.push(("scope".into(), "openid profile offline_access".into()));
    }
    let target = url::Url::parse_with_params(&front.authorize, pairs).unwrap();
    let headers = [("location", target.to_string())];
    (StatusCode::FOUND, headers).into_response()
}

async fn token(State(front): Front, body: bytes::Bytes) -> Response {
    let answer = client()
        .post(&front.token)
        .form(&cleaned(&body))
        .send()
        .await
        .unwrap();
    let status = answer.status();
    let mut tokens: Value = answer.json().await.unwrap();
    if let Some(id_token) = tokens.get("id_token").cloned() {
        tokens["access_token"] = id_token;
    }
    (status, axum::Json(tokens)).into_response()
}

async fn mcp(State(front): Front, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if !head.headers.contains_key("authorization") {
        let metadata = format!("{}/.well-known/oauth-protected-resource/mcp", front.base);
        let challenge = format!("Bearer resource_metadata=\"{metadata}\"");
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut headers = head.headers;
    headers.remove("host");
    headers.remove("content-length");
    let answer = client()
        .request(head.method, &front.workload)
        .headers(headers)
        .body(body)
        .send()
        .await
        .unwrap();
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    for name in ["content-type", "mcp-session-id"] {
        if let Some(value) = answer.headers().get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
}
