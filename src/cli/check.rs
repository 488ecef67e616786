//! `mcp-gateway check`: everything that is wrong with a configuration, and what is worth a thought.
//!
//! Certificates, keys and proxies are read as `run` would read them. Nothing is bound, contacted
//! or written: the session key that `run` makes for itself would then belong to whoever checked.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use mcp_gateway_filters::{Catalog, Problem};

use crate::{
    config::{self, Environment, Gateway, Loaded},
    egress::Egress,
    listener::Listener,
    server::{Machine, raise_files},
};

/// Prints what can be said about a configuration; returns whether it is valid.
///
/// Problems go to `err`, the verdict and the notes to `out`. `now` is in seconds since the Unix
/// epoch; certificates are judged by it.
///
/// # Errors
/// When nothing can be written.
pub fn run(
    file: &Path,
    env: Environment<'_>,
    catalog: &Catalog,
    now: i64,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let Loaded {
        gateway,
        notes,
        source,
        ..
    } = match config::load(file, env, catalog) {
        Ok(loaded) => loaded,
        Err(problems) => {
            write!(err, "{problems}")?;
            writeln!(err, "{}", count(problems.list().len()))?;
            return Ok(false);
        }
    };
    // As `run` does; it may be another machine than the one that will serve.
    raise_files();
    let machine = Machine::read();
    let problems = beyond_the_text(&gateway, now).into_iter();
    let here = machine.problems().into_iter();
    let here = here.map(|problem| (String::new(), problem));
    let problems = source.problems(problems.chain(here));
    if !problems.list().is_empty() {
        write!(err, "{problems}")?;
        writeln!(err, "{}", count(problems.list().len()))?;
        return Ok(false);
    }
    write!(out, "{notes}")?;
    let here = machine.notes(&gateway.limits).into_iter();
    write!(out, "{}", source.notes(here.map(|note| ("", note))))?;
    writeln!(
        out,
        "{} is valid: {}, {}, {}",
        source.file(),
        number(gateway.listeners.len(), "listener"),
        number(gateway.upstreams.len(), "upstream"),
        number(gateway.routes.len(), "route"),
    )?;
    Ok(true)
}

/// Returns what shows only when the files are read that a configuration names.
pub(super) fn beyond_the_text(gateway: &Gateway, now: i64) -> Vec<(String, Problem)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut found = vec![];
    let mut take = |base: String, problems: Vec<Problem>| {
        found.extend(problems.into_iter().map(|problem| (base.clone(), problem)));
    };
    for (index, listener) in gateway.listeners.iter().enumerate() {
        if let Err(problems) = Listener::build(listener, &provider, now) {
            take(format!("listeners[{index}]"), problems);
        }
    }
    for (place, credentials) in &gateway.credentials {
        let problem = credentials.problem_at(u64::try_from(now).unwrap_or_default());
        take(place.clone(), problem.into_iter().collect());
    }
    if let Err(problems) = Egress::build(&gateway.egress) {
        take("egress".to_owned(), problems);
    }
    found
}

fn count(problems: usize) -> String {
    format!("{} found", number(problems, "problem"))
}

fn number(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
