//! A workload as the management API tells of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::workload::Workload;
use crate::clock::rfc3339;

/// Go's zero time, which stands for "not yet".
const NEVER: &str = "0001-01-01T00:00:00Z";

/// What a workload is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In order.
    Running,
    /// Stopped on demand.
    Stopped,
    /// Failed for good.
    Error,
    /// On its way up.
    Starting,
    /// On its way down.
    Stopping,
    /// Its process is gone, or its server does not answer.
    Unhealthy,
    /// Being deleted.
    Removing,
    /// Not known.
    Unknown,
    /// A remote server that waits for somebody to sign in.
    Unauthenticated,
    /// A remote server whose sign-in is tried again; listed among the running ones.
    AuthRetrying,
    /// Stopped by a policy.
    PolicyStopped,
}

impl Status {
    /// Whether it is listed without `all=true`.
    pub(super) fn is_listed(self) -> bool {
        matches!(self, Self::Running | Self::AuthRetrying)
    }
}

/// One entry of the list, in the order of ToolHive's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The image.
    pub package: String,
    /// Where its proxy listens; empty while it starts.
    pub url: String,
    /// The proxy's port; 0 while it starts.
    pub port: u16,
    /// `stdio`, `sse` or `streamable-http`; empty while it starts.
    pub transport_type: String,
    /// The proxy's mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub proxy_mode: String,
    /// What it is doing.
    pub status: Status,
    /// More about that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status_context: String,
    /// When it was created (RFC 3339).
    pub created_at: String,
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Whether it is a remote server.
    #[serde(skip_serializing_if = "is_false")]
    pub remote: bool,
    /// When it was started (RFC 3339); Go's zero time while it starts.
    pub started_at: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for this form"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl Listed {
    /// Returns the entry of a running workload behind the proxy for stdio servers.
    #[must_use]
    pub fn running(name: impl Into<String>, port: u16, now: i64) -> Self {
        let name = name.into();
        Self {
            package: format!("ghcr.io/example/{name}:latest"),
            url: format!("http://127.0.0.1:{port}/mcp"),
            port,
            transport_type: "stdio".to_owned(),
            proxy_mode: "streamable-http".to_owned(),
            status: Status::Running,
            status_context: String::new(),
            created_at: rfc3339(now),
            labels: BTreeMap::new(),
            group: "default".to_owned(),
            remote: false,
            started_at: rfc3339(now),
            name,
        }
    }

    /// Returns the entry in that status, with what ToolHive leaves out in it.
    #[must_use]
    pub(super) fn with_status(&self, status: Status) -> Self {
        let mut entry = self.clone();
        entry.status = status;
        if status == Status::Starting {
            entry.package.clear();
            entry.url.clear();
            entry.port = 0;
            entry.transport_type.clear();
            entry.proxy_mode.clear();
            NEVER.clone_into(&mut entry.started_at);
        }
        entry
    }
}

/// An entry with the workload it is about, if there is one in this process.
#[derive(Clone)]
pub(super) struct Managed {
    pub(super) entry: Listed,
    pub(super) workload: Option<Arc<Workload>>,
}

impl fmt::Debug for Managed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Managed({}, {:?})", self.entry.name, self.entry.status)
    }
}
