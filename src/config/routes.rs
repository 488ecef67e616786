//! Routes: what is written and what profiles add go through one builder.

mod draft;
mod order;

use std::collections::HashMap;

use mcp_gateway_filters::Catalog;

use super::{
    Identity, Route, Step, UpstreamToken,
    expanded::{self, Nodes},
    mcp::Mcp,
    problems::Located,
    reader::Reader,
    secrets::Secrets,
    steps::{self, Named, Names, Written},
    token_client::Profile,
    tree::{Kind, Node},
};
use crate::{
    oauth::{self, ClientCredentials, Entra, Protected, Provider, Setting},
    origin::Origin,
};
use draft::{Body, Draft};

/// What routes may refer to; `None` is what is missing or could not be read.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) public: Option<&'a Origin>,
    pub(super) identity: Option<&'a Identity>,
    pub(super) entra: Option<&'a Entra>,
    /// The provider, where it is another one.
    pub(super) provider: Option<&'a Provider>,
    /// Those of the provider.
    pub(super) credentials: Option<&'a ClientCredentials>,
    pub(super) secrets: &'a Secrets<'a>,
    pub(super) upstreams: &'a [String],
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
            if let Some(mcp) = node.find("mcp") {
                let base = format!("routes[{index}].mcp");
                steps::knows_upstream(reader, around.upstreams, mcp, &base);
            }
            drafts.extend(draft::read(reader, node, index));
        }
    }
    if let Some(api) = root.find("toolhive_api") {
        steps::knows_upstream(reader, around.upstreams, api, "toolhive_api");
    }
    drafts.extend(draft::toolhive_api(reader));
    let protected = protected(&drafts);
    refuse_lost_challenges(reader, &drafts, &protected);
    let signing_in = match (around.entra, around.provider, around.public) {
        (Some(entra), _, Some(public)) => Some(("entra", entra.routes(public, &protected))),
        (_, Some(other), Some(public)) => Some((other.name, other.routes(public, &protected))),
        _ => None,
    };
    if let Some((name, routes)) = signing_in {
        let section = format!("authorization_server.{name}");
        drafts.extend(
            routes
                .into_iter()
                .map(|route| generated(root, route, &section)),
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
        Body::ToolhiveApi(_) => None,
        _ => relies_on_metadata(draft).then_some(None),
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

/// Says whether the challenge of a route points at a document that is made for it.
fn relies_on_metadata(draft: &Draft<'_>) -> bool {
    match &draft.body {
        Body::Mcp(_) | Body::ToolhiveApi(_) => true,
        Body::Generated(_) => false,
        Body::Steps(steps) => steps
            .children()
            .filter_map(Named::of)
            .any(|step| step.name == "authenticate" && !steps::names_metadata(step.settings)),
    }
}

/// A route for everything has no path of its own to describe: its challenge points at the root,
/// which describes another route.
fn refuse_lost_challenges(reader: &mut Reader<'_>, drafts: &[Draft<'_>], protected: &[Protected]) {
    if !protected.is_empty() {
        return;
    }
    let lost = |draft: &&Draft<'_>| relies_on_metadata(draft) && draft.path.starts_with('/');
    for draft in drafts.iter().filter(lost) {
        let what = "callers without a token would be pointed at metadata that no route publishes";
        let help = "add an MCP route, or a route with a path of its own that authenticates";
        reader.problem_help(&draft.section, what, help);
    }
}

/// Returns the path that stands for a route in its resource URL; empty for everything.
fn resource_path(path: &str) -> &str {
    path.strip_suffix("/*")
        .unwrap_or(path)
        .trim_end_matches('/')
}

fn refuse_duplicates(reader: &mut Reader<'_>, drafts: &[Draft<'_>]) {
    let mut taken: HashMap<&str, &Draft<'_>> = HashMap::new();
    for draft in drafts.iter().filter(|draft| !draft.path.is_empty()) {
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
        profile: around.entra.map(|entra| Profile {
            entra,
            credentials: around.credentials,
        }),
        secrets: around.secrets,
        resource_metadata: &resource_metadata,
    };
    let steps = match &draft.body {
        Body::Steps(list) => written_steps(reader, &names, list, &draft.section)?,
        Body::Generated(steps) => made_steps(reader, &names, nodes, steps, draft)?,
        Body::Mcp(mcp) => {
            let section = format!("{}.mcp", draft.section);
            needs_identity(reader, around, &section);
            note_token(reader, around, mcp, &section);
            let steps = mcp.steps(&draft.path, around.public?, around.identity?);
            made_steps(reader, &names, nodes, &steps, draft)?
        }
        Body::ToolhiveApi(api) => {
            needs_identity(reader, around, &draft.section);
            let steps = api.steps(around.public?, around.identity?);
            made_steps(reader, &names, nodes, &steps, draft)?
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

fn note_token(reader: &mut Reader<'_>, around: &Surroundings<'_>, mcp: &Mcp, section: &str) {
    if mcp.upstream_token == UpstreamToken::Caller
        && let Some(identity) = around.identity
    {
        let start = identity.workload_command();
        reader.note(
            section,
            format!(
                "upstream `{}` gets the caller's token: right for a ToolHive workload that verifies it \
                 (`{start}`); a transparent workload passes it on to its container, \
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
    order::check(reader, names.catalog, items, list, &section);
    let built = items.iter().enumerate().map(|(index, node)| {
        if reader.is_pruned(node) {
            return None;
        }
        let path = format!("{section}[{index}]");
        let step = steps::build(reader, names, node, Written::Here(&path))?;
        let shown = with_defaults(&step).or_else(|| {
            let Named { name, settings } = Named::of(node)?;
            let settings = match expanded::shown(settings) {
                map @ Setting::Map(_) => map,
                _ => Setting::Map(vec![]),
            };
            Some(oauth::Step {
                name: name.to_owned(),
                settings,
            })
        })?;
        Some((step, shown))
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
        Step::Filter { .. } | Step::IssueClient(_) => return None,
        Step::Authenticate(settings) => expanded::settings(settings),
        Step::Proxy(settings) => expanded::settings(settings),
        Step::Exchange(settings) => expanded::settings(settings),
        Step::ResolveClient(settings) => expanded::settings(settings),
        Step::Relay(settings) => expanded::settings(settings),
        Step::OpenGrant(settings) => expanded::settings(settings),
    };
    let name = step.name().to_owned();
    Some(oauth::Step { name, settings })
}
