//! What the management API answers, path by path.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::json;

use super::api::{ApiFault, Command};
use super::auth::Guard;
use super::listed::{Listed, Managed, Status};
use crate::net::{Answer, Cut, lock};
use crate::random;
use crate::record::{Log, Recorded};
use crate::reply::{self, ReadError};

/// Longest request body.
const BODY_LIMIT: usize = 1 << 20;

/// Longest name of a workload or group.
const LONGEST_NAME: usize = 100;

/// Everything about workloads is below this path.
const WORKLOADS: &str = "/api/v1beta/workloads";

/// What the API knows.
pub(super) struct Inner {
    pub(super) managed: Mutex<Vec<Managed>>,
    pub(super) groups: Vec<String>,
    pub(super) guard: Option<Guard>,
    pub(super) delay: Duration,
    pub(super) nonce: String,
    pub(super) fault: Mutex<Option<ApiFault>>,
    pub(super) commands: Mutex<Vec<Command>>,
    pub(super) log: Log,
}

/// Body of the requests that are about several workloads: names or a group.
#[derive(Deserialize)]
struct Several {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    group: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Stop,
    Restart,
    Delete,
}

impl Change {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "stop" => Some(Self::Stop),
            "restart" => Some(Self::Restart),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

impl Inner {
    /// Serves one request.
    pub(super) async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let (recorded, outcome) = reply::read(request, BODY_LIMIT).await;
        self.log.push(recorded.clone());
        let mut response = match outcome {
            Ok(()) => self.answer(&recorded).await,
            Err(ReadError::TooLarge) => {
                reply::go_error(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
            }
            Err(ReadError::Broken) => return Err(Cut),
        };
        reply::set(&mut response, "x-content-type-options", "nosniff");
        reply::set(&mut response, "cross-origin-resource-policy", "same-origin");
        Ok(response)
    }

    async fn answer(self: &Arc<Self>, request: &Recorded) -> Response<Body> {
        let fault = *lock(&self.fault);
        if fault == Some(ApiFault::Hang) {
            return std::future::pending().await;
        }
        if let Some(guard) = &self.guard
            && let Some(refusal) = guard.refuse(request).await
        {
            return refusal;
        }
        let path = request.path.as_str();
        let below = path.strip_prefix(WORKLOADS);
        match (&request.method, path, below) {
            (&Method::GET, "/health", _) => self.health(fault),
            (&Method::GET, "/api/v1beta/version", _) => ok(&json!({"version": "0.44.0"})),
            (&Method::GET, "/api/v1beta/groups", _) => self.list_groups(),
            (&Method::GET, _, Some("" | "/")) => self.list(request, fault),
            (_, _, Some(rest)) => match rest.strip_prefix('/') {
                Some(rest) => self.about(request, rest),
                None => not_found(),
            },
            _ => not_found(),
        }
    }

    fn health(&self, fault: Option<ApiFault>) -> Response<Body> {
        if fault == Some(ApiFault::RuntimeDown) {
            return reply::go_error(
                StatusCode::SERVICE_UNAVAILABLE,
                "container runtime is not available",
            );
        }
        let mut response = reply::empty(StatusCode::NO_CONTENT);
        reply::set(&mut response, "x-toolhive-nonce", &self.nonce);
        response
    }

    fn list(&self, request: &Recorded, fault: Option<ApiFault>) -> Response<Body> {
        if fault == Some(ApiFault::RuntimeDown) {
            return reply::go_error(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
        let all = request.param("all").as_deref() == Some("true");
        let group = request.param("group").filter(|group| !group.is_empty());
        if let Some(group) = &group {
            if !is_name(group) {
                return reply::go_error(
                    StatusCode::BAD_REQUEST,
                    &format!("invalid group name: {group}"),
                );
            }
            if !self.all_groups().contains(group) {
                return reply::go_error(StatusCode::NOT_FOUND, "group not found");
            }
        }
        let mut entries: Vec<Listed> = lock(&self.managed)
            .iter()
            .map(|managed| managed.entry.clone())
            .filter(|entry| all || entry.status.is_listed())
            .filter(|entry| group.as_ref().is_none_or(|group| *group == entry.group))
            .collect();
        if fault == Some(ApiFault::EmptyList) {
            entries.clear();
        }
        shuffle(&mut entries);
        // A nil slice in Go.
        let entries = if entries.is_empty() {
            None
        } else {
            Some(entries)
        };
        ok(&List { workloads: entries })
    }

    fn all_groups(&self) -> Vec<String> {
        let mut groups = self.groups.clone();
        groups.push("default".to_owned());
        let managed = lock(&self.managed);
        groups.extend(managed.iter().map(|managed| managed.entry.group.clone()));
        groups.retain(|group| !group.is_empty());
        groups.sort();
        groups.dedup();
        groups
    }

    fn list_groups(&self) -> Response<Body> {
        let groups: Vec<_> = self
            .all_groups()
            .into_iter()
            .map(|name| json!({"name": name, "registered_clients": []}))
            .collect();
        ok(&json!({"groups": groups}))
    }

    /// Serves what is about one workload, or changes several.
    fn about(self: &Arc<Self>, request: &Recorded, rest: &str) -> Response<Body> {
        let (name, action) = match rest.split_once('/') {
            Some((name, action)) => (name, Some(action)),
            None => (rest, None),
        };
        let method = &request.method;
        if action.is_none()
            && method == Method::POST
            && let Some(change) = Change::parse(name)
        {
            return self.change_several(change, &request.body);
        }
        let entry = lock(&self.managed)
            .iter()
            .find(|managed| managed.entry.name == name)
            .map(|managed| managed.entry.clone());
        let Some(entry) = entry else {
            return reply::go_error(StatusCode::NOT_FOUND, "workload not found");
        };
        match (method, action) {
            (&Method::GET, None) => ok(&configuration(&entry)),
            (&Method::GET, Some("status")) => ok(&json!({"status": entry.status})),
            (&Method::GET, Some("export")) => ok(&export(&entry)),
            (&Method::GET, Some("logs" | "proxy-logs")) => {
                reply::typed(StatusCode::OK, "text/plain; charset=utf-8", "")
            }
            (&Method::POST, Some("stop")) => self.change(Change::Stop, vec![entry.name]),
            (&Method::POST, Some("restart")) => self.change(Change::Restart, vec![entry.name]),
            (&Method::DELETE, None) => self.change(Change::Delete, vec![entry.name]),
            _ => not_found(),
        }
    }

    fn change_several(self: &Arc<Self>, change: Change, body: &[u8]) -> Response<Body> {
        let bad = |text| reply::go_error(StatusCode::BAD_REQUEST, text);
        let Ok(several) = serde_json::from_slice::<Several>(body) else {
            return bad("invalid request body");
        };
        let names = match (several.names.is_empty(), several.group.is_empty()) {
            (false, true) => several.names,
            (true, false) => {
                let managed = lock(&self.managed);
                managed
                    .iter()
                    .filter(|managed| managed.entry.group == several.group)
                    .map(|managed| managed.entry.name.clone())
                    .collect()
            }
            _ => return bad("exactly one of names and group must be given"),
        };
        self.change(change, names)
    }

    /// Accepts a change, which happens after the answer.
    fn change(self: &Arc<Self>, change: Change, names: Vec<String>) -> Response<Body> {
        for name in names {
            let (command, meanwhile) = match change {
                Change::Stop => (Command::Stop(name.clone()), Status::Stopping),
                Change::Restart => (Command::Restart(name.clone()), Status::Starting),
                Change::Delete => (Command::Delete(name.clone()), Status::Removing),
            };
            lock(&self.commands).push(command);
            let Some(before) = self.set(&name, meanwhile) else {
                continue;
            };
            let inner = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(inner.delay).await;
                inner.carry_out(change, &before).await;
            });
        }
        reply::empty(StatusCode::ACCEPTED)
    }

    async fn carry_out(&self, change: Change, before: &Managed) {
        let name = &before.entry.name;
        let workload = before.workload.as_ref();
        match change {
            Change::Stop => {
                if let Some(workload) = workload {
                    workload.kill().await;
                }
                self.replace(name, before.entry.with_status(Status::Stopped));
            }
            Change::Restart => {
                let started = match workload {
                    Some(workload) => workload.restart().await.is_ok(),
                    None => true,
                };
                let status = if started {
                    Status::Running
                } else {
                    Status::Error
                };
                self.replace(name, before.entry.with_status(status));
            }
            Change::Delete => {
                if let Some(workload) = workload {
                    workload.kill().await;
                }
                lock(&self.managed).retain(|managed| managed.entry.name != *name);
            }
        }
    }

    /// Sets a status, and returns what was there before.
    pub(super) fn set(&self, name: &str, status: Status) -> Option<Managed> {
        let mut managed = lock(&self.managed);
        let found = managed
            .iter_mut()
            .find(|managed| managed.entry.name == name)?;
        let before = found.clone();
        found.entry = found.entry.with_status(status);
        Some(before)
    }

    fn replace(&self, name: &str, entry: Listed) {
        let mut managed = lock(&self.managed);
        if let Some(found) = managed
            .iter_mut()
            .find(|managed| managed.entry.name == name)
        {
            found.entry = entry;
        }
    }
}

#[derive(serde::Serialize)]
struct List {
    workloads: Option<Vec<Listed>>,
}

fn ok(value: &impl serde::Serialize) -> Response<Body> {
    reply::json(StatusCode::OK, "application/json", value)
}

fn not_found() -> Response<Body> {
    reply::go_error(StatusCode::NOT_FOUND, "404 page not found")
}

fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Puts a list in no order, as Go's maps do (Fisher and Yates).
fn shuffle<T>(list: &mut [T]) {
    for last in (1..list.len()).rev() {
        let bound = u32::try_from(last + 1).unwrap_or(u32::MAX);
        list.swap(last, usize::try_from(random::below(bound)).unwrap_or(0));
    }
}

/// What the workload was created from; it has no status.
fn configuration(entry: &Listed) -> serde_json::Value {
    json!({
        "name": entry.name,
        "image": entry.package,
        "host": "127.0.0.1",
        "proxy_port": entry.port,
        "transport": entry.transport_type,
        "proxy_mode": entry.proxy_mode,
        "group": entry.group,
        "authz_config": "",
    })
}

fn export(entry: &Listed) -> serde_json::Value {
    json!({
        "name": entry.name,
        "image": entry.package,
        "host": "127.0.0.1",
        "port": entry.port,
        "transport": entry.transport_type,
        "proxy_mode": entry.proxy_mode,
        "group": entry.group,
        "container_labels": entry.labels,
    })
}
