//! `mcp-gateway demo`: the whole system on one machine, with nothing else installed.
//!
//! The gateway is the real one, with a configuration file that can be read; Entra ID and ToolHive
//! are stand-ins on loopback. Nothing here is reachable from `run`.

mod check;
mod guide;
mod system;

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use mcp_gateway_filters::Catalog;
use tokio::signal::unix::{SignalKind, signal};

use super::fail;
use crate::{server, units::Period};
use system::System;

/// How long the demo's requests may take to finish.
const DRAIN: Duration = Duration::from_secs(2);

/// What the demo is told on the command line.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The port of the gateway on localhost; 0 takes a free one.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Signs a client in, calls tools through every workload, prints each step, and ends.
    #[arg(long)]
    check: bool,
    /// Shows a sign-in page instead of signing in the first user at once.
    #[arg(long)]
    sign_in_page: bool,
    /// Relays sign-ins through the gateway's own callback, which asks before a client gets access.
    #[arg(long)]
    relay: bool,
    /// Which of the provider's tokens clients present; all but `id_token` are for an API of its own.
    #[arg(long, value_name = "TOKEN", default_value = "id_token", value_parser = ["id_token", "access_token", "native"])]
    bearer: String,
    /// How long the tokens that clients get are valid, to watch them being refreshed.
    #[arg(long, value_name = "TIME", value_parser = period)]
    token_lifetime: Option<Period>,
    /// Writes a JSON file with the addresses once everything is up.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

fn period(text: &str) -> Result<Period, String> {
    use serde::de::IntoDeserializer;
    use serde::{Deserialize, de::value::Error};
    let text: serde::de::value::StrDeserializer<'_, Error> = text.into_deserializer();
    Period::deserialize(text).map_err(|error| error.to_string())
}

/// Brings everything up, and checks it or waits to be stopped.
pub(super) fn run(options: &Options, catalog: &Catalog) -> ExitCode {
    server::raise_files();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format_args!("the runtime cannot be started: {error}\n")),
    };
    runtime.block_on(async {
        let system = match System::start(options, catalog).await {
            Ok(system) => system,
            Err(error) => return fail(&format_args!("{error}\n")),
        };
        let ended = if options.check {
            check::run(&system).await
        } else {
            serve(&system, options).await
        };
        system.stop(DRAIN).await;
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format_args!("{error}\n")),
        }
    })
}

async fn serve(system: &System, options: &Options) -> Result<(), String> {
    let (mut terminate, mut interrupt) = signal(SignalKind::terminate())
        .and_then(|terminate| Ok((terminate, signal(SignalKind::interrupt())?)))
        .map_err(|error| format!("signals cannot be received: {error}"))?;
    io::stdout()
        .write_all(guide::text(system, options).as_bytes())
        .map_err(|error| format!("the guide cannot be printed: {error}"))?;
    if let Some(file) = &options.ready_file {
        write_ready(system, options, file)?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Writes the addresses under another name first: whoever waits for the file finds it whole.
fn write_ready(system: &System, options: &Options, file: &Path) -> Result<(), String> {
    let text = serde_json::json!({
        "authorize": if options.relay { "relay" } else { "passthrough" },
        "bearer": options.bearer,
        "url": system.url(),
        "ca": system.ca_file(),
        "mcp": system.mcp_urls(),
        "admin": format!("http://{}", system.admin()),
    })
    .to_string();
    let partial = file.with_extension("partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, file))
        .map_err(|error| format!("`{}` cannot be written: {error}", file.display()))
}
