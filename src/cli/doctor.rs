//! `mcp-gateway doctor`: is everything around the gateway as it must be, and what to change.
//!
//! The whole chain is looked at from this machine, in the order in which a sign-in needs it: the
//! configuration, names, Entra, the app registration, the gateway's own side, the workloads. Each
//! file beside this one is a group of checks; what asks and what judges are apart in it, so that every
//! sentence has a test. Nobody signs in, nothing is changed, and no secret is printed.

mod ask;
mod edge;
mod finding;
mod host;
mod network;
mod published;
mod registration;
mod running;
mod wire;
mod workloads;

use std::{
    io::{self, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use mcp_gateway_filters::Catalog;

use super::{check::beyond_the_text, fail};
use crate::{
    config::{self, Environment, Gateway, Loaded, Problems, Step},
    egress::{self, Egress},
    oauth::Entra,
    server::raise_files,
};

use ask::Ask;
use finding::Report;
use published::Server;
use registration::Registration;

pub use finding::{Finding, Form, Verdict};

const CONFIGURATION: &str = "configuration";

/// What is looked at, and the way out.
struct Patient<'a> {
    gateway: &'a Gateway,
    entra: Option<&'a Entra>,
    ask: Ask,
}

/// Runs the command on a runtime of its own.
pub(super) fn main(file: &Path, env: Environment<'_>, catalog: &Catalog, form: Form) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("the runtime cannot be started: {error}\n")),
    };
    // As `run` does, so that the limit that is judged is the one that a gateway would have.
    raise_files();
    let now = super::unix_now();
    let (mut out, mut err) = (io::stdout(), io::stderr());
    match runtime.block_on(run(file, env, catalog, now, form, &mut out, &mut err)) {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::from(1),
    }
}

/// Looks at everything; returns whether nothing is wrong.
///
/// Findings go to `out`, what is being looked at to `err`. `now` is the time of this call, in seconds
/// since the Unix epoch.
///
/// # Errors
/// When nothing can be written.
pub async fn run(
    file: &Path,
    env: Environment<'_>,
    catalog: &Catalog,
    now: i64,
    form: Form,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let started = Instant::now();
    let now = move || now.saturating_add_unsigned(started.elapsed().as_secs());
    let mut report = Report::new(form, out, err);
    report.begin("the configuration")?;
    let loaded = match read(file, env, catalog, now()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            report.take(refused(&problems))?;
            let why = "needs a configuration without problems";
            report.take([Finding::skipped("everything else", why)])?;
            return report.finish();
        }
    };
    let gateway = &loaded.gateway;
    report.take([Finding::ok(
        CONFIGURATION,
        format!("`{}` is valid", loaded.source.file()),
    )])?;
    let ask = match Egress::build(&gateway.egress) {
        Ok(egress) => Ask::through(egress),
        Err(_) => return report.finish(),
    };
    let patient = Patient {
        gateway,
        entra: loaded.entra.as_ref(),
        ask,
    };
    report.begin("this machine")?;
    report.take(host::permissions(gateway))?;
    patient.provider(&mut report, now).await?;
    patient.edge(&mut report, now()).await?;
    for (name, upstream) in &gateway.upstreams {
        report.begin(&format!("the workload {name}"))?;
        report.take(workloads::look(gateway, name, upstream).await)?;
    }
    report.finish()
}

/// Reads the configuration and the files that it names.
fn read(
    file: &Path,
    env: Environment<'_>,
    catalog: &Catalog,
    now: i64,
) -> Result<Loaded, Problems> {
    let loaded = config::load(file, env, catalog)?;
    let problems = loaded
        .source
        .problems(beyond_the_text(&loaded.gateway, now));
    if problems.list().is_empty() {
        Ok(loaded)
    } else {
        Err(problems)
    }
}

fn refused(problems: &Problems) -> Vec<Finding> {
    problems
        .list()
        .iter()
        .map(|problem| {
            let place = if problem.path.is_empty() {
                String::new()
            } else {
                format!("`{}`: ", problem.path)
            };
            let fix = problem.help.clone();
            let fix = fix.unwrap_or_else(|| "`mcp-gateway check` shows line and column".to_owned());
            Finding::wrong(CONFIGURATION, format!("{place}{}", problem.what), fix)
        })
        .collect()
}

impl Patient<'_> {
    /// The authorization server: names, the proxy, what it publishes, the app registration.
    async fn provider(&self, report: &mut Report<'_>, now: impl Fn() -> i64) -> io::Result<()> {
        let entra = self.entra.map(|entra| (entra, entra.endpoints()));
        let identity = self.gateway.identity.as_ref();
        let server = match (&entra, identity) {
            (Some((_, endpoints)), _) => Server::entra(endpoints),
            (None, Some(identity)) => Server::issuer(identity),
            (None, None) => {
                let why = "no `authorization_server` is configured";
                report.take([Finding::skipped("discovery", why)])?;
                return Ok(());
            }
        };
        let unasked = |checks: &[&'static str], why: &str| -> Vec<Finding> {
            let skipped = |check: &&'static str| Finding::skipped(check, why);
            checks.iter().map(skipped).collect()
        };
        report.begin(&format!("the way to {}", server.name))?;
        let way = match network::proxy(&self.ask, &server.document).await {
            // The proxy looks the name up.
            Some(proxy) => proxy,
            None => network::name(&server.document, server.name).await,
        };
        if !report.take([way])? {
            let checks = ["discovery", "keys", "redirect URIs"];
            report.take(unasked(&checks, "it cannot be reached"))?;
            return Ok(());
        }
        report.begin(&format!("what {} publishes", server.name))?;
        let (document, clock) = published::discovery(&self.ask, &server, &now).await;
        let known = report.take([document])?;
        report.take(clock)?;
        if !known {
            let checks = ["keys", "redirect URIs"];
            report.take(unasked(
                &checks,
                "the discovery document is not as it must be",
            ))?;
            return Ok(());
        }
        report.take([published::keys(&self.ask, &server).await])?;
        let Some((entra, endpoints)) = &entra else {
            let why = "registrations are asked about at Entra only";
            report.take(unasked(&["redirect URIs"], why))?;
            return Ok(());
        };
        report.begin("the app registration")?;
        let callback = Entra::callback(&self.gateway.public_url);
        let protected = self.protected();
        let registration = Registration {
            ask: &self.ask,
            gateway: self.gateway,
            now: now(),
            entra,
            endpoints,
            resource: protected
                .first()
                .map(|path| self.gateway.public_url.join(path)),
            callback: entra.is_relayed().then_some(callback),
            credentials: self
                .gateway
                .credentials
                .iter()
                .find(|(path, _)| path == "authorization_server.entra.credentials")
                .map(|(_, credentials)| credentials),
        };
        report.take(registration.look().await)?;
        Ok(())
    }

    /// The gateway itself: what runs, its certificates, its public URL.
    async fn edge(&self, report: &mut Report<'_>, now: i64) -> io::Result<()> {
        let gateway = self.gateway;
        report.begin("the gateway that runs")?;
        report.take(running::look(&self.ask, gateway.admin.address, &gateway.limits).await)?;
        report.begin("the public URL")?;
        match egress::roots(gateway.egress.ca_file.as_deref()) {
            Ok(roots) => report.take(edge::certificates(
                &gateway.listeners,
                &gateway.public_url,
                &Arc::new(roots),
                now,
            ))?,
            Err(problem) => report.take([Finding::skipped("certificates", problem.what)])?,
        };
        let public = &gateway.public_url;
        let named = network::name(public.as_str(), "the public URL").await;
        if report.take([named])? {
            report.take(edge::public(&self.ask, public, &self.protected()).await)?;
        } else {
            report.take([Finding::skipped("public URL", "its name has no address")])?;
        }
        Ok(())
    }

    /// The paths of MCP routes that ask for a token.
    fn protected(&self) -> Vec<String> {
        let asks = |steps: &[Step]| steps.iter().any(|one| matches!(one, Step::Authenticate(_)));
        let is_mcp = |step: &Step| matches!(step, Step::Proxy(proxy) if proxy.sessions);
        let routes = self.gateway.routes.iter();
        routes
            .filter(|route| asks(&route.steps) && route.steps.iter().any(is_mcp))
            .map(|route| route.path.clone())
            .collect()
    }
}
