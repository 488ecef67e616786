//! One step of a route: a filter of the catalog, or a capability of the gateway.

use std::sync::Arc;

use mcp_gateway_filters::{BuildError, Catalog};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Authenticate, Exchange, Identity, IssueClient, Proxy, Step,
    capabilities::{CAPABILITIES, Capability},
    gateway::Endpoint,
    path::{self, Path},
    problems::{Located, suggestion},
    reader::Reader,
    secrets::Secrets,
    token_client::Profile,
    tree::{Kind, Node, excerpt, is_made},
    upstream_token,
};

/// What steps may refer to.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) upstreams: &'a [String],
    /// `None` when there is none, or none that could be read.
    pub(super) identity: Option<&'a Identity>,
    /// What completes settings that the provider says already.
    pub(super) profile: Option<Profile<'a>>,
    pub(super) secrets: &'a Secrets<'a>,
    /// The URL of the document that describes the route.
    pub(super) resource_metadata: &'a str,
}

/// Where a step came from, so that its problems can be shown where the user wrote it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written<'a> {
    /// Written out, at this path.
    Here(&'a str),
    /// Made from the section at this path.
    By(&'a str),
}

/// A step as written: its name, where that stands, and its settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a Node,
}

impl<'a> Named<'a> {
    /// Takes a map with one key apart; a bare name is a step without settings.
    pub(super) fn of(node: &'a Node) -> Option<Self> {
        match &node.kind {
            Kind::Map(entries) => match entries.as_slice() {
                [entry] => Some(Self {
                    name: &entry.key,
                    settings: &entry.value,
                }),
                _ => None,
            },
            Kind::Scalar(scalar) if !scalar.is_null() => Some(Self {
                name: &scalar.text,
                settings: node,
            }),
            _ => None,
        }
    }

    fn is_bare(&self) -> bool {
        matches!(&self.settings.kind, Kind::Scalar(scalar) if scalar.text == self.name)
    }

    /// Says whether the step answers every request that it sees; `None` when no step has this name.
    pub(super) fn answers(&self, catalog: &Catalog) -> Option<bool> {
        let capability = Capability::find(self.name).map(|one| one.answers);
        capability.or_else(|| catalog.find(self.name).map(|one| one.answers))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AuthenticateSettings {
    resource_metadata: Option<Endpoint>,
    scopes: Option<Vec<String>>,
    groups: Vec<String>,
}

/// Says whether an `authenticate` step names a metadata document of its own.
pub(super) fn names_metadata(settings: &Node) -> bool {
    settings.find("resource_metadata").is_some()
}

/// Builds a step, or says why not.
pub(super) fn build(
    reader: &mut Reader<'_>,
    names: &Names<'_>,
    node: &Node,
    written: Written<'_>,
) -> Option<Step> {
    let Some(step) = Named::of(node) else {
        let found = match node.entries() {
            [] => node.describe(),
            entries => {
                let keys: Vec<String> = entries.iter().map(|e| format!("`{}`", e.key)).collect();
                format!("one with the keys {}", keys.join(", "))
            }
        };
        let what = format!("expected a map with one key such as `strip_query: …`, found {found}");
        reader.push(Located::at(node.at, written.path(), what));
        return None;
    };
    let empty;
    let node_of_settings = if step.is_bare() {
        // The bare name is the whole node: its settings are an empty map in the same place.
        empty = Node {
            id: node.id,
            at: node.at,
            kind: Kind::Map(vec![]),
        };
        &empty
    } else {
        step.settings
    };
    let base = written.settings_path(step.name);
    let settings = Settings {
        reader,
        node: node_of_settings,
        base: &base,
    };
    match step.name {
        "authenticate" => settings.authenticate(names),
        "proxy" => settings.proxy(names),
        "exchange" => settings.exchange(names),
        "resolve_client" => settings.read().map(Step::ResolveClient),
        "relay" => settings.read().map(Step::Relay),
        "open_grant" => settings.read().map(Step::OpenGrant),
        "issue_client" => settings.issue_client(names, node, written),
        "authorize" | "policy" => {
            reader.push(Located::at(
                node.at,
                written.path(),
                format!(
                    "step `{}` arrives with Cedar at the edge and is not available yet",
                    step.name
                ),
            ));
            None
        }
        name => settings.filter(names, name, node, written),
    }
}

impl Written<'_> {
    fn path(self) -> String {
        match self {
            Self::Here(path) | Self::By(path) => path.to_owned(),
        }
    }

    fn settings_path(self, name: &str) -> String {
        match self {
            Self::Here(path) => path::join(path, name),
            // Settings keep their names when a section is expanded.
            Self::By(path) => path.to_owned(),
        }
    }
}

struct Settings<'r, 't, 'n> {
    reader: &'r mut Reader<'t>,
    node: &'n Node,
    base: &'n str,
}

impl Settings<'_, '_, '_> {
    fn read<T: DeserializeOwned>(self) -> Option<T> {
        self.reader.read(self.node, &Path::written(self.base))
    }

    fn authenticate(self, names: &Names<'_>) -> Option<Step> {
        let base = self.base;
        let at = self.node.at;
        let reader = self.reader;
        let settings: AuthenticateSettings = reader.read(self.node, &Path::written(base))?;
        let Some(identity) = names.identity else {
            if !identity_was_attempted(reader) {
                reader.push(
                    Located::at(
                        at,
                        base,
                        "a token cannot be checked: no authorization server is configured",
                    )
                    .help("add `authorization_server: {entra: {tenant: …, client_id: …}}`"),
                );
            }
            return None;
        };
        Some(Step::Authenticate(Authenticate {
            resource_metadata: settings.resource_metadata.map_or_else(
                || names.resource_metadata.to_owned(),
                |url| url.as_str().to_owned(),
            ),
            scopes: settings.scopes.unwrap_or_else(|| identity.scopes.clone()),
            groups: settings.groups,
        }))
    }

    fn proxy(self, names: &Names<'_>) -> Option<Step> {
        let known = knows_upstream(self.reader, names.upstreams, self.node, self.base);
        let base = path::join(self.base, "upstream_token");
        let reader = self.reader;
        let mut proxy: Proxy = reader.read(self.node, &Path::written(self.base))?;
        let token = &mut proxy.upstream_token;
        let token = upstream_token::complete(reader, names.secrets, names.profile, &base, token)?;
        proxy.token = token;
        known.then_some(Step::Proxy(proxy))
    }

    fn exchange(self, names: &Names<'_>) -> Option<Step> {
        let (base, reader) = (self.base, self.reader);
        let mut exchange: Exchange = reader.read(self.node, &Path::written(base))?;
        let Some(source) = &exchange.credentials else {
            return Some(Step::Exchange(exchange));
        };
        let Some(client_id) = exchange.client_id.clone() else {
            let what = "expected the `client_id` of the credentials, found none";
            reader.problem(base, what);
            return None;
        };
        // Read for the profile already, and complained about there.
        let credentials = match names.profile {
            Some(profile) if profile.entra.credentials.as_ref() == Some(source) => {
                profile.credentials.cloned()
            }
            _ => names
                .secrets
                .credentials(reader, &path::join(base, "credentials"), source),
        };
        exchange.client = Some((client_id, credentials?));
        Some(Step::Exchange(exchange))
    }

    /// The filter of the same settings does the work, and the gateway changes its answer.
    fn issue_client(self, names: &Names<'_>, step: &Node, written: Written<'_>) -> Option<Step> {
        match self.filter(names, "register_client", step, written)? {
            Step::Filter { filter, .. } => Some(Step::IssueClient(IssueClient { filter })),
            other => Some(other),
        }
    }

    fn filter(
        self,
        names: &Names<'_>,
        name: &str,
        step: &Node,
        written: Written<'_>,
    ) -> Option<Step> {
        let reader = self.reader;
        let Some(entry) = names.catalog.find(name) else {
            let known = names.catalog.entries().iter().map(|entry| entry.name);
            let help = suggestion(
                name,
                "known steps",
                known.chain(CAPABILITIES.iter().map(|one| one.name)),
            );
            let what = format!("unknown step `{name}`");
            reader.push(Located::at(step.at, written.path(), what).help(help));
            return None;
        };
        let mut late = vec![];
        let filter = reader.attempt(self.node, &Path::written(self.base), |de, whole| {
            let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(de);
            match entry.build(&mut erased) {
                Ok(filter) => Some(filter),
                // What was wrong inside is noted already, with its position.
                Err(BuildError::Shape(error)) => {
                    de.fault(error.to_string());
                    None
                }
                Err(BuildError::Problems(problems)) => {
                    if whole {
                        late = problems;
                    }
                    None
                }
            }
        });
        for problem in late {
            let at = match written {
                Written::Here(_) => path::locate(self.node, &problem.at).0,
                Written::By(section) => {
                    let whole = path::join(section, &problem.at);
                    path::locate(reader.root, &whole).0
                }
            };
            let path = path::join(self.base, &problem.at);
            let mut located = Located::at(at, path, problem.what);
            located.help = problem.help;
            reader.push(located);
        }
        let (filter, whole) = filter?;
        whole.then(|| Step::Filter {
            name: entry.name,
            filter: Arc::from(filter),
        })
    }
}

/// Says whether an authorization server is there, readable or not.
fn identity_was_attempted(reader: &Reader<'_>) -> bool {
    reader.root.find("authorization_server").is_some() || reader.root.find("identity").is_some()
}

/// Says whether the upstream that settings name is defined; a name that cannot be read is a
/// problem of its own.
pub(super) fn knows_upstream(
    reader: &mut Reader<'_>,
    defined: &[String],
    settings: &Node,
    base: &str,
) -> bool {
    let Some(node) = settings.find("upstream") else {
        return true;
    };
    let Some(name) = node.text().filter(|_| !reader.is_pruned(node)) else {
        return true;
    };
    if node.is_null() || defined.iter().any(|one| one == name) {
        return true;
    }
    let path = path::join(base, "upstream");
    let at = if is_made(node.id) {
        path::locate(reader.root, &path).0
    } else {
        node.at
    };
    let defined = defined.iter().map(String::as_str);
    let help = suggestion(name, "defined upstreams", defined);
    let what = format!("no upstream named `{}`", excerpt(name));
    reader.push(Located::at(at, path, what).help(help));
    false
}
