//! What the system lets this process have, and what follows for the limits that are not set.
//!
//! Reading is apart from judging, so that tests judge machines they do not have.

use std::{
    fs,
    path::{Path, PathBuf},
};

use mcp_gateway_filters::Problem;
use rustix::{
    param::page_size,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

use super::ADMIN_CONNECTIONS;
use crate::{ingress::Limits, listener::RESERVE, units::Size};

/// The most connections where nobody has said how many: sized for a company.
const MOST_CONNECTIONS: usize = 16_384;
/// Open files beside those of clients: the reserves for health, the admin listener, connections
/// to workloads that wait for work, and what the process opens for itself.
const OTHER_FILES: usize = 2 * RESERVE + ADMIN_CONNECTIONS + 192;
/// What a client's connection may need: itself, and the one to a workload that serves it.
const FILES_OF_CONNECTION: usize = 2;
/// With fewer open files not even an idle gateway starts.
const FEWEST_FILES: usize = 128;

/// What the system lets this process have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Open files; `None` when there is no limit.
    pub files: Option<usize>,
    /// Bytes of memory: the smallest limit of its control groups, or all there is. `None` when
    /// nothing says so.
    pub memory: Option<usize>,
}

impl Machine {
    /// Asks the system.
    #[must_use]
    pub fn read() -> Self {
        Self {
            files: getrlimit(Resource::Nofile).current.map(saturated),
            memory: memory(Path::new("/")),
        }
    }

    /// How many connections are taken: as configured, or what fits.
    #[must_use]
    pub fn connections(&self, limits: &Limits) -> usize {
        limits.connections.unwrap_or_else(|| {
            let fit = self.files.map_or(MOST_CONNECTIONS, |files| {
                // Where there are few, the reserves are hardly ever used up.
                (files - OTHER_FILES.min(files / 4)) / FILES_OF_CONNECTION
            });
            fit.clamp(1, MOST_CONNECTIONS)
        })
    }

    /// How many bytes the process may hold before new work is refused; `None` when nobody knows
    /// what would be too much.
    #[must_use]
    pub fn memory_mark(&self, limits: &Limits) -> Option<usize> {
        let share = || Some(self.memory? / 5 * 4);
        limits.memory.map(|size| size.0).or_else(share)
    }

    /// Why no gateway can serve here.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let few = self.files.filter(|files| *files < FEWEST_FILES);
        few.map(|files| {
            let what = format!(
                "this process may open `{files}` files, and serving takes at least {FEWEST_FILES}"
            );
            Problem::new("limits.connections", what).help(MORE_FILES)
        })
        .into_iter()
        .collect()
    }

    /// What limits promise and the machine does not hold.
    #[must_use]
    pub fn notes(&self, limits: &Limits) -> Vec<Problem> {
        let mut found = vec![];
        if let (Some(connections), Some(files)) = (limits.connections, self.files) {
            let need = connections
                .saturating_mul(FILES_OF_CONNECTION)
                .saturating_add(OTHER_FILES);
            if need > files {
                let what = format!(
                    "`{connections}` connections may take {need} open files, and this process may open {files}"
                );
                let help = format!("{MORE_FILES}, or leave it out: it is then what fits");
                found.push(Problem::new("limits.connections", what).help(help));
            }
        }
        match (limits.memory, self.memory) {
            (Some(mark), Some(most)) if mark.0 >= most => {
                let what = format!(
                    "new work is refused above `{mark}`, and this process may have no more than {} MiB",
                    most / Size::mib(1).0
                );
                found.push(Problem::new("limits.memory", what));
            }
            (None, None) => {
                let what = "nothing here says how much memory this process may have: work is not refused when it is short";
                let help = "set `limits.memory`, or `MemoryMax=` in the unit";
                found.push(Problem::new("limits.memory", what).help(help));
            }
            _ => {}
        }
        found
    }
}

const MORE_FILES: &str = "raise `LimitNOFILE=` in the unit (`ulimit -n` in a shell)";

/// Makes the limit of open files as large as this process may make it.
///
/// Shells and services start with a low one for the sake of programs that use `select`; this one
/// does not. What cannot be raised stays, and [`Machine::read`] says how much that is.
pub fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!(error:%; "the limit of open files stays");
    }
}

fn saturated(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// The memory that the process may have, by the system files under `root`.
fn memory(root: &Path) -> Option<usize> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups.lines().flat_map(|line| group_files(root, line));
    let limits = limits.filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
    // A limit of 0 would be no process.
    limits
        .chain(physical(root))
        .filter(|limit| *limit > 0)
        .min()
}

/// The files that limit a control group and those above it, by its line in `/proc/self/cgroup`
/// (cgroups(7)): `0::/PATH` for version 2, `N:CONTROLLERS:/PATH` for version 1.
fn group_files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
        return vec![];
    };
    let (mount, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        some if some.split(',').any(|one| one == "memory") => {
            ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
        }
        _ => return vec![],
    };
    // In a container the path may be that of the host; what is above it is then what counts.
    Path::new(path)
        .ancestors()
        .filter_map(|group| group.strip_prefix("/").ok())
        .map(|group| root.join(mount).join(group).join(file))
        .collect()
}

fn physical(root: &Path) -> Option<usize> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    kib(&text, "MemTotal:")
}

/// The memory that this process holds for itself, in bytes; pages of files do not count, since the
/// system takes them back when it needs them.
pub(super) fn held() -> Option<usize> {
    // proc_pid_statm(5): size, resident, shared, in pages. `status` says the same and costs the
    // kernel ten times as much.
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split_ascii_whitespace().map(str::parse::<usize>);
    let (resident, shared) = (pages.nth(1)?.ok()?, pages.next()?.ok()?);
    resident.checked_sub(shared)?.checked_mul(page_size())
}

/// Reads a line such as `MemTotal:  123 kB`.
fn kib(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: usize = line.split_ascii_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: usize, memory: usize) -> Machine {
        Machine {
            files: Some(files),
            memory: Some(memory),
        }
    }

    fn limits(yaml: &str) -> Limits {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn takes_as_many_connections_as_fit() {
        let check = |files, expect| {
            let machine = Machine {
                files,
                memory: None,
            };
            assert_eq!(machine.connections(&limits("{}")), expect, "{files:?}");
            assert_eq!(machine.connections(&limits("connections: 7")), 7);
        };
        check(None, 16_384);
        check(Some(131_072), 16_384);
        check(Some(20_000), 9520);
        check(Some(1024), 384);
        check(Some(0), 1);
    }

    #[test]
    fn says_what_does_not_fit() {
        let check = |machine: Machine, yaml: &str, expect: &[&str]| {
            let notes = machine.notes(&limits(yaml));
            let found: Vec<_> = notes.iter().map(|note| note.at.as_str()).collect();
            assert_eq!(found, expect, "{machine:?}, {yaml}");
        };
        let roomy = machine(40_000, 1 << 30);
        check(roomy, "{}", &[]);
        check(roomy, "{ connections: 16384, memory: 800MiB }", &[]);
        check(roomy, "memory: 1GiB", &["limits.memory"]);
        check(
            machine(33_000, 1 << 30),
            "connections: 16384",
            &["limits.connections"],
        );
        let unknown = Machine {
            files: None,
            memory: None,
        };
        check(unknown, "{}", &["limits.memory"]);
        check(unknown, "memory: 1GiB", &[]);
        assert_eq!(roomy.problems(), []);
        assert_eq!(machine(64, 1 << 30).problems().len(), 1);
    }

    #[test]
    fn leaves_a_fifth_of_the_memory() {
        let known = machine(1, 1000);
        assert_eq!(known.memory_mark(&limits("{}")), Some(800));
        assert_eq!(known.memory_mark(&limits("memory: 1MiB")), Some(1 << 20));
        let unknown = Machine {
            memory: None,
            ..known
        };
        assert_eq!(unknown.memory_mark(&limits("{}")), None);
    }

    #[test]
    fn finds_the_smallest_limit() {
        let check = |files: &[(&str, &str)], expect: Option<usize>| {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in files {
                let file = folder.path().join(name);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, text).unwrap();
            }
            assert_eq!(memory(folder.path()), expect, "{files:?}");
        };
        check(&[], None);
        let total = ("proc/meminfo", "MemTotal:       8192 kB\nMemFree: 1 kB\n");
        check(&[total], Some(8 << 20));
        let unit = ("proc/self/cgroup", "0::/system.slice/g.service\n");
        let max = |limit| ("sys/fs/cgroup/system.slice/g.service/memory.max", limit);
        check(&[total, unit, max("1048576\n")], Some(1 << 20));
        check(&[total, unit, max("max\n")], Some(8 << 20));
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "4096\n");
        check(&[total, unit, max("1048576\n"), slice], Some(4096));
        let container = ("proc/self/cgroup", "0::/\n");
        let inside = ("sys/fs/cgroup/memory.max", "65536\n");
        check(&[container, inside], Some(65_536));
        let first = (
            "proc/self/cgroup",
            "12:pids:/a\n3:cpu,memory:/docker/abc\n0::/\n",
        );
        let hidden = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "32768\n");
        check(&[first, hidden], Some(32_768));
        let unlimited = (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        );
        check(&[total, first, unlimited], Some(8 << 20));
    }

    #[test]
    fn this_process_holds_something() {
        let block = vec![1_u8; 8 << 20];
        assert!(held().unwrap() > block.len());
    }
}
