//! A request's way through the gateway, in a straight line.
//!
//! head → route → steps (filters, identity) → answered, or upstream → answer → access line.
//!
//! Pingora reads and writes HTTP/1.1 and HTTP/2; everything between is here. It knows nothing of
//! YAML and of sockets that listen.

mod answer;
mod authenticate;
mod body;
mod call;
mod deadline;
mod demand;
mod exchange;
mod failure;
mod forward;
#[doc(hidden)]
pub mod fuzzing;
mod hint;
mod jsonrpc;
mod leg;
mod mcp;
mod pass;
mod pipe;
mod redirect;
mod relay;
mod upstream_token;

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use http::StatusCode;
use mcp_gateway_filters::{Filter, RefusedByRedirect, Response, Verdict};
use pingora_core::{
    apps::{HttpServerOptions, ReusedHttpStream},
    protocols::http::{ServerSession, v2::server::H2Options},
    server::ShutdownWatch,
};

use crate::{
    ingress::{self, HEALTH_PATH, Limits},
    listener::App,
    respond,
    session::Sealer,
    snapshot::{Route, Snapshot, Step},
    telemetry::{access, metrics::Metrics, seldom::Seldom},
};

use call::Call;
use failure::Failure;
use leg::Leg;
use pass::Tools;

pub use redirect::RedirectToHttps;

/// What serves the routes.
pub struct Proxy {
    snapshot: ArcSwap<Snapshot>,
    leg: Leg,
    sealer: Arc<Sealer>,
    log: access::Log,
    ingress_refusals: prometheus::IntCounterVec,
    options: HttpServerOptions,
    /// Requests being worked on, for a drain that waits for them.
    inflight: Arc<AtomicUsize>,
    ids: RequestIds,
    /// Which defects the log named lately.
    defects: Seldom<&'static str>,
}

/// What an HTTP/2 client may send of a body before it was read.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that the client has reset before they were looked at; more of them end the connection
/// (CVE-2023-44487).
const HTTP2_RESETS: usize = 20;
/// Streams that break the protocol; more of them end the connection (CVE-2025-8671).
const HTTP2_ERRORS: usize = 64;
/// What one stream may hold of an answer that the client does not take.
const HTTP2_SEND_BUFFER: usize = 16 * 1024;

fn server_options(limits: &Limits) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(limits.idle_timeout.0);
    options
}

/// Unique ids for access lines and `X-Request-Id`: a random start, then counting.
struct RequestIds {
    next: AtomicU64,
    prefix: u32,
}

impl RequestIds {
    fn new() -> Self {
        let random = ahash::RandomState::new();
        Self {
            next: AtomicU64::new(random.hash_one(1) & 0xffff_ffff),
            prefix: u32::try_from(random.hash_one(2) >> 32).unwrap_or_default(),
        }
    }

    fn next(&self) -> String {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        // `format!` would begin with less and grow twice.
        let mut id = String::with_capacity(20);
        // A string takes everything.
        let _ = write!(id, "{:08x}{next:012x}", self.prefix);
        id
    }
}

/// Counts a request for as long as it is worked on.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn count(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Proxy {
    /// Serves a snapshot.
    #[must_use]
    pub fn new(
        snapshot: Arc<Snapshot>,
        sealer: Arc<Sealer>,
        metrics: &Metrics,
        log: access::Log,
    ) -> Self {
        Self {
            options: server_options(&snapshot.limits),
            snapshot: ArcSwap::new(snapshot),
            leg: Leg::new(),
            sealer,
            log,
            ingress_refusals: metrics.ingress_refusals.clone(),
            inflight: Arc::default(),
            ids: RequestIds::new(),
            defects: Seldom::default(),
        }
    }

    /// Returns the count of requests that are being worked on.
    #[must_use]
    pub fn inflight(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.inflight)
    }

    /// Answers one request, whatever becomes of it.
    async fn answer(
        &self,
        session: &mut ServerSession,
        call: &mut Call,
        shutdown: &ShutdownWatch,
    ) -> Result<(), Failure> {
        let answered = match self.admit(session, &call.snapshot) {
            Ok(()) => self.route(session, call, shutdown).await,
            Err(refused) => Err(refused),
        };
        let Err(Failure::Answered {
            reply,
            reason,
            defect,
        }) = answered
        else {
            return answered;
        };
        self.report(defect, call);
        call.reason = Some(reason);
        call.metrics().refused(reason);
        answer::fail(session, call, *reply).await
    }

    /// Names a defect of the gateway in the log.
    fn report(&self, defect: Option<&'static str>, call: &Call) {
        if let Some(what) = defect
            && let Some(left_out) = self.defects.due(what, call.later())
        {
            log::error!(what, left_out; "a request failed inside the gateway");
        }
    }

    /// Finds the route and runs its steps. What only sign-ins need is boxed, so that tool calls and
    /// idle connections do not hold room for it.
    async fn route(
        &self,
        session: &mut ServerSession,
        call: &mut Call,
        shutdown: &ShutdownWatch,
    ) -> Result<(), Failure> {
        let head = session.req_header();
        let Some(route) = call.snapshot.router.find(head.uri.path()).map(Arc::clone) else {
            return Err(Failure::not_found());
        };
        call.route = Some(Arc::clone(&route));
        if !route.methods.is_empty() && !route.methods.contains(&head.method) {
            return Err(Failure::method_not_allowed(&route.allow));
        }
        for step in &route.steps {
            call.ran += 1;
            match step {
                Step::Filter { name, filter } => {
                    if let Some(reply) = apply(&**filter, session, call, &route).await? {
                        let status = reply.status();
                        if status.is_client_error()
                            || status.is_server_error()
                            || reply.extensions().get::<RefusedByRedirect>().is_some()
                        {
                            call.refused(name);
                        }
                        return answer::reply(session, call, reply).await;
                    }
                }
                Step::Authenticate(gate) => {
                    let caller = authenticate::caller(gate, call.head(session), call.now()).await?;
                    call.identity = Some(caller);
                }
                Step::Proxy(proxy) => {
                    let tools = Tools {
                        leg: &self.leg,
                        sealer: &self.sealer,
                        draining: shutdown.clone(),
                    };
                    return pass::run(&tools, session, call, &route, proxy).await;
                }
                Step::Exchange(exchange) => {
                    let form = match call.body.take() {
                        Some(form) => form,
                        None => body::gather(session, exchange::FORM_LIMIT, &call.snapshot).await?,
                    };
                    let own = call.grants.is_some();
                    let asked = exchange::run(exchange, form, own, call.later());
                    let reply = Box::pin(asked).await?;
                    let reply = relay::seal_grant(call, reply)?;
                    return answer::reply(session, call, reply).await;
                }
                Step::ResolveClient(step) => {
                    if let Some(page) = Box::pin(relay::resolve(step, session, call)).await? {
                        call.refused("resolve_client");
                        return answer::reply(session, call, page).await;
                    }
                }
                Step::Relay(step) => {
                    let reply = Box::pin(relay::answer(step, session, call)).await?;
                    return answer::reply(session, call, reply).await;
                }
                Step::OpenGrant(grants) => {
                    Box::pin(relay::open_grant(grants, session, call)).await?;
                }
                Step::IssueClient(step) => {
                    let reply = Box::pin(relay::issue(step, session, call, &route)).await?;
                    if reply.status() != StatusCode::CREATED {
                        call.refused("register_client");
                    }
                    return answer::reply(session, call, reply).await;
                }
            }
        }
        Err(Failure::internal("a route ended without an answer"))
    }

    /// Reads a request; `None` when there is none to answer.
    async fn request(&self, session: &mut ServerSession) -> Option<()> {
        match session.read_request().await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                // Pingora's error text can quote the request: only its kind is logged.
                log::debug!(kind = error.etype().as_str(); "a request could not be read");
                self.ingress_refusals
                    .with_label_values(&["unreadable"])
                    .inc();
                session.shutdown().await;
                return None;
            }
        }
        Some(())
    }

    /// Refuses everything when memory is short, and what HTTP/2 lets through; HTTP/1 heads were
    /// checked before they came here.
    fn admit(&self, session: &ServerSession, snapshot: &Snapshot) -> Result<(), Failure> {
        if snapshot.pressure.is_high() && session.req_header().uri.path() != HEALTH_PATH {
            return Err(Failure::no_memory());
        }
        if !session.is_http2() {
            return Ok(());
        }
        let head = session.req_header();
        let target = head
            .uri
            .path_and_query()
            .map_or(&b""[..], |target| target.as_str().as_bytes());
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        ingress::check_fields(
            &head.method,
            target,
            authority,
            &head.headers,
            &snapshot.limits,
        )
        .map_err(|refused| {
            self.ingress_refusals
                .with_label_values(&[refused.reason])
                .inc();
            Failure::from(refused)
        })
    }
}

/// Runs one filter; returns its answer when it has one.
async fn apply(
    filter: &dyn Filter,
    session: &mut ServerSession,
    call: &mut Call,
    route: &Route,
) -> Result<Option<Response>, Failure> {
    match filter.request(&call.context(route), call.head(session))? {
        Verdict::Respond(reply) => return Ok(Some(reply)),
        Verdict::Continue(edits) => call.apply(session, edits),
    }
    let Some(limit) = filter.request_body_limit(call.head(session)) else {
        return Ok(None);
    };
    let body = match call.body.take() {
        Some(body) if body.len() > limit => return Err(Failure::body_too_large(limit)),
        Some(body) => body,
        None => body::gather(session, limit, &call.snapshot).await?,
    };
    let verdict = filter.request_body(&call.context(route), call.head(session), &body)?;
    call.body = Some(body);
    match verdict {
        Verdict::Respond(reply) => Ok(Some(reply)),
        Verdict::Continue(edits) => {
            call.apply(session, edits);
            Ok(None)
        }
    }
}

impl App for Proxy {
    #[expect(
        clippy::manual_async_fn,
        reason = "it would hold the session as an argument and once more as a variable, for as long \
                  as each connection lives"
    )]
    fn serve(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = Option<ReusedHttpStream>> + Send {
        async move {
            self.request(&mut session).await?;
            let _counted = InFlight::count(&self.inflight);
            let mut call = Call::new(self.snapshot.load_full(), self.ids.next(), &session);
            session.set_write_timeout(Some(call.snapshot.limits.write_timeout.0));
            let answered = self.answer(&mut session, &mut call, shutdown).await;
            if let Err(failure) = &answered {
                match failure {
                    Failure::Gone(error) => {
                        call.reason = Some("client_gone");
                        log::debug!(kind = error.etype().as_str(); "a client left");
                    }
                    Failure::Cut(reason) => call.reason = Some(reason),
                    Failure::Answered { reason, defect, .. } => {
                        call.reason = Some(reason);
                        self.report(*defect, &call);
                    }
                }
            }
            call.ended(&session, &self.log);
            if answered.is_err() {
                // An HTTP/1 answer ends without its last chunk, an HTTP/2 stream is reset: what was
                // cut must not look whole.
                session.shutdown().await;
                return None;
            }
            respond::finish(session).await
        }
    }

    fn h2_options(&self) -> Option<H2Options> {
        let snapshot = self.snapshot.load();
        let mut options = H2Options::default();
        options
            .max_concurrent_streams(snapshot.limits.http2_streams)
            .max_header_list_size(
                u32::try_from(snapshot.limits.http2_header_list_size.0).unwrap_or(u32::MAX),
            )
            .initial_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_local_error_reset_streams(Some(HTTP2_ERRORS))
            .max_send_buffer_size(HTTP2_SEND_BUFFER);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
