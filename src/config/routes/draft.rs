//! A route as written, before its steps are built.

use http::Method;

use crate::{
    config::{
        mcp::{MCP_METHODS, Mcp, ToolhiveApi},
        path::Path,
        problems::{Located, suggestion},
        reader::Reader,
        tree::{Entry, Kind, Node, Position, excerpt},
    },
    oauth,
    router::METHODS,
};

const KEYS: [&str; 4] = ["path", "methods", "filters", "mcp"];

/// A route before its steps are built.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    /// Empty when it cannot be used; the steps are still worth reading.
    pub(super) path: String,
    pub(super) methods: Vec<Method>,
    pub(super) body: Body<'a>,
    /// The path of the section in the file: `routes[3]`.
    pub(super) section: String,
    pub(super) at: Position,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    Steps(&'a Node),
    Mcp(Mcp),
    ToolhiveApi(ToolhiveApi),
    Generated(Vec<oauth::Step>),
}

/// Reads the route at an index, as far as it can be read.
pub(super) fn read<'a>(reader: &mut Reader<'a>, node: &'a Node, index: usize) -> Option<Draft<'a>> {
    let section = format!("routes[{index}]");
    if reader.is_pruned(node) {
        return None;
    }
    let Kind::Map(entries) = &node.kind else {
        let what = format!(
            "expected a route such as `{{path: /mcp, mcp: …}}`, found {}",
            node.describe()
        );
        reader.push(Located::at(node.at, section, what));
        return None;
    };
    check_keys(reader, entries, &section);
    let base = Path::written(&section);
    let path = if let Some(path) = node.find("path") {
        reader.read::<String>(path, &base.key("path"))
    } else {
        reader.problem(&section, "missing key `path`");
        None
    };
    let path = path
        .filter(|path| is_path(reader, &format!("{section}.path"), path))
        .unwrap_or_default();
    let methods = methods(reader, node, &section);
    let body = body(reader, node, &section)?;
    if matches!(body, Body::Mcp(_)) && (path.ends_with('*') || path == "/") {
        // Clients append a slash to a bare origin and then compare it with the resource.
        let what = format!("an MCP route has one path with a name, such as `/mcp`, found `{path}`");
        reader.problem(&format!("{section}.path"), what);
    }
    let methods = match body {
        Body::Mcp(_) if methods.is_empty() => known_methods(&MCP_METHODS),
        _ => methods,
    };
    let at = node.at;
    Some(Draft {
        path,
        methods,
        body,
        section,
        at,
    })
}

fn check_keys(reader: &mut Reader<'_>, entries: &[Entry], section: &str) {
    for Entry { key, at, .. } in entries {
        if KEYS.contains(&key.as_str()) {
            continue;
        }
        reader.push(if key == "policy" {
            let what = "`policy` arrives with Cedar at the edge and is not available yet";
            Located::at(*at, section, what).help(
                "`mcp` and `authenticate` take `groups`; ToolHive evaluates Cedar policies per workload",
            )
        } else {
            Located::at(*at, section, format!("unknown key `{}`", excerpt(key)))
                .help(suggestion(key, "expected keys", KEYS))
        });
    }
}

fn body<'a>(reader: &mut Reader<'a>, route: &'a Node, section: &str) -> Option<Body<'a>> {
    let (what, help) = match (route.find("mcp"), route.find("filters")) {
        (Some(node), None) => {
            let base = Path::written(section);
            return reader.read(node, &base.key("mcp")).map(Body::Mcp);
        }
        (None, Some(steps)) => return Some(Body::Steps(steps)),
        (Some(_), Some(_)) => (
            "expected `mcp` or `filters`, found both",
            "`mcp` is short for a list of steps, which `mcp-gateway explain` prints",
        ),
        (None, None) => (
            "expected `mcp` or `filters`, found neither",
            "`mcp: {upstream: NAME}` makes a protected MCP route",
        ),
    };
    reader.problem_help(section, what, help);
    None
}

fn known_methods(names: &[&str]) -> Vec<Method> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn methods(reader: &mut Reader<'_>, route: &Node, section: &str) -> Vec<Method> {
    let Some(node) = route.find("methods") else {
        return vec![];
    };
    let base = Path::written(section);
    let names: Vec<String> = reader.read(node, &base.key("methods")).unwrap_or_default();
    for (index, name) in names.iter().enumerate() {
        if !METHODS.contains(&name.as_str()) {
            let help = suggestion(&name.to_ascii_uppercase(), "expected one of", METHODS);
            let what = format!("unknown method `{}`", excerpt(name));
            reader.problem_help(&format!("{section}.methods[{index}]"), what, help);
        }
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Reads the management API's route, when there is one.
pub(super) fn toolhive_api<'a>(reader: &mut Reader<'a>) -> Option<Draft<'a>> {
    const SECTION: &str = "toolhive_api";
    let node = reader.root.find(SECTION)?;
    let api: ToolhiveApi = reader.read(node, &Path::root().key(SECTION))?;
    for (list, empty, what) in [
        (
            "groups",
            api.groups.is_empty(),
            "expected the groups that may call, found none",
        ),
        (
            "allow",
            api.allow.is_empty(),
            "expected what may be asked for, found nothing",
        ),
    ] {
        if empty {
            let help =
                "this API starts containers and reads secrets: it is never open to every user";
            reader.problem_help(&format!("{SECTION}.{list}"), what, help);
        }
    }
    Some(Draft {
        path: ToolhiveApi::PATH.to_owned(),
        methods: vec![],
        body: Body::ToolhiveApi(api),
        section: SECTION.to_owned(),
        at: node.at,
    })
}

/// Says whether a path is one that a request can have after the ingress made it canonical.
fn is_path(reader: &mut Reader<'_>, at: &str, path: &str) -> bool {
    let exact = path.strip_suffix("/*").unwrap_or(path);
    let segments = || exact.split('/').skip(1);
    let what = if !path.starts_with('/') {
        "a path starts with `/`"
    } else if exact.contains('*') {
        "`*` stands only at the end, as `/*`"
    } else if exact.contains(['?', '#', '%', '\\', ';'])
        || !exact.chars().all(|c| c.is_ascii_graphic())
    {
        "a path is written in plain ASCII, without escapes, query or fragment"
    } else if segments().any(|segment| matches!(segment, "." | "..")) {
        "a path has no `.` and `..`"
    } else if path != "/"
        && (exact.ends_with('/') || segments().any(str::is_empty) && !exact.is_empty())
    {
        "a path has no empty segment and no trailing slash"
    } else {
        return true;
    };
    reader.problem(at, format!("{what}, found `{}`", excerpt(path)));
    false
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::tree;

    fn check(path: &str, expect: bool) {
        let root = tree::parse("routes: []").unwrap();
        let mut reader = Reader::new(&root, vec![], HashSet::new());
        assert_eq!(is_path(&mut reader, "routes", path), expect, "{path}");
    }

    #[test]
    fn a_path_is_one_that_a_request_can_have() {
        check("/", true);
        check("/*", true);
        check("/mcp", true);
        check("/mcp/a.b-c_d~e", true);
        check("/api/*", true);
        check("/.well-known/x", true);
    }

    #[test]
    fn a_path_that_is_never_matched_is_refused() {
        for path in [
            "", "mcp", "/mcp/", "//", "/a//b", "/a/../b", "/./a", "/a*", "/*/a", "/a?x", "/a#x",
            "/a%20b", "/a b", "/ä", "/a;b", "/a\\b", "*",
        ] {
            check(path, false);
        }
    }
}
