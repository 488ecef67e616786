//! This machine: who can read the keys, and how many connections there may be.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use mcp_gateway_filters::Problem;

use super::finding::Finding;
use crate::{config::Gateway, ingress::Limits, server::Machine};

const FILES: &str = "permissions";
const LIMIT: &str = "open files";

/// What others may do with a file that holds a secret: anything, or write as the group.
const EXPOSED: u32 = 0o037;

/// Looks at every file with a key.
pub(super) fn permissions(gateway: &Gateway) -> Vec<Finding> {
    let mut found = vec![];
    let tls = gateway.listeners.iter().filter_map(|one| one.tls.as_ref());
    for pair in tls.flat_map(|tls| &tls.certificates) {
        found.push(file(&pair.key, EXPOSED));
    }
    if gateway.sessions.keys.is_empty() {
        // Nobody shares this one, the group neither.
        found.push(file(
            &gateway.sessions.state_directory.join("session.key"),
            0o077,
        ));
    }
    if found.is_empty() {
        found.push(Finding::skipped(FILES, "no file with a key is configured"));
    }
    found
}

fn file(path: &Path, exposed: u32) -> Finding {
    match fs::metadata(path) {
        Ok(metadata) => judge_mode(&path.display().to_string(), metadata.mode(), exposed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!(
                "`{}` is not there yet; the first start makes it",
                path.display()
            );
            Finding::note(FILES, what)
        }
        Err(error) => {
            let what = format!("`{}` cannot be looked at: {error}", path.display());
            Finding::skipped(FILES, what)
        }
    }
}

fn judge_mode(path: &str, mode: u32, exposed: u32) -> Finding {
    let mode = mode & 0o777;
    if mode & exposed == 0 {
        return Finding::ok(FILES, format!("`{path}` has mode {mode:04o}"));
    }
    let keep = mode & !exposed;
    Finding::wrong(
        FILES,
        format!("`{path}` has mode {mode:04o}: others can read or replace the key"),
        format!("`chmod {keep:04o} {path}`, and make a new key if others use this machine"),
    )
}

/// Where a limit on open files was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The gateway that serves now.
    Gateway,
    /// This shell, which says nothing about a unit of systemd.
    Shell,
}

/// Judges the limit on open files against the connections that listeners take.
pub(super) fn judge_limit(machine: &Machine, of: Of, limits: &Limits) -> Finding {
    let whose = match of {
        Of::Gateway => "the gateway that runs",
        Of::Shell => "a gateway started from this shell",
    };
    let about = |problem: &Problem| problem.at == "limits.connections";
    let problems = machine.problems().into_iter().chain(machine.notes(limits));
    let Some(Problem { what, help, .. }) = problems.into_iter().find(about) else {
        let connections = machine.connections(limits);
        return Finding::ok(LIMIT, format!("{whose} takes {connections} connections"));
    };
    let what = format!("{whose}: {what}");
    let fix = help.unwrap_or_default();
    match of {
        Of::Gateway => Finding::wrong(LIMIT, what, fix),
        Of::Shell => Finding::note(LIMIT, what).fix(fix),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    #[test]
    fn a_key_that_others_can_read_is_exposed() {
        for (mode, verdict) in [
            (0o100_600, Verdict::Ok),
            (0o100_640, Verdict::Ok),
            (0o100_644, Verdict::Wrong),
            (0o100_660, Verdict::Wrong),
            (0o100_604, Verdict::Wrong),
        ] {
            assert_eq!(judge_mode("k", mode, EXPOSED).verdict, verdict, "{mode:o}");
        }
        let found = judge_mode("/etc/k", 0o644, EXPOSED);
        assert!(found.fix.unwrap().starts_with("`chmod 0640 /etc/k`"));
        assert!(judge_mode("k", 0o640, 0o077).is_wrong());
    }

    #[test]
    fn only_the_limit_of_the_gateway_itself_can_be_wrong() {
        let limits = Limits {
            connections: Some(10_000),
            ..Limits::default()
        };
        let verdict = |files, of| {
            let machine = Machine {
                files: Some(files),
                memory: None,
            };
            judge_limit(&machine, of, &limits).verdict
        };
        assert_eq!(verdict(1024, Of::Gateway), Verdict::Wrong);
        assert_eq!(verdict(1024, Of::Shell), Verdict::Note);
        assert_eq!(verdict(65_536, Of::Gateway), Verdict::Ok);
    }
}
