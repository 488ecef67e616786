//! `mcp-gateway run`: serve until told to stop.

use std::{io, path::Path, process::ExitCode, time::Duration};

use log::{error, info, warn};
use mcp_gateway_filters::Catalog;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use super::fail;
use crate::{
    config::{self, Environment, Loaded},
    server::{Machine, Running, Server, raise_files},
    units::Size,
};

/// How long requests may take to finish after the signal to stop; shorter than the unit's
/// `TimeoutStopSec`.
const DRAIN: Duration = Duration::from_secs(25);

/// Reads the configuration, binds and serves. Everything that is wrong is said before a socket is
/// bound.
pub(super) fn run(file: &Path, env: Environment<'_>, catalog: &Catalog) -> ExitCode {
    let Loaded {
        gateway,
        notes: _,
        source,
        ..
    } = match config::load(file, env, catalog) {
        Ok(loaded) => loaded,
        Err(problems) => return fail(&problems),
    };
    raise_files();
    let server = match Server::build(&gateway) {
        Ok(server) => server,
        Err(problems) => {
            let found = problems.into_iter().map(|problem| ("", problem));
            return fail(&source.problems(found));
        }
    };
    let machine = Machine::read();
    for note in machine.notes(&gateway.limits) {
        let help = note
            .help
            .map_or_else(String::new, |help| format!(": {help}"));
        warn!("{}: {}{help}", note.at, note.what);
    }
    info!(
        connections = machine.connections(&gateway.limits),
        memory_mib = machine.memory_mark(&gateway.limits).map(|mark| mark / Size::mib(1).0);
        "new work is refused beyond these limits"
    );
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("the runtime cannot be started: {error}\n")),
    };
    runtime.block_on(async {
        match server.start() {
            Ok(running) => match serve(running).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&format_args!("signals cannot be received: {error}\n")),
            },
            Err(error) => fail(&format_args!(
                "{error}\n  help: is another gateway running, or does the port need `CAP_NET_BIND_SERVICE`?\n"
            )),
        }
    })
}

async fn serve(running: Running) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for address in running.addresses() {
        info!(address:%; "listening");
    }
    info!(address:% = running.admin(); "metrics and health are on the admin listener");
    notify(NotifyState::Ready);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    notify(NotifyState::Stopping);
    info!(deadline_s = DRAIN.as_secs(); "stopping: waiting for requests to finish");
    let cut = tokio::select! {
        cut = running.drain(DRAIN) => cut,
        // A second signal means: now.
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    if cut > 0 {
        warn!(requests = cut; "stopped before these requests were answered");
    } else {
        info!("stopped");
    }
    Ok(())
}

/// Tells systemd, when it is listening.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        error!(error:%; "the service manager cannot be told about the state");
    }
}
