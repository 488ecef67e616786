//! The `mcp-gateway` command.
//!
//! Results go to standard output, logs and problems to standard error. Exit codes: 0 ok, 1 the
//! thing asked about is wrong, 2 wrong usage.

pub mod check;
#[cfg(feature = "demo")]
mod demo;
pub mod doctor;
pub mod explain;
pub mod filters;
mod run;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

use clap::{Parser, Subcommand};
use log::LevelFilter;
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
    /// Reads the configuration and prints every problem in it.
    Check {
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// Prints the configuration with every default and profile written out; with a request, the
    /// route it takes, its steps, the upstream, and who may call it.
    Explain {
        #[command(flatten)]
        config: ConfigArgument,
        /// The method of a request.
        #[arg(requires = "url")]
        method: Option<http::Method>,
        /// Its URL or path.
        url: Option<http::Uri>,
    },
    /// Looks at everything around the gateway, from Entra ID to the workloads, and says what to
    /// change: names, proxy, keys, clock, app registration, certificates, public URL, workloads.
    ///
    /// Nobody signs in and nothing is changed. Exit code 0: nothing is wrong; 1: something is.
    Doctor {
        #[command(flatten)]
        config: ConfigArgument,
        /// Prints one JSON object instead of lines.
        #[arg(long)]
        json: bool,
    },
    /// Lists what a route can be made of, or shows one filter's settings with an example.
    Filters {
        /// A filter.
        name: Option<String>,
    },
    /// Shows the whole system on this machine, with stand-ins for Entra ID and ToolHive.
    #[cfg(feature = "demo")]
    Demo(demo::Options),
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
        Command::Check { config } => {
            read(|out, err| check::run(&config.file(), &env, catalog, unix_now(), out, err))
        }
        Command::Explain {
            config,
            method,
            url,
        } => read(|out, err| match (&method, &url) {
            (Some(method), Some(url)) => {
                explain::request(&config.file(), &env, catalog, (method, url), out, err)
            }
            _ => explain::whole(&config.file(), &env, catalog, out, err),
        }),
        Command::Doctor { config, json } => {
            let form = if json {
                doctor::Form::Json
            } else {
                doctor::Form::Lines
            };
            doctor::main(&config.file(), &env, catalog, form)
        }
        Command::Filters { name } => read(|out, err| match &name {
            Some(name) => filters::reference(catalog, name, out, err),
            None => filters::list(catalog, out).map(|()| true),
        }),
        #[cfg(feature = "demo")]
        Command::Demo(options) => demo::run(&options, catalog),
    }
}

/// Runs a command that only prints; its answer is whether all is well.
fn read(command: impl FnOnce(&mut dyn Write, &mut dyn Write) -> io::Result<bool>) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    match command(&mut out, &mut err) {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::from(1),
    }
}

fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

/// Sends log messages to standard error; `RUST_LOG` overrides what is shown.
///
/// Pingora's own messages are left out whatever it says, but for those of its services: some of
/// the others quote bytes of the request.
fn log_to_stderr() {
    let filter = env_logger::Env::default().default_filter_or("warn,mcp_gateway=info");
    // An embedding program may have set up a logger of its own.
    let _ = env_logger::Builder::from_env(filter)
        .filter_module("pingora_core", LevelFilter::Off)
        .filter_module("pingora_core::services", LevelFilter::Error)
        .format_target(false)
        .try_init();
}

/// Prints problems to standard error and returns the exit code for them.
fn fail(problems: &dyn std::fmt::Display) -> ExitCode {
    let _ = write!(io::stderr(), "{problems}");
    ExitCode::from(1)
}
