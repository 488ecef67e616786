//! As much of Microsoft Graph as a gateway asks for: a user's groups, and `userinfo`.
//!
//! It stands under `/v1.0` and `/oidc` of the same address. Whoever asks needs a token for Graph with
//! the right permission; Graph knows its tokens, so they are remembered instead of verified.

use axum::body::Body;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::directory::User;
use super::state::{GraphAccess, State};
use crate::net::lock;
use crate::record::Recorded;
use crate::reply;

/// Permissions with which an application may read groups of users.
const READERS: [&str; 3] = [
    "GroupMember.Read.All",
    "Group.Read.All",
    "Directory.Read.All",
];

/// Whether a path is one of Graph's.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/v1.0/") || path == "/oidc/userinfo"
}

/// Answers a request to Graph.
pub(super) fn answer(state: &State, request: &Recorded) -> Response<Body> {
    match look_up(state, request) {
        Ok(document) => reply::json(StatusCode::OK, "application/json", &document),
        Err((status, code, message)) => {
            let error = json!({"error": {"code": code, "message": message}});
            reply::json(status, "application/json", &error)
        }
    }
}

type Refused = (StatusCode, &'static str, &'static str);

const NOT_FOUND: Refused = (
    StatusCode::NOT_FOUND,
    "Request_ResourceNotFound",
    "Resource does not exist or one of its queried reference-property objects are not present.",
);
const NO_TOKEN: Refused = (
    StatusCode::UNAUTHORIZED,
    "InvalidAuthenticationToken",
    "Access token validation failure. Invalid audience.",
);
const DENIED: Refused = (
    StatusCode::FORBIDDEN,
    "Authorization_RequestDenied",
    "Insufficient privileges to complete the operation.",
);

fn look_up(state: &State, request: &Recorded) -> Result<Value, Refused> {
    let token = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .ok_or(NO_TOKEN)?;
    let access = lock(&state.graph_tokens).find(token).cloned();
    let access = access
        .filter(|access| state.clock.now() < access.expires)
        .ok_or(NO_TOKEN)?;
    let directory = state.directory();
    let find = |oid: &str| directory.user(oid).filter(|user| user.oid == oid);
    let path: Vec<&str> = request.path.trim_start_matches('/').split('/').collect();
    let post = request.method == Method::POST;
    match path.as_slice() {
        ["oidc", "userinfo"] => {
            let user = me(&access).and_then(find).ok_or(NO_TOKEN)?;
            Ok(json!({
                "sub": user.oid, "name": user.name, "email": user.upn,
                "picture": "https://graph.microsoft.com/v1.0/me/photo/$value",
            }))
        }
        ["v1.0", "me", "memberOf"] if !post => {
            let user = me(&access).and_then(find).ok_or(NO_TOKEN)?;
            let groups = user.groups.iter();
            let groups =
                groups.map(|id| json!({"@odata.type": "#microsoft.graph.group", "id": id}));
            Ok(json!({"value": groups.collect::<Vec<_>>()}))
        }
        ["v1.0", "me", "getMemberObjects"] if post => {
            let user = me(&access).and_then(find).ok_or(NO_TOKEN)?;
            members(request, user)
        }
        ["v1.0", "users", oid, "getMemberObjects"] if post => {
            let may = access
                .permissions
                .iter()
                .any(|one| READERS.contains(&one.as_str()));
            if !may {
                return Err(DENIED);
            }
            let user = find(oid).ok_or(NOT_FOUND)?;
            if directory.tenant_of(user) != access.tenant {
                return Err(NOT_FOUND);
            }
            members(request, user)
        }
        _ => Err(NOT_FOUND),
    }
}

fn me(access: &GraphAccess) -> Option<&str> {
    access.user.as_deref()
}

fn members(request: &Recorded, user: &User) -> Result<Value, Refused> {
    let asked: Option<Value> = serde_json::from_slice(&request.body).ok();
    let complete = asked.is_some_and(|asked| {
        asked
            .get("securityEnabledOnly")
            .is_some_and(Value::is_boolean)
    });
    if !complete {
        return Err((
            StatusCode::BAD_REQUEST,
            "Request_BadRequest",
            "A value without a type name was found and no expected type is available.",
        ));
    }
    Ok(json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(Edm.String)",
        "value": user.groups,
    }))
}
