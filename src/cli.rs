//! The `mcp-gateway` command.
//!
//! Results go to standard output, logs and problems to standard error. Exit codes: 0 ok, 1 the
//! thing asked about is wrong, 2 wrong usage.

mod run;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use mcp_gateway_filters::Catalog;

/// Where a configuration is looked for when none is named.
const DEFAULT_FILES: [&str; 2] = ["gateway.yaml", "/etc/mcp-gateway/gateway.yaml"];

/// A programmable edge proxy that puts MCP servers behind an Entra ID sign-in.
#[derive(Debug, Parser)]
#[command(name = "mcp-gateway", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves.
    Run {
        #[command(flatten)]
        config: ConfigArgument,
    },
}

#[derive(Debug, clap::Args)]
struct ConfigArgument {
    /// The configuration; `./gateway.yaml`, then `/etc/mcp-gateway/gateway.yaml` by default.
    #[arg(short, long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    /// Returns the file to read: the one named, else the first default that exists.
    fn file(self) -> PathBuf {
        self.config.unwrap_or_else(|| {
            let mut defaults = DEFAULT_FILES.iter().map(PathBuf::from);
            defaults
                .find(|file| file.exists())
                .unwrap_or_else(|| PathBuf::from(DEFAULT_FILES[0]))
        })
    }
}

/// Runs the command line of this process with the filters of `catalog`.
///
/// A program that embeds the gateway registers its own filters and calls this from its `main`.
#[must_use]
pub fn main(catalog: &Catalog) -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors, but clap returns them as such.
            let code = if error.use_stderr() { 2 } else { 0 };
            // A closed terminal cannot be told anything.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    log_to_stderr();
    let env = |name: &str| std::env::var(name).ok();
    match arguments.command {
        Command::Run { config } => run::run(&config.file(), &env, catalog),
    }
}

/// Sends log messages to standard error; `RUST_LOG` overrides what is shown.
///
/// Pingora's own messages are mostly left out: some of them quote bytes of the request.
fn log_to_stderr() {
    let filter = env_logger::Env::default()
        .default_filter_or("warn,mcp_gateway=info,pingora_core=off,pingora_core::services=error");
    // An embedding program may have set up a logger of its own.
    let _ = env_logger::Builder::from_env(filter)
        .format_target(false)
        .try_init();
}

/// Prints problems to standard error and returns the exit code for them.
fn fail(problems: &dyn std::fmt::Display) -> ExitCode {
    let _ = write!(std::io::stderr(), "{problems}");
    ExitCode::from(1)
}
