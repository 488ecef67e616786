//! One request on its way: what is known of it, what was changed, what will be logged.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Uri, request};
use mcp_gateway_filters::{Context, Edits, HeaderEdit, Identity};
use pingora_core::protocols::http::ServerSession;

use crate::{
    relay::{Client, Grants},
    snapshot::{Route, RouteMetrics, Snapshot},
    telemetry::access,
    upstream::Backend,
};

/// The longest path in an access line, in bytes.
const LOGGED_PATH: usize = 256;

/// The state of one request.
pub(super) struct Call {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) id: String,
    pub(super) client: IpAddr,
    pub(super) identity: Option<Arc<Identity>>,
    /// The application that asks, once a step has looked for it.
    pub(super) client_app: Option<Client>,
    /// What opened the grant of a token request, and seals what is answered to it.
    pub(super) grants: Option<Arc<Grants>>,
    /// The body, once a step has asked for it.
    pub(super) body: Option<Bytes>,
    /// How many steps have run: these see the response.
    pub(super) ran: usize,
    /// The status that was sent; 0 before.
    pub(super) status: u16,
    /// Why the request was refused or failed.
    pub(super) reason: Option<&'static str>,
    pub(super) backend: Option<Arc<Backend>>,
    /// The head as the steps have changed it; missing as long as none did.
    edited: Option<Box<request::Parts>>,
    arrived: Duration,
    started: Instant,
}

impl Call {
    pub(super) fn new(snapshot: Arc<Snapshot>, id: String, session: &ServerSession) -> Self {
        let client = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| {
                address.ip().to_canonical()
            });
        let client = match &snapshot.client_address {
            Some(trusted) => trusted.client(client, &session.req_header().headers),
            None => client,
        };
        Self {
            snapshot,
            route: None,
            id,
            client,
            identity: None,
            client_app: None,
            grants: None,
            body: None,
            ran: 0,
            status: 0,
            reason: None,
            backend: None,
            edited: None,
            // A clock before 1970 reads as 1970: every token is then valid for longer than its
            // issuer says, by no more than the clock is wrong.
            arrived: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default(),
            started: Instant::now(),
        }
    }

    /// When the request arrived, in seconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        self.arrived.as_secs()
    }

    /// The same clock at this moment, for what is decided after an upstream took its time.
    pub(super) fn later(&self) -> u64 {
        (self.arrived + self.started.elapsed()).as_secs()
    }

    /// The head as it stands now.
    pub(super) fn head<'a>(&'a self, session: &'a ServerSession) -> &'a request::Parts {
        self.edited
            .as_deref()
            .unwrap_or_else(|| session.req_header().as_ref())
    }

    /// What filters may know.
    pub(super) fn context<'a>(&'a self, route: &'a Route) -> Context<'a> {
        Context {
            now: self.now(),
            client: self.client,
            route: &route.path,
            identity: self.identity.as_deref(),
        }
    }

    /// Changes the head, and the body when the edits bring one.
    pub(super) fn apply(&mut self, session: &ServerSession, edits: Edits) {
        if let Some(body) = edits.body {
            self.body = Some(body);
        }
        if edits.target.is_none() && edits.headers.is_empty() {
            return;
        }
        let head = self
            .edited
            .get_or_insert_with(|| Box::new(session.req_header().as_ref().clone()));
        if let Some(target) = edits.target {
            head.uri = Uri::from(target);
        }
        for edit in edits.headers {
            // Only a map of thousands refuses one more, and a request has no more than `limits` say.
            let _ = match edit {
                HeaderEdit::Set(name, value) => head.headers.try_insert(name, value).map(drop),
                HeaderEdit::Append(name, value) => head.headers.try_append(name, value).map(drop),
                HeaderEdit::Remove(name) => {
                    head.headers.remove(name);
                    Ok(())
                }
            };
        }
    }

    /// Notes why the request was refused, for the access line and the metrics.
    pub(super) fn refused(&mut self, reason: &'static str) {
        self.reason = Some(reason);
        self.metrics().refused(reason);
    }

    /// The metrics of whatever answered.
    pub(super) fn metrics(&self) -> &RouteMetrics {
        self.route
            .as_ref()
            .map_or(&self.snapshot.unrouted, |route| &route.metrics)
    }

    /// Counts and logs the request, once it has ended.
    pub(super) fn ended(&self, session: &ServerSession, log: &access::Log) {
        let duration = self.started.elapsed();
        self.metrics().ended(self.status, duration);
        let head = session.req_header();
        let path = head.uri.path();
        log.record(&access::Line {
            time: u64::try_from(self.arrived.as_millis()).unwrap_or(u64::MAX),
            request_id: &self.id,
            client: self.client,
            method: head.method.as_str(),
            path: path.get(..LOGGED_PATH).unwrap_or(path),
            route: self.route.as_ref().map_or("", |route| &route.path),
            status: self.status,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            received: session.body_bytes_read(),
            sent: session.body_bytes_sent(),
            user: self
                .identity
                .as_deref()
                .map(|identity| identity.object.as_deref().unwrap_or(&identity.subject)),
            backend: self.backend.as_deref().map(Backend::address),
            reason: self.reason,
        });
    }
}
