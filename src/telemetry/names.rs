//! The names of every metric and label, so that dashboards and code cannot drift apart.
//!
//! Label values come from the configuration or from a closed set, never from a request.

/// One metric: its name and its help text.
pub struct Name {
    /// `gateway_<noun>_<unit>[_total]`.
    pub name: &'static str,
    /// A sentence for whoever reads `/metrics`.
    pub help: &'static str,
}

const fn name(name: &'static str, help: &'static str) -> Name {
    Name { name, help }
}

/// Which route answered; its path as configured.
pub const ROUTE: &str = "route";
/// The status class of an answer: `2xx` to `5xx`, or `gone` when the client left first.
pub const CODE: &str = "code";
/// The name of an upstream.
pub const UPSTREAM: &str = "upstream";
/// The address of one backend of an upstream.
pub const BACKEND: &str = "backend";
/// Why: one of a closed set.
pub const REASON: &str = "reason";
/// What for: one of a closed set.
pub const PURPOSE: &str = "purpose";
/// How it ended: one of a closed set.
pub const OUTCOME: &str = "outcome";
/// The number of an error of Entra's, of those that are explained; `other` for the rest.
pub const AADSTS: &str = "aadsts";
/// The address of a listener as configured.
pub const LISTENER: &str = "listener";
/// The first name of a certificate.
pub const CERTIFICATE: &str = "certificate";
/// The version of the program.
pub const VERSION: &str = "version";

/// How long requests took, and how many there were.
pub const REQUEST_DURATION: Name = name(
    "gateway_request_duration_seconds",
    "Time from the request head to the end of the answer.",
);
/// Streams that are open.
pub const STREAMS_ACTIVE: Name = name(
    "gateway_streams_active",
    "Event streams that are being sent to clients now.",
);
/// Requests refused before an upstream was asked.
pub const REFUSALS: Name = name(
    "gateway_refusals_total",
    "Requests that a step of the route refused, by reason.",
);
/// Connections and heads refused by the first layer.
pub const INGRESS_REFUSALS: Name = name(
    "gateway_ingress_refusals_total",
    "Connections and requests refused before routing, by reason.",
);
/// Connections that are open.
pub const CONNECTIONS_ACTIVE: Name = name(
    "gateway_connections_active",
    "Client connections that are open now.",
);
/// Backend health.
pub const BACKEND_HEALTHY: Name = name(
    "gateway_backend_healthy",
    "1 when the backend takes new requests, 0 when it is ejected or was not checked yet.",
);
/// Backend picks.
pub const BACKEND_PICKS: Name = name(
    "gateway_backend_picks_total",
    "Requests sent to the backend, retries included.",
);
/// Backend ejections.
pub const BACKEND_EJECTIONS: Name = name(
    "gateway_backend_ejections_total",
    "Times the backend was taken out of its upstream.",
);
/// Upstream retries.
pub const UPSTREAM_RETRIES: Name = name(
    "gateway_upstream_retries_total",
    "Requests sent again after a connection failed, by reason.",
);
/// Upstream failures.
pub const UPSTREAM_FAILURES: Name = name(
    "gateway_upstream_failures_total",
    "Requests that the upstream did not answer properly, by reason.",
);
/// Token exchanges.
pub const TOKEN_EXCHANGES: Name = name(
    "gateway_token_exchanges_total",
    "Token requests sent to the authorization server, by outcome.",
);
/// Documents of clients.
pub const CLIENT_DOCUMENTS: Name = name(
    "gateway_client_documents_total",
    "Client ID metadata documents fetched, or refused, by outcome.",
);
/// Tokens asked for by the gateway itself.
pub const DELEGATIONS: Name = name(
    "gateway_delegations_total",
    "Tokens that the gateway asked for itself, for upstreams and for groups, by outcome.",
);
/// Groups asked for.
pub const GROUP_LOOKUPS: Name = name(
    "gateway_group_lookups_total",
    "Times a user's groups were asked for because the token did not list them, by outcome.",
);
/// Refusals of the authorization server.
pub const PROVIDER_ERRORS: Name = name(
    "gateway_provider_errors_total",
    "Errors that Entra ID answered with, by number.",
);
/// Key set fetches.
pub const KEY_SET_FETCHES: Name = name(
    "gateway_key_set_fetches_total",
    "Attempts to fetch the authorization server's keys, by outcome.",
);
/// Key set age.
pub const KEY_SET_FETCHED: Name = name(
    "gateway_key_set_fetched_timestamp_seconds",
    "When the key set in use was fetched, in Unix time; 0 when there is none.",
);
/// Token verdicts.
pub const TOKEN_VERDICTS: Name = name(
    "gateway_token_verdicts_total",
    "Bearer tokens judged, by reason; `valid` counts full verifications, `cached` the others.",
);
/// Certificate expiry.
pub const CERTIFICATE_NOT_AFTER: Name = name(
    "gateway_certificate_not_after_timestamp_seconds",
    "When the listener's certificate expires, in Unix time.",
);
/// Memory held.
pub const MEMORY_HELD: Name = name(
    "gateway_memory_held_bytes",
    "Resident memory of the process, without pages of files.",
);
/// Memory mark.
pub const MEMORY_MARK: Name = name(
    "gateway_memory_mark_bytes",
    "Above so much resident memory new work is refused; 0 when nothing is guarded.",
);
/// Memory refusals.
pub const MEMORY_REFUSING: Name = name(
    "gateway_memory_refusing",
    "1 while new connections and requests are refused for want of memory.",
);
/// Build information.
pub const BUILD_INFO: Name = name(
    "gateway_build_info",
    "Always 1; the version of the running program is the label.",
);
