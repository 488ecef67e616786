//! Everything a request needs, compiled and immutable: a request takes one snapshot and keeps it.
//!
//! A snapshot refers to live things that outlast it: pools with their health, the key set, the
//! verdict cache. It never sees YAML.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method};
use mcp_gateway_filters::Filter;
use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};

use crate::{
    cimd::Documents,
    delegation::Delegation,
    directory::Directory,
    egress::{Egress, Target},
    ingress::{ClientAddress, Limits, Pressure},
    oauth::ClientCredentials,
    oidc::Verifier,
    relay::{Clients, Grants, Place, Seals, SignIn},
    router::{Allow, Router},
    telemetry::{metrics::Metrics, provider_errors::ProviderErrors, seldom::Seldom},
    upstream::Pool,
};

/// The compiled configuration.
pub struct Snapshot {
    /// From path to route.
    pub router: Router<Arc<Route>>,
    /// What answers when no route does.
    pub unrouted: RouteMetrics,
    /// What clients may take.
    pub limits: Arc<Limits>,
    /// Whether there is memory for new requests.
    pub pressure: Arc<Pressure>,
    /// Who says whose requests they bring.
    pub client_address: Option<ClientAddress>,
    /// The host of the public URL.
    pub public_host: HeaderValue,
    /// `https`, or `http` for a gateway on loopback.
    pub public_scheme: &'static str,
}

/// A path and what happens to its requests.
pub struct Route {
    /// The path as configured.
    pub path: String,
    /// The methods it takes; empty means that the steps decide.
    pub methods: Vec<Method>,
    /// The same for the `Allow` field.
    pub allow: HeaderValue,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// What is counted.
    pub metrics: RouteMetrics,
}

/// One step of a route, ready to run.
pub enum Step {
    /// A filter of the catalog.
    Filter {
        /// Its name there: why a request was refused, when it answers with an error itself.
        name: &'static str,
        /// The running filter.
        filter: Arc<dyn Filter>,
    },
    /// Lets only callers with a valid token go on.
    Authenticate(Authenticate),
    /// Sends the request to an upstream.
    Proxy(Box<Proxy>),
    /// Calls the authorization server and answers from memory.
    Exchange(Box<Exchange>),
    /// Finds out which client is asking.
    ResolveClient(Box<ResolveClient>),
    /// Answers at one station of a relayed sign-in.
    Relay(Box<Relay>),
    /// Opens what clients bring to the token endpoint.
    OpenGrant(Arc<Grants>),
    /// Registers a client under an id of its own.
    IssueClient(Box<IssueClient>),
}

/// Who is asking.
pub struct ResolveClient {
    /// Where it says so.
    pub place: Place,
    /// Who is known.
    pub clients: Clients,
    /// What registrations are sealed with.
    pub seals: Arc<Seals>,
    /// Where clients are known by documents of their own.
    pub documents: Option<Arc<Documents>>,
}

/// A station of a relayed sign-in.
pub struct Relay {
    /// Which one.
    pub station: Station,
    /// What happens there.
    pub sign_in: SignIn,
    /// What the provider refuses is counted here.
    pub errors: ProviderErrors,
}

/// Where in a sign-in a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// A client asks, and the gateway asks a person.
    Authorize,
    /// The person answers.
    Consent,
    /// The provider has answered.
    Callback,
}

/// Registrations with ids of their own.
pub struct IssueClient {
    /// The filter that judges and answers them.
    pub filter: Arc<dyn Filter>,
    /// What they are sealed with.
    pub seals: Arc<Seals>,
}

/// Who may go on.
pub struct Authenticate {
    /// Who judges tokens.
    pub verifier: Arc<Verifier>,
    /// `Bearer resource_metadata="…", scope="…"` (RFC 9728 §5.1, RFC 6750 §3).
    pub challenge: String,
    /// What a challenge that demands claims is made of; `None` where the authorization server takes
    /// no claims in a scope.
    pub step_up: Option<StepUp>,
    /// Groups of which the caller must be in one; empty lets everyone go on.
    pub groups: Vec<String>,
    /// Who tells groups that a token does not list.
    pub directory: Option<Arc<Directory>>,
}

/// How claims are demanded of a client, which understands scopes only.
pub struct StepUp {
    /// The URL of the protected resource metadata.
    pub resource_metadata: String,
    /// What the usual challenge asks for.
    pub scopes: Vec<String>,
    /// Scopes that the metadata publishes, and the claims that they stand for.
    pub names: BTreeMap<String, String>,
}

/// Where a request goes.
pub struct Proxy {
    /// The pool it goes to.
    pub pool: Arc<Pool>,
    /// The path at the upstream; the request's own when it is missing.
    pub path: Option<String>,
    /// Whether sessions are sealed and pinned: an MCP route.
    pub sessions: bool,
    /// What the upstream gets as proof of who calls.
    pub token: UpstreamToken,
    /// The largest request body in bytes.
    pub request_body_limit: usize,
    /// How long the head of the answer may take.
    pub response_head_timeout: Option<Duration>,
    /// What may be asked for; empty allows everything.
    pub allow: Vec<Allow>,
    /// Counted when a request is sent again, by `upstream` and `reason`.
    pub retries: IntCounterVec,
    /// Counted when the upstream does not answer properly, by `upstream` and `reason`.
    pub failures: IntCounterVec,
    /// What the log named lately, by reason.
    pub logged: Seldom<&'static str>,
}

/// What an upstream gets as proof of who calls.
pub enum UpstreamToken {
    /// The caller's token.
    Caller,
    /// Nothing.
    None,
    /// A field with a secret.
    Static {
        /// Its name.
        header: HeaderName,
        /// Its value.
        value: HeaderValue,
    },
    /// A token that is asked for in the caller's name.
    Delegated(Arc<Delegation>),
}

/// A client of the authorization server that is the gateway itself.
pub struct OwnClient {
    /// Its id.
    pub id: String,
    /// How it proves who it is.
    pub credentials: ClientCredentials,
    /// The token endpoint: the only place where it does.
    pub token_endpoint: String,
}

/// The call of the token endpoint.
pub struct Exchange {
    /// The way out.
    pub egress: Arc<Egress>,
    /// The token endpoint.
    pub target: Target,
    /// The client that the gateway is there, when it proves who it is.
    pub client: Option<OwnClient>,
    /// How long the whole call may take.
    pub timeout: Duration,
    /// The largest answer in bytes, after decompression.
    pub response_limit: usize,
    /// Counted by `outcome`.
    pub outcomes: IntCounterVec,
    /// What it refused.
    pub errors: ProviderErrors,
    /// What the log named lately, by outcome.
    pub logged: Seldom<&'static str>,
}

/// The metrics of a route. A series is made when it first has something to say, then kept: most
/// routes never answer with most classes, and whoever scrapes should not have to read that.
pub struct RouteMetrics {
    route: String,
    /// First a client that left before an answer, then the classes from `2xx` on.
    durations: [OnceLock<Histogram>; 5],
    streams: OnceLock<IntGauge>,
    all_durations: HistogramVec,
    all_streams: IntGaugeVec,
    refusals: IntCounterVec,
}

/// The values of the label `code`, in the order of [`RouteMetrics::durations`].
const CODES: [&str; 5] = ["gone", "2xx", "3xx", "4xx", "5xx"];

impl RouteMetrics {
    /// Names the route in the metrics that it counts into.
    #[must_use]
    pub fn of(route: &str, metrics: &Metrics) -> Self {
        Self {
            route: route.to_owned(),
            durations: Default::default(),
            streams: OnceLock::new(),
            all_durations: metrics.request_duration.clone(),
            all_streams: metrics.streams_active.clone(),
            refusals: metrics.refusals.clone(),
        }
    }

    /// Counts a request that ended with `status`; 0 means that the client left first.
    pub fn ended(&self, status: u16, duration: Duration) {
        // An answer never ends with 1xx.
        let class = usize::from(status / 100).saturating_sub(1);
        if let (Some(histogram), Some(code)) = (self.durations.get(class), CODES.get(class)) {
            histogram
                .get_or_init(|| self.all_durations.with_label_values(&[&*self.route, *code]))
                .observe(duration.as_secs_f64());
        }
    }

    /// Event streams that are open.
    pub fn streams(&self) -> &IntGauge {
        self.streams
            .get_or_init(|| self.all_streams.with_label_values(&[&*self.route]))
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: &str) {
        self.refusals
            .with_label_values(&[&*self.route, reason])
            .inc();
    }
}
