//! From configured routes to compiled ones: names become pools, settings become ready values.

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderValue;
use mcp_gateway_filters::Problem;
use parking_lot::Mutex;

use crate::{
    cimd::{self, Documents},
    config::{self, Gateway, TokenSource},
    delegation::Delegation,
    directory::Directory,
    egress::{Egress, Target},
    ingress::Pressure,
    oidc::Verifier,
    relay::{self, Clients, Grants, Seals, SignIn},
    router::Router,
    snapshot::{self, OwnClient, Route, RouteMetrics, Snapshot, Step},
    telemetry::{metrics::Metrics, seldom::Seldom},
    upstream::Pool,
};

/// The live things that a snapshot refers to.
pub(super) struct Parts<'a> {
    pub(super) pools: &'a [Arc<Pool>],
    pub(super) egress: &'a Arc<Egress>,
    pub(super) verifier: Option<&'a Arc<Verifier>>,
    pub(super) directory: Option<&'a Arc<Directory>>,
    /// Those whose users may call.
    pub(super) tenants: &'a [String],
    /// Scopes that stand for claims; `None` where the authorization server takes no claims in one.
    pub(super) step_up: Option<&'a BTreeMap<String, String>>,
    pub(super) metrics: &'a Metrics,
    pub(super) pressure: &'a Arc<Pressure>,
    pub(super) seals: &'a Arc<Seals>,
    /// Clients' documents, by the settings that they are fetched with.
    pub(super) documents: Mutex<Vec<(cimd::Config, Arc<Documents>)>>,
}

impl Parts<'_> {
    /// Compiles every route.
    pub(super) fn snapshot(&self, config: &Gateway) -> Result<Snapshot, Problem> {
        let routes = config
            .routes
            .iter()
            .enumerate()
            .map(|(index, route)| {
                let built = self.route(route).map_err(|problem| Problem {
                    at: format!("routes[{index}]"),
                    ..problem
                })?;
                Ok((route.path.clone(), Arc::new(built)))
            })
            .collect::<Result<Vec<_>, Problem>>()?;
        Ok(Snapshot {
            router: Router::new(routes),
            unrouted: RouteMetrics::of("-", self.metrics),
            limits: Arc::clone(&config.limits),
            pressure: Arc::clone(self.pressure),
            client_address: config.client_address.clone(),
            public_host: HeaderValue::try_from(config.public_url.authority())
                .map_err(|error| Problem::new("public_url", error.to_string()))?,
            public_scheme: if config.public_url.is_https() {
                "https"
            } else {
                "http"
            },
        })
    }

    fn route(&self, route: &config::Route) -> Result<Route, Problem> {
        let allow = route
            .methods
            .iter()
            .map(http::Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        Ok(Route {
            path: route.path.clone(),
            methods: route.methods.clone(),
            allow: HeaderValue::try_from(allow)
                .map_err(|error| Problem::new("methods", error.to_string()))?,
            steps: route
                .steps
                .iter()
                .map(|step| self.step(step))
                .collect::<Result<_, _>>()?,
            metrics: RouteMetrics::of(&route.path, self.metrics),
        })
    }

    fn step(&self, step: &config::Step) -> Result<Step, Problem> {
        Ok(match step {
            config::Step::Filter { name, filter } => Step::Filter {
                name,
                filter: Arc::clone(filter),
            },
            config::Step::Authenticate(gate) => Step::Authenticate(self.authenticate(gate)?),
            config::Step::Proxy(proxy) => Step::Proxy(Box::new(self.proxy(proxy)?)),
            config::Step::Exchange(exchange) => Step::Exchange(Box::new(snapshot::Exchange {
                egress: Arc::clone(self.egress),
                target: Target::parse(exchange.url.as_str())
                    .map_err(|error| Problem::new("", error.to_string()))?,
                client: exchange.client.clone().map(|(id, credentials)| OwnClient {
                    id,
                    credentials,
                    token_endpoint: exchange.url.as_str().to_owned(),
                }),
                timeout: exchange.timeout.0,
                response_limit: exchange.response_limit.0,
                outcomes: self.metrics.token_exchanges.clone(),
                errors: self.metrics.provider_errors.clone(),
                logged: Seldom::default(),
            })),
            config::Step::ResolveClient(client) => {
                Step::ResolveClient(Box::new(self.resolve_client(client)))
            }
            config::Step::Relay(relay) => Step::Relay(Box::new(self.relay(relay))),
            config::Step::OpenGrant(open) => Step::OpenGrant(Arc::new(Grants::new(
                Arc::clone(self.seals),
                open.callback.as_str().to_owned(),
            ))),
            config::Step::IssueClient(issue) => {
                Step::IssueClient(Box::new(snapshot::IssueClient {
                    filter: Arc::clone(&issue.filter),
                    seals: Arc::clone(self.seals),
                }))
            }
        })
    }

    fn relay(&self, relay: &config::Relay) -> snapshot::Relay {
        let at = relay::Endpoints {
            issuer: relay.issuer.as_str().to_owned(),
            authorize: relay.to.as_str().to_owned(),
            callback: relay.callback.as_str().to_owned(),
            consent: relay.consent.url().path().to_owned(),
        };
        snapshot::Relay {
            station: match relay.at {
                config::Station::Authorize => snapshot::Station::Authorize,
                config::Station::Consent => snapshot::Station::Consent,
                config::Station::Callback => snapshot::Station::Callback,
            },
            sign_in: SignIn::new(Arc::clone(self.seals), at),
            errors: self.metrics.provider_errors.clone(),
        }
    }

    fn resolve_client(&self, client: &config::ResolveClient) -> snapshot::ResolveClient {
        snapshot::ResolveClient {
            place: match client.place {
                config::Place::Query => relay::Place::Query,
                config::Place::Form => relay::Place::Form,
            },
            clients: Clients::new(client.client_id.clone()),
            seals: Arc::clone(self.seals),
            documents: client
                .client_id_metadata
                .as_ref()
                .map(|config| self.documents(config)),
        }
    }

    /// Returns the one store of documents for these settings: authorize and token share it.
    fn documents(&self, config: &cimd::Config) -> Arc<Documents> {
        let mut known = self.documents.lock();
        if let Some((_, documents)) = known.iter().find(|(known, _)| known == config) {
            return Arc::clone(documents);
        }
        let documents = Documents::new(config, Arc::clone(self.egress), self.metrics);
        let documents = Arc::new(documents);
        known.push((config.clone(), Arc::clone(&documents)));
        documents
    }

    fn authenticate(&self, gate: &config::Authenticate) -> Result<snapshot::Authenticate, Problem> {
        let verifier = self
            .verifier
            .ok_or_else(|| Problem::new("", "`authenticate` needs an `authorization_server`"))?;
        let mut challenge = format!("Bearer resource_metadata=\"{}\"", gate.resource_metadata);
        if !gate.scopes.is_empty() {
            challenge = format!("{challenge}, scope=\"{}\"", gate.scopes.join(" "));
        }
        Ok(snapshot::Authenticate {
            verifier: Arc::clone(verifier),
            step_up: self.step_up.map(|names| snapshot::StepUp {
                resource_metadata: gate.resource_metadata.clone(),
                scopes: gate.scopes.clone(),
                names: names.clone(),
            }),
            challenge,
            groups: gate.groups.clone(),
            directory: self.directory.map(Arc::clone),
        })
    }

    fn token(&self, token: &TokenSource) -> Result<snapshot::UpstreamToken, Problem> {
        Ok(match token {
            TokenSource::Caller => snapshot::UpstreamToken::Caller,
            TokenSource::None => snapshot::UpstreamToken::None,
            TokenSource::Static(field) => {
                let (header, value) = &**field;
                snapshot::UpstreamToken::Static {
                    header: header.clone(),
                    value: value.reveal().clone(),
                }
            }
            TokenSource::Delegated(config) => {
                let (egress, metrics) = (self.egress, self.metrics);
                let built = Delegation::build(config, self.tenants, egress, metrics)?;
                snapshot::UpstreamToken::Delegated(Arc::new(built))
            }
        })
    }

    fn proxy(&self, proxy: &config::Proxy) -> Result<snapshot::Proxy, Problem> {
        let pool = self
            .pools
            .iter()
            .find(|pool| pool.name() == proxy.upstream)
            .ok_or_else(|| Problem::new("", format!("no upstream named `{}`", proxy.upstream)))?;
        Ok(snapshot::Proxy {
            pool: Arc::clone(pool),
            path: proxy.path.as_ref().map(|path| path.as_str().to_owned()),
            sessions: proxy.sessions,
            token: self.token(&proxy.token)?,
            request_body_limit: proxy.request_body_limit.0,
            response_head_timeout: proxy.response_head_timeout.map(|period| period.0),
            allow: proxy.allow.clone(),
            retries: self.metrics.upstream_retries.clone(),
            failures: self.metrics.upstream_failures.clone(),
            logged: Seldom::default(),
        })
    }
}
