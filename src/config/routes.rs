//! Routes: what is written and what profiles add go through one builder.

use std::collections::HashMap;

use http::Method;
use mcp_gateway_filters::Catalog;

use super::{
    Identity, Route, Step, UpstreamToken,
    allow::METHODS,
    expanded::{self, Nodes},
    mcp::{MCP_METHODS, Mcp, ToolhiveApi},
    path::Path,
    problems::{Located, suggestion},
    reader::Reader,
    steps::{self, Named, Names, Written},
    tree::{Kind, Node, Position, excerpt},
};
use crate::{
    oauth::{self, Entra, Protected, Setting},
    origin::Origin,
};

const KEYS: [&str; 4] = ["path", "methods", "filters", "mcp"];

/// What routes may refer to; `None` is what is missing or could not be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) public: Option<&'a Origin>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) entra: Option<&'a Entra>,
    pub(super) upstreams: &'a [String],
}

/// A route before its steps are built.
#[derive(Debug)]
struct Draft<'a> {
    path: String,
    methods: Vec<Method>,
    body: Body<'a>,
    /// The path of the section in the file: `routes[3]`.
    section: String,
    at: Position,
}

#[derive(Debug)]
enum Body<'a> {
    Steps(&'a Node),
    Mcp(Mcp),
    ToolhiveApi(ToolhiveApi),
    Generated(Vec<oauth::Step>),
}

/// Reads and builds every route, and returns with it how it looks written out.
pub(super) fn build(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
) -> Vec<(Route, oauth::Route)> {
    let root = reader.root;
    let mut drafts = vec![];
    if let Some(Node {
        kind: Kind::List(items),
        ..
    }) = root.find("routes")
    {
        for (index, node) in items.iter().enumerate() {
            drafts.extend(draft(reader, node, index));
        }
    }
    drafts.extend(toolhive_api(reader));
    let protected = protected(&drafts);
    if let (Some(entra), Some(public)) = (around.entra, around.public) {
        let section = "authorization_server.entra";
        let routes = entra.routes(public, &protected);
        drafts.extend(
            routes
                .into_iter()
                .map(|route| generated(root, route, section)),
        );
    }
    if !drafts.iter().any(|draft| draft.path == "/health") {
        drafts.push(generated(root, health(), ""));
    }
    refuse_duplicates(reader, &drafts);
    let mut nodes = Nodes::new();
    drafts
        .iter()
        .filter_map(|draft| finish(reader, around, &mut nodes, draft))
        .collect()
}

fn draft<'a>(reader: &mut Reader<'a>, node: &'a Node, index: usize) -> Option<Draft<'a>> {
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
    for entry in entries
        .iter()
        .filter(|entry| !KEYS.contains(&entry.key.as_str()))
    {
        let problem = if entry.key == "policy" {
            Located::at(
                entry.at,
                section.as_str(),
                "`policy` arrives with Cedar at the edge and is not available yet",
            )
            .help("`authenticate` and `mcp` take `groups`; ToolHive evaluates Cedar policies per workload")
        } else {
            Located::at(
                entry.at,
                section.as_str(),
                format!("unknown key `{}`", excerpt(&entry.key)),
            )
            .help(suggestion(&entry.key, "expected keys", KEYS))
        };
        reader.push(problem);
    }
    let base = Path::written(&section);
    let path = match node.find("path") {
        Some(path) => reader.read::<String>(path, &base.key("path")),
        None => {
            reader.problem(&section, "missing key `path`");
            None
        }
    };
    let path = path.filter(|path| is_path(reader, &format!("{section}.path"), path));
    let methods = methods(reader, node, &section);
    let body = match (node.find("mcp"), node.find("filters")) {
        (Some(mcp), None) => reader.read::<Mcp>(mcp, &base.key("mcp")).map(Body::Mcp),
        (None, Some(steps)) => Some(Body::Steps(steps)),
        (Some(_), Some(_)) => {
            reader.problem_help(
                &section,
                "a route has `mcp` or `filters`, found both",
                "`mcp` is short for a list of steps, which `mcp-gateway explain` prints",
            );
            None
        }
        (None, None) => {
            reader.problem(&section, "expected `mcp` or `filters`, found neither");
            None
        }
    };
    let (path, body) = (path?, body?);
    if path.ends_with('*') && matches!(body, Body::Mcp(_)) {
        reader.problem(
            &format!("{section}.path"),
            "an MCP route has one exact path, without `/*`",
        );
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

fn toolhive_api<'a>(reader: &mut Reader<'a>) -> Option<Draft<'a>> {
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

fn generated<'a>(root: &Node, route: oauth::Route, section: &str) -> Draft<'a> {
    Draft {
        path: route.path,
        methods: vec![],
        body: Body::Generated(route.filters),
        section: section.to_owned(),
        at: super::path::locate(root, section).0,
    }
}

/// For load balancers: says that the process serves, and no more.
fn health() -> oauth::Route {
    let document = Setting::map([("status", "ok".into())]);
    oauth::Route {
        path: "/health".to_owned(),
        methods: vec![],
        filters: vec![oauth::Step::new(
            "respond",
            [("status", Setting::Number(200)), ("json", document)],
        )],
    }
}

/// Lists the routes whose challenge points at a document of ours.
fn protected(drafts: &[Draft<'_>]) -> Vec<Protected> {
    let describes = |draft: &Draft<'_>| match &draft.body {
        Body::Mcp(mcp) => Some(mcp.name.clone()),
        Body::Steps(steps) => steps
            .children()
            .filter_map(Named::of)
            .any(|step| step.name == "authenticate" && !steps::names_metadata(step.settings))
            .then_some(None),
        Body::ToolhiveApi(_) | Body::Generated(_) => None,
    };
    let mut protected: Vec<Protected> = vec![];
    for draft in drafts {
        let path = resource_path(&draft.path);
        let known = path.is_empty() || protected.iter().any(|one| one.path == path);
        if let Some(name) = describes(draft).filter(|_| !known) {
            protected.push(Protected {
                path: path.to_owned(),
                name,
            });
        }
    }
    protected
}

/// Returns the path that stands for a route in its resource URL; empty for everything.
fn resource_path(path: &str) -> &str {
    path.strip_suffix("/*")
        .unwrap_or(path)
        .trim_end_matches('/')
}

fn refuse_duplicates(reader: &mut Reader<'_>, drafts: &[Draft<'_>]) {
    let mut taken: HashMap<&str, &Draft<'_>> = HashMap::new();
    for draft in drafts {
        let Some(first) = taken.get(draft.path.as_str()) else {
            taken.insert(&draft.path, draft);
            continue;
        };
        // Of a written and a generated route, the written one is what the user can change.
        let (here, there) = match draft.body {
            Body::Generated(_) => (*first, draft),
            _ => (draft, *first),
        };
        let path = if here.section.starts_with("routes") {
            format!("{}.path", here.section)
        } else {
            here.section.clone()
        };
        let what = format!("path `{}` is taken by `{}`", draft.path, there.section);
        reader.problem(&path, what);
    }
}

fn finish(
    reader: &mut Reader<'_>,
    around: &Surroundings<'_>,
    nodes: &mut Nodes,
    draft: &Draft<'_>,
) -> Option<(Route, oauth::Route)> {
    let resource_metadata = around.public.map_or_else(String::new, |public| {
        oauth::resource_metadata(public, resource_path(&draft.path))
    });
    let names = Names {
        catalog: around.catalog,
        upstreams: around.upstreams,
        identity: around.identity,
        resource_metadata: &resource_metadata,
    };
    let steps = match &draft.body {
        Body::Steps(list) => written_steps(reader, &names, list, &draft.section)?,
        Body::Generated(steps) => made_steps(reader, &names, nodes, steps, draft)?,
        Body::Mcp(mcp) => {
            let section = format!("{}.mcp", draft.section);
            let known = steps::is_upstream(reader, around.upstreams, &mcp.upstream, &section, None);
            needs_identity(reader, around, &section);
            let steps = mcp.steps(&draft.path, around.public?, around.identity?);
            note_token(reader, mcp, &section);
            known.then(|| made_steps(reader, &names, nodes, &steps, draft))??
        }
        Body::ToolhiveApi(api) => {
            let known = steps::is_upstream(
                reader,
                around.upstreams,
                &api.upstream,
                &draft.section,
                None,
            );
            needs_identity(reader, around, &draft.section);
            let steps = api.steps(around.public?, around.identity?);
            known.then(|| made_steps(reader, &names, nodes, &steps, draft))??
        }
    };
    let (steps, filters) = steps.into_iter().unzip();
    let route = Route {
        path: draft.path.clone(),
        methods: draft.methods.clone(),
        steps,
    };
    let shown = oauth::Route {
        path: draft.path.clone(),
        methods: draft.methods.iter().map(ToString::to_string).collect(),
        filters,
    };
    Some((route, shown))
}

fn needs_identity(reader: &mut Reader<'_>, around: &Surroundings<'_>, section: &str) {
    let attempted = ["authorization_server", "identity"]
        .iter()
        .any(|key| reader.root.find(key).is_some());
    if around.identity.is_none() && !attempted {
        reader.problem_help(
            section,
            "callers cannot be authenticated: no authorization server is configured",
            "add `authorization_server: {entra: {tenant: …, client_id: …}}`",
        );
    }
}

fn note_token(reader: &mut Reader<'_>, mcp: &Mcp, section: &str) {
    if mcp.upstream_token == UpstreamToken::Caller {
        reader.note(
            section,
            format!(
                "upstream `{}` gets the caller's token: right for a ToolHive workload that verifies it \
                 (`thv run --oidc-issuer …`); a transparent workload passes it on to its container, \
                 where `upstream_token: none` is safer",
                mcp.upstream
            ),
        );
    }
}

type Steps = Vec<(Step, oauth::Step)>;

fn made_steps(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    nodes: &mut Nodes,
    steps: &[oauth::Step],
    draft: &Draft<'_>,
) -> Option<Steps> {
    let section = match draft.body {
        Body::Mcp(_) => format!("{}.mcp", draft.section),
        _ => draft.section.clone(),
    };
    let built = steps.iter().map(|step| {
        let node = nodes.step(step, draft.at);
        let built = steps::build(reader, names, &node, Written::By(&section))?;
        let shown = with_defaults(&built).unwrap_or_else(|| step.clone());
        Some((built, shown))
    });
    all(built)
}

fn written_steps(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    list: &Node,
    section: &str,
) -> Option<Steps> {
    let section = format!("{section}.filters");
    let Kind::List(items) = &list.kind else {
        let what = format!("expected a list of steps, found {}", list.describe());
        reader.push(Located::at(list.at, section, what));
        return None;
    };
    check_order(reader, names, items, list, &section);
    let built = items.iter().enumerate().map(|(index, node)| {
        if reader.is_pruned(node) {
            return None;
        }
        let path = format!("{section}[{index}]");
        let built = steps::build(reader, names, node, Written::Here(&path))?;
        let shown = with_defaults(&built).or_else(|| {
            let named = Named::of(node)?;
            let settings = match expanded::shown(named.settings) {
                map @ Setting::Map(_) => map,
                _ => Setting::Map(vec![]),
            };
            Some(oauth::Step {
                name: named.name.to_owned(),
                settings,
            })
        })?;
        Some((built, shown))
    });
    all(built)
}

/// Collects every step, so that each one's problems are found.
fn all(built: impl Iterator<Item = Option<(Step, oauth::Step)>>) -> Option<Steps> {
    let built: Vec<Option<_>> = built.collect();
    built.into_iter().collect()
}

/// Writes a capability out with its defaults; a filter keeps what was written.
fn with_defaults(step: &Step) -> Option<oauth::Step> {
    let settings = match step {
        Step::Filter { .. } => return None,
        Step::Authenticate(settings) => expanded::settings(settings),
        Step::Proxy(settings) => expanded::settings(settings),
        Step::Exchange(settings) => expanded::settings(settings),
    };
    let name = step.name().to_owned();
    Some(oauth::Step { name, settings })
}

fn check_order(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    items: &[Node],
    list: &Node,
    section: &str,
) {
    let builtin = Catalog::builtin();
    let steps: Vec<Option<Named<'_>>> = items.iter().map(Named::of).collect();
    let named = || {
        steps
            .iter()
            .enumerate()
            .filter_map(|(i, step)| Some((i, (*step)?)))
    };
    if let Some((index, end)) = named().find(|(_, step)| step.answers())
        && let Some(after) = items.get(index + 1)
    {
        let path = format!("{section}[{}]", index + 1);
        let what = format!(
            "this step is never reached: `{}` answers every request",
            end.name
        );
        reader.push(Located::at(after.at, path, what));
    }
    // Steps that are unknown are a problem of their own; those of an embedding program may answer.
    let known = |step: &Named<'_>| step.passes_on(&builtin);
    if steps.iter().all(|step| step.as_ref().is_some_and(known)) {
        let what = if items.is_empty() {
            "expected at least one step, found none"
        } else {
            "no step of this route ever answers"
        };
        let help = "end it with `proxy`, `respond`, `redirect` or another step that answers";
        reader.push(Located::at(list.at, section, what).help(help));
    }
    let mut authenticated = named().filter(|(_, step)| step.name == "authenticate");
    let first = authenticated.next();
    if let Some((index, _)) = authenticated.next() {
        reader.problem(&format!("{section}[{index}]"), "a route authenticates once");
    }
    let proxy = named().find(|(_, step)| step.name == "proxy");
    if let (Some((index, _)), None) = (proxy, first) {
        let what = "everyone reaches this upstream: no `authenticate` stands before `proxy`";
        reader.note(&format!("{section}[{index}]"), what);
    }
    let _ = names;
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
