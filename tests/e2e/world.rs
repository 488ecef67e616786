//! A company in one process: its Entra ID, its workloads, and the gateways before them.
//!
//! ```ignore
//! let world = World::builder().workload("github").replicas(2).route("/mcp").start().await;
//! let seen = world.rpc("/mcp", Some(&world.token("alice")), None, &INITIALIZE).await;
//! ```
//!
//! A world derefs to its first gateway; [`World::gateway`] starts another one of the same
//! configuration, as a replica or after a restart. Everything ends when the world is dropped.

mod canned;
mod certificates;
mod client;
mod gateway;
pub(crate) mod log;
pub(crate) mod mcp;
mod scripted;

use std::{
    fmt::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Deref,
    time::Duration,
};

use mcp_gateway_emulator::{
    entra::{self, Entra},
    toolhive::{self, Oidc, Workload},
};

pub(crate) use canned::Canned;
pub(crate) use certificates::{AssertionKey, Authority};
pub(crate) use client::{Answer, Client, exchange, install_provider, send};
pub(crate) use gateway::{CLIENT_SECRET, Gateway, Plan, Sealing};
pub(crate) use scripted::{Asked, Scripted};

/// Longer than anything a test waits for on purpose.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until a condition holds; panics, naming it, when it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn until<'a>(
    what: &'a str,
    mut holds: impl FnMut() -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{caller}: waited in vain: {what}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Everything that runs.
pub(crate) struct World {
    gateway: Gateway,
    /// The stand-in for Entra ID.
    pub(crate) entra: Entra,
    /// Every replica of every workload, in the order in which they were named.
    pub(crate) workloads: Vec<Workload>,
    /// Where the gateway listens, held for its next start.
    socket: TcpListener,
    plan: Plan,
}

impl Deref for World {
    type Target = Gateway;

    fn deref(&self) -> &Gateway {
        &self.gateway
    }
}

impl World {
    /// A tenant without workloads, and a gateway on plain HTTP.
    pub(crate) fn builder() -> Builder {
        Builder {
            entra: Entra::builder(),
            entra_down: false,
            shape: Box::new(|workload| workload),
            oidc: true,
            audience: None,
            upstreams: vec![],
            certificates: vec![],
            redirect: false,
            sealing: Sealing::Configured,
            public_url: None,
            health_check: "interval: 500ms, timeout: 1s".to_owned(),
            settings: String::new(),
            identity: None,
            routes: String::new(),
            sections: String::new(),
        }
    }

    /// The usual one: `github` with one replica behind `/mcp`.
    pub(crate) async fn usual() -> Self {
        Self::builder()
            .workload("github")
            .route("/mcp")
            .start()
            .await
    }

    /// An id token for a person, right in everything.
    pub(crate) fn token(&self, who: &str) -> String {
        self.entra.token(who).build()
    }

    /// A replica of a workload: `world.workload("github", "a")`.
    pub(crate) fn workload(&self, name: &str, replica: &str) -> &Workload {
        self.workloads
            .iter()
            .find(|workload| workload.name() == name && workload.replica() == replica)
            .unwrap_or_else(|| panic!("no workload `{name}` with a replica `{replica}`"))
    }

    /// The configuration of the first gateway, with the ports that it took.
    pub(crate) fn configuration(&self) -> String {
        let addresses = self.gateway.addresses();
        let text = self
            .plan
            .configuration(addresses[0], addresses.get(1).copied());
        text.replace("127.0.0.1:0", &self.gateway.admin().to_string())
    }

    /// Starts one more gateway for the same public URL, with the same keys.
    pub(crate) fn gateway(&self) -> Gateway {
        self.plan.start(reserve())
    }

    /// Starts the gateway anew with another configuration; clients keep what they have.
    pub(crate) async fn reconfigure_gateway(&mut self, from: &str, to: &str) {
        self.plan.change(from, to);
        self.restart_gateway().await;
    }

    /// Starts the gateway anew on its own socket, as a service manager that holds the socket would,
    /// and ends the old one.
    pub(crate) async fn restart_gateway(&mut self) {
        let next = self.plan.start(self.socket.try_clone().unwrap());
        next.has_keys().await;
        let old = std::mem::replace(&mut self.gateway, next);
        old.drain(PATIENCE).await;
    }
}

/// A workload and where it is reached.
struct Upstream {
    name: String,
    replicas: usize,
    /// Backends that the test runs itself.
    others: Vec<SocketAddr>,
    routes: Vec<(String, String)>,
}

/// A world that is about to start.
pub(crate) struct Builder {
    entra: entra::Builder,
    entra_down: bool,
    shape: Box<dyn Fn(toolhive::Builder) -> toolhive::Builder>,
    oidc: bool,
    audience: Option<String>,
    upstreams: Vec<Upstream>,
    certificates: Vec<Vec<String>>,
    redirect: bool,
    sealing: Sealing,
    public_url: Option<String>,
    health_check: String,
    settings: String,
    identity: Option<String>,
    routes: String,
    sections: String,
}

impl Builder {
    /// Adds a workload with one replica, `a`, and no route yet.
    pub(crate) fn workload(mut self, name: &str) -> Self {
        self.upstreams.push(Upstream {
            name: name.to_owned(),
            replicas: 1,
            others: vec![],
            routes: vec![],
        });
        self
    }

    fn last(&mut self) -> &mut Upstream {
        self.upstreams.last_mut().expect("name a workload first")
    }

    /// Runs the last workload that often: `a`, `b`, `c`…
    pub(crate) fn replicas(mut self, replicas: usize) -> Self {
        self.last().replicas = replicas;
        self
    }

    /// Adds an upstream without workloads, whose backends the test runs itself.
    pub(crate) fn upstream(mut self, name: &str, backends: &[SocketAddr]) -> Self {
        self = self.workload(name).replicas(0);
        self.last().others = backends.to_vec();
        self
    }

    /// Serves the last workload under a path.
    pub(crate) fn route(self, path: &str) -> Self {
        self.route_with(path, "")
    }

    /// The same with settings beside `upstream`: `"upstream_token: none, groups: [x]"`.
    pub(crate) fn route_with(mut self, path: &str, settings: &str) -> Self {
        self.last()
            .routes
            .push((path.to_owned(), settings.to_owned()));
        self
    }

    /// Changes the tenant.
    pub(crate) fn entra(mut self, change: impl FnOnce(entra::Builder) -> entra::Builder) -> Self {
        self.entra = change(self.entra);
        self
    }

    /// Starts while Entra refuses connections; `world.entra.start()` brings it up.
    pub(crate) fn entra_down(mut self) -> Self {
        self.entra_down = true;
        self.entra = self.entra.down();
        self
    }

    /// Adds settings of the provider: `"strip: [resource]"`.
    pub(crate) fn provider(mut self, settings: &str) -> Self {
        self.settings = format!(", {settings}");
        self
    }

    /// Says in another way whose tokens are good: a section as YAML, in which `{authority}` is where
    /// the tenant listens, `{tenant}` its id, and `{client_id}` the gateway's.
    pub(crate) fn identity(mut self, section: &str) -> Self {
        self.identity = Some(section.to_owned());
        self
    }

    /// Says who signs people in instead of the tenant, as [`identity`](Self::identity) does. Workloads
    /// then take callers without a token.
    pub(crate) fn signs_in(self, section: &str) -> Self {
        self.identity(section).workloads_without_oidc()
    }

    /// Changes every workload.
    pub(crate) fn workloads(
        mut self,
        shape: impl Fn(toolhive::Builder) -> toolhive::Builder + 'static,
    ) -> Self {
        self.shape = Box::new(shape);
        self
    }

    /// Sets the audience that workloads expect, the gateway's registration otherwise.
    pub(crate) fn audience(mut self, audience: &str) -> Self {
        self.audience = Some(audience.to_owned());
        self
    }

    /// Lets workloads take callers without a token.
    pub(crate) fn workloads_without_oidc(mut self) -> Self {
        self.oidc = false;
        self
    }

    /// Serves TLS with a certificate for `localhost` and `127.0.0.1`.
    pub(crate) fn tls(self) -> Self {
        self.certificate(&["localhost", "127.0.0.1"])
    }

    /// Serves TLS with a certificate for these names, beside those already named.
    pub(crate) fn certificate(mut self, names: &[&str]) -> Self {
        self.certificates
            .push(names.iter().map(|name| (*name).to_owned()).collect());
        self
    }

    /// Adds a plain listener that redirects to the public URL; it is `addresses()[1]`.
    pub(crate) fn redirect_listener(mut self) -> Self {
        self.redirect = true;
        self
    }

    /// Lets the gateways keep the key of their sessions in a directory that they share.
    pub(crate) fn stored_key(mut self) -> Self {
        self.sealing = Sealing::Stored;
        self
    }

    /// Sets the public URL; where the first gateway listens, otherwise.
    pub(crate) fn public_url(mut self, url: &str) -> Self {
        self.public_url = Some(url.to_owned());
        self
    }

    /// Sets the health check of every upstream.
    pub(crate) fn health_check(mut self, settings: &str) -> Self {
        settings.clone_into(&mut self.health_check);
        self
    }

    /// Adds a route as YAML: `"{path: /hello, filters: [{respond: {status: 200}}]}"`. `{authority}`
    /// is where the tenant listens, `{tenant}` its id, `{public}` the public URL.
    pub(crate) fn yaml_route(mut self, route: &str) -> Self {
        writeln!(self.routes, "  - {route}").unwrap();
        self
    }

    /// Adds a section as YAML.
    pub(crate) fn section(mut self, section: &str) -> Self {
        self.sections.push_str(section);
        self.sections.push('\n');
        self
    }

    /// Starts everything, and waits until the gateway has keys and has checked the workloads.
    pub(crate) async fn start(self) -> World {
        log::capture();
        let entra = self.entra.start().await.unwrap();
        let (mut workloads, mut well) = (vec![], vec![]);
        let (mut upstreams, mut routes) = (String::new(), String::new());
        for upstream in &self.upstreams {
            let quoted = |address: &SocketAddr| format!("\"{address}\"");
            let mut backends: Vec<String> = upstream.others.iter().map(quoted).collect();
            for replica in ('a'..='z').take(upstream.replicas) {
                let mut workload = Workload::builder(&upstream.name).replica(replica.to_string());
                if self.oidc {
                    workload = workload.oidc(Oidc {
                        issuer: entra.issuer(),
                        audience: Some(
                            self.audience
                                .clone()
                                .unwrap_or_else(|| entra.client_id().to_owned()),
                        ),
                        jwks_url: entra.jwks_uri(),
                        resource_url: None,
                    });
                }
                let workload = (self.shape)(workload).start().await.unwrap();
                backends.push(quoted(&workload.address()));
                well.push((upstream.name.clone(), workload.address()));
                workloads.push(workload);
            }
            let (name, backends) = (&upstream.name, backends.join(", "));
            writeln!(
                upstreams,
                "  {name}: {{ backends: [{backends}], health_check: {{ {} }} }}",
                self.health_check
            )
            .unwrap();
            for (path, settings) in &upstream.routes {
                writeln!(
                    routes,
                    "  - {{ path: {path}, mcp: {{ upstream: {name}, {settings} }} }}"
                )
                .unwrap();
            }
        }
        routes.push_str(
            &self
                .routes
                .replace("{authority}", &entra.authority())
                .replace("{tenant}", &entra.tenant()),
        );
        let usual = format!(
            "authorization_server: {{ entra: {{ tenant: {{tenant}}, client_id: {{client_id}}, authority: \"{{authority}}\"{} }} }}",
            self.settings
        );
        let identity = self.identity.unwrap_or(usual);
        let identity = identity
            .replace("{authority}", &entra.authority())
            .replace("{tenant}", &entra.tenant())
            .replace("{client_id}", entra.client_id());
        let mut text = format!("{identity}\n{}", self.sections);
        if !upstreams.is_empty() {
            write!(text, "upstreams:\n{upstreams}").unwrap();
        }
        if routes.is_empty() {
            routes = "  - { path: /hello, filters: [{ respond: { status: 200 } }] }\n".to_owned();
        }
        write!(text, "routes:\n{routes}").unwrap();

        let socket = reserve();
        let port = socket.local_addr().unwrap().port();
        let authority = (!self.certificates.is_empty()).then(Authority::shared);
        let public_url = self.public_url.unwrap_or_else(|| match authority {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        });
        let text = text.replace("{public}", &public_url);
        let plan = Plan::new(
            public_url,
            &self.certificates,
            self.redirect,
            self.sealing,
            text,
        );
        let gateway = plan.start(socket.try_clone().unwrap());
        if !self.entra_down {
            gateway.has_keys().await;
        }
        // Which of several backends is asked must not depend on whose check comes first.
        for (upstream, backend) in well {
            gateway.finds_well(&upstream, backend).await;
        }
        World {
            gateway,
            entra,
            workloads,
            socket,
            plan,
        }
    }
}

/// Takes a free port.
pub(crate) fn reserve() -> TcpListener {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap()
}
