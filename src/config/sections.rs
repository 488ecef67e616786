//! The sections beside the routes: read, and checked for what a type cannot say.

use std::{
    collections::{HashMap, HashSet},
    fs, io, iter,
    net::SocketAddr,
    path::Path as FilePath,
};

use super::{
    Sessions,
    path::Path,
    problems::{Located, suggestion},
    reader::Reader,
    secrets::Secrets,
    tree::{Kind, Node, excerpt},
};
use crate::{
    admin, egress,
    ingress::{ClientAddress, Limits},
    listener::{self, Serve},
    oauth,
    origin::Origin,
    seal, session,
};

/// What `gateway.yaml` may hold, in reading order.
const KEYS: [&str; 13] = [
    "public_url",
    "listeners",
    "admin",
    "limits",
    "client_address",
    "egress",
    "authorization_server",
    "identity",
    "sessions",
    "upstreams",
    "routes",
    "toolhive_api",
    "access_log",
];

/// Names what does not belong into the file, and what must be there.
pub(super) fn check_keys(reader: &mut Reader<'_>) {
    let root = reader.root;
    if !matches!(root.kind, Kind::Map(_)) {
        let what = format!(
            "expected a map with `public_url`, `listeners`, `routes`, found {}",
            root.describe()
        );
        reader.push(Located::at(root.at, "", what));
        return;
    }
    for entry in root.entries() {
        if !KEYS.contains(&entry.key.as_str()) {
            let what = format!("unknown key `{}`", excerpt(&entry.key));
            let help = suggestion(&entry.key, "expected keys", KEYS);
            reader.push(Located::at(entry.at, "", what).help(help));
        }
    }
    for key in ["public_url", "listeners", "routes"] {
        if root.find(key).is_none() {
            reader.push(Located::file(format!("missing key `{key}`")));
        }
    }
    if let Some(routes) = root.find("routes")
        && !matches!(routes.kind, Kind::List(_))
    {
        let what = format!("expected a list of routes, found {}", routes.describe());
        reader.push(Located::at(routes.at, "routes", what));
    }
}

/// Reads a section; a missing one is at its default, a faulty one is `None`.
pub(super) fn optional<T>(reader: &mut Reader<'_>, key: &str) -> Option<T>
where
    T: serde::de::DeserializeOwned + Default,
{
    match reader.root.find(key) {
        Some(node) => reader.read(node, &Path::root().key(key)),
        None => Some(T::default()),
    }
}

pub(super) fn public_url(reader: &mut Reader<'_>) -> Option<Origin> {
    let node = reader.root.find("public_url")?;
    reader.read(node, &Path::root().key("public_url"))
}

pub(super) fn listeners(
    reader: &mut Reader<'_>,
    public: Option<&Origin>,
) -> Option<Vec<listener::Config>> {
    let node = reader.root.find("listeners")?;
    let Kind::List(items) = &node.kind else {
        let what = format!("expected a list of listeners, found {}", node.describe());
        reader.push(Located::at(node.at, "listeners", what));
        return None;
    };
    let base = Path::written("listeners");
    let listeners: Vec<Option<listener::Config>> = items
        .iter()
        .enumerate()
        .map(|(index, node)| reader.read(node, &base.index(index)))
        .collect();
    let mut taken: HashMap<SocketAddr, usize> = HashMap::new();
    for (index, listener) in listeners.iter().enumerate() {
        let Some(listener) = listener else { continue };
        let base = format!("listeners[{index}]");
        // Port 0 is another port each time.
        if listener.address.port() != 0
            && let Some(first) = taken.insert(listener.address, index)
        {
            let what = format!(
                "address `{}` is taken by `listeners[{first}]`",
                listener.address
            );
            reader.problem(&format!("{base}.address"), what);
        }
        if listener
            .proxy_protocol
            .as_ref()
            .is_some_and(|proxy| proxy.from.is_empty())
        {
            let what = "expected the networks of the load balancers, found none";
            reader.problem(&format!("{base}.proxy_protocol.from"), what);
        }
        if let Some(tls) = &listener.tls {
            check_tls(reader, &base, tls);
            if listener.serve == Serve::RedirectToHttps {
                let what = "a redirect to https is served without `tls`";
                reader.problem(&format!("{base}.serve"), what);
            }
        }
    }
    let listeners: Vec<listener::Config> = listeners.into_iter().collect::<Option<_>>()?;
    check_together(reader, &listeners, public);
    Some(listeners)
}

fn check_together(
    reader: &mut Reader<'_>,
    listeners: &[listener::Config],
    public: Option<&Origin>,
) {
    if listeners.is_empty() {
        reader.problem("listeners", "expected at least one listener, found none");
    } else if !listeners.iter().any(|one| one.serve == Serve::Routes) {
        reader.problem("listeners", "no listener serves the routes, all redirect");
    }
    let tls = listeners.iter().any(|one| one.tls.is_some());
    if public.is_some_and(Origin::is_https) && !tls {
        let what = "`public_url` is https and no listener has `tls`: right only behind a load balancer that ends TLS";
        reader.note("listeners", what);
    }
}

fn check_tls(reader: &mut Reader<'_>, base: &str, tls: &listener::TlsConfig) {
    let certificates = format!("{base}.tls.certificates");
    if tls.certificates.is_empty() {
        reader.problem(
            &certificates,
            "expected at least one certificate, found none",
        );
    }
    for (index, pair) in tls.certificates.iter().enumerate() {
        let at = format!("{certificates}[{index}]");
        check_file(reader, &format!("{at}.certificate"), &pair.certificate);
        check_file(reader, &format!("{at}.key"), &pair.key);
    }
}

/// Says so when a file cannot be read; what stands in it is for those who use it.
pub(super) fn check_file(reader: &mut Reader<'_>, at: &str, file: &FilePath) -> bool {
    match fs::File::open(file).and_then(|file| file.metadata()) {
        Ok(metadata) if metadata.is_dir() => {
            reader.problem(
                at,
                format!("expected a file, found the directory `{}`", file.display()),
            );
            false
        }
        Ok(_) => true,
        Err(why) => {
            unreadable(reader, at, file, &why);
            false
        }
    }
}

pub(super) fn unreadable(reader: &mut Reader<'_>, at: &str, file: &FilePath, why: &io::Error) {
    let file = file.display();
    let what = format!("`{file}` cannot be read: {why}");
    match why.kind() {
        io::ErrorKind::PermissionDenied => reader.problem_help(
            at,
            what,
            "under systemd the gateway runs as a user of its own (`DynamicUser`): hand the file over \
             with `LoadCredential=NAME:FILE` and name it `${CREDENTIALS_DIRECTORY}/NAME`",
        ),
        io::ErrorKind::NotFound if file.to_string().contains('$') || file.to_string().starts_with('~') => {
            reader.problem_help(
                at,
                what,
                "neither `~` nor `$HOME` is expanded, also not in systemd's `EnvironmentFile`: write the whole path",
            );
        }
        _ => {
            reader.problem(at, what);
        }
    }
}

pub(super) fn admin(
    reader: &mut Reader<'_>,
    listeners: Option<&[listener::Config]>,
) -> Option<admin::Config> {
    let admin: admin::Config = optional(reader, "admin")?;
    let same = |one: &listener::Config| one.address == admin.address && admin.address.port() != 0;
    if listeners.is_some_and(|listeners| listeners.iter().any(same)) {
        let what = format!("address `{}` is taken by a public listener", admin.address);
        reader.problem("admin.address", what);
    }
    if !admin.address.ip().is_loopback() {
        let what = "metrics and status are served beyond this machine, without sign-in: see that a firewall stands before it";
        reader.note("admin.address", what);
    }
    Some(admin)
}

pub(super) fn limits(reader: &mut Reader<'_>) -> Option<Limits> {
    let limits: Limits = optional(reader, "limits")?;
    for problem in limits.problems() {
        reader.problem(&format!("limits.{}", problem.at), problem.what);
    }
    Some(limits)
}

pub(super) fn client_address(reader: &mut Reader<'_>) -> Option<ClientAddress> {
    const SECTION: &str = "client_address";
    let node = reader.root.find(SECTION)?;
    let read: ClientAddress = reader.read(node, &Path::root().key(SECTION))?;
    if read.from.is_empty() {
        let what = "expected the networks of the load balancers, found none";
        reader.problem("client_address.from", what);
    }
    Some(read)
}

pub(super) fn egress(reader: &mut Reader<'_>) -> Option<egress::Config> {
    let egress: egress::Config = optional(reader, "egress")?;
    if let Some(file) = &egress.ca_file {
        check_file(reader, "egress.ca_file", file);
    }
    Some(egress)
}

pub(super) fn sessions(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
) -> Option<(session::Config, Sessions)> {
    let written: session::Config = optional(reader, "sessions")?;
    let mut keys = vec![];
    for (index, source) in written.keys.iter().enumerate() {
        let at = format!("sessions.keys[{index}]");
        if let Some(text) = secrets.read(reader, &at, source) {
            match seal::parse_key(text.reveal()) {
                Ok(key) => keys.push(key),
                Err(why) => {
                    reader.problem(&at, why.to_string());
                }
            }
        }
    }
    let distinct: HashSet<_> = keys.iter().map(|key| *key.reveal()).collect();
    if distinct.len() < keys.len() {
        reader.problem("sessions.keys", "the same key stands here twice");
    }
    if written.keys.is_empty() {
        let what = format!(
            "session ids are sealed with a key kept in `{}`; replicas that serve one `public_url` must share `sessions.keys`",
            written.state_directory.display()
        );
        reader.note("sessions", what);
    }
    let sessions = Sessions {
        keys,
        state_directory: written.state_directory.clone(),
    };
    Some((written, sessions))
}

/// Returns name and node of the provider of `authorization_server`.
pub(super) fn provider<'a>(reader: &mut Reader<'a>) -> Option<(&'static str, &'a Node)> {
    const SECTION: &str = "authorization_server";
    let section = reader.root.find(SECTION)?;
    let known = || iter::once("entra").chain(oauth::providers());
    let mut found = None;
    for entry in section.entries() {
        let Some(name) = known().find(|name| *name == entry.key) else {
            let what = format!("unknown provider `{}`", excerpt(&entry.key));
            let help = suggestion(&entry.key, "expected one of", known());
            reader.push(Located::at(entry.at, SECTION, what).help(help));
            continue;
        };
        if let Some((first, _)) = found {
            let what = format!("expected one provider, found `{first}` and `{name}`");
            reader.push(Located::at(entry.at, SECTION, what));
            continue;
        }
        found = Some((name, &entry.value));
    }
    if section.entries().is_empty() {
        let what = format!(
            "expected `entra: {{tenant: …, client_id: …}}`, found {}",
            section.describe()
        );
        reader.push(Located::at(section.at, SECTION, what));
    }
    found
}
