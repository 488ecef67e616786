//! `gateway.yaml`: from text to a configuration that is whole and valid, or every problem in it.
//!
//! Text becomes a tree of values with positions, variables are expanded in its scalars, each
//! section is read by itself, profiles expand into routes, and every route goes through one
//! builder. Nothing is started here and no address is resolved; of the files that are named,
//! session keys are read and the others only opened.

mod capabilities;
mod de;
pub(crate) mod expanded;
mod gateway;
mod identity;
mod mcp;
mod path;
mod problems;
mod provider;
mod reader;
mod relay;
mod routes;
mod secrets;
mod sections;
mod source;
mod steps;
mod token_client;
mod tree;
mod upstream_token;
mod upstreams;
mod variables;
mod wording;

use std::{fs, io::Read, sync::Arc};

use mcp_gateway_filters::Catalog;
use serde::{Serialize, Serializer};

use crate::{
    admin, egress,
    ingress::{ClientAddress, Limits},
    listener, oauth,
    origin::Origin,
    session, upstream,
};

pub use capabilities::{CAPABILITIES, Capability};
pub use gateway::{
    AccessLog, Authenticate, Endpoint, Exchange, Gateway, Identity, Proxy, Route, Sessions, Step,
};
pub(crate) use problems::suggestion;
pub use problems::{Located, Notes, Problems};
pub use relay::{IssueClient, OpenGrant, Place, Relay, ResolveClient, Station};
pub use source::Source;
pub use tree::Position;
pub use upstream_token::{OnBehalfOf, StaticToken, TokenExchange, TokenSource, UpstreamToken};
pub use variables::Environment;

use problems::Located as Problem;
use reader::Reader;
use routes::Surroundings;
use secrets::Secrets;

/// A configuration that was read, and what can be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// What the program is built from.
    pub gateway: Gateway,
    /// What is allowed and still worth a second thought.
    pub notes: Notes,
    /// Where everything stands, for problems that only building finds.
    pub source: Source,
    /// The same configuration with every default and profile written out.
    pub written_out: WrittenOut,
    /// The profile of the authorization server, when one is configured.
    pub entra: Option<oauth::Entra>,
}

/// A configuration without short forms, as `explain` prints it; it reads back as the same.
#[derive(Debug, Serialize)]
pub struct WrittenOut {
    public_url: Origin,
    listeners: Vec<listener::Config>,
    admin: admin::Config,
    limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_address: Option<ClientAddress>,
    egress: egress::Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity>,
    sessions: session::Config,
    access_log: AccessLog,
    upstreams: Upstreams,
    /// In the order of [`Gateway::routes`].
    pub routes: Vec<oauth::Route>,
}

/// A map in the order of the file.
#[derive(Debug)]
struct Upstreams(Vec<(String, upstream::Config)>);

impl Serialize for Upstreams {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        ser.collect_map(self.0.iter().map(|(name, config)| (name, config)))
    }
}

/// Reads a configuration file.
///
/// `env` looks up the variables that the file names.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(
    path: &std::path::Path,
    env: Environment<'_>,
    catalog: &Catalog,
) -> Result<Loaded, Problems> {
    let file = path.display().to_string();
    let mut text = String::new();
    let limit = tree::MAX_BYTES as u64 + 1;
    let read = fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    match read {
        Ok(_) => parse(&file, &text, env, catalog),
        Err(why) => {
            let problem = Problem::file(format!("cannot be read: {why}"));
            Err(Problems::new(&file, vec![problem]))
        }
    }
}

/// Reads a configuration from text; `file` is the name in messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(
    file: &str,
    text: &str,
    env: Environment<'_>,
    catalog: &Catalog,
) -> Result<Loaded, Problems> {
    let mut root = tree::parse(text).map_err(|problems| Problems::new(file, problems))?;
    let (problems, unset) = variables::expand(&mut root, env);
    let mut reader = Reader::new(&root, problems, unset);
    let read = sections(&mut reader, env, catalog);
    let (mut problems, notes) = reader.finish();
    if read.is_none() && problems.is_empty() {
        problems.push(Problem::file(
            "cannot be used, and the cause was lost: report this file as a bug",
        ));
    }
    match read {
        Some((gateway, written_out, entra)) if problems.is_empty() => Ok(Loaded {
            gateway,
            notes: Notes::new(file, notes),
            source: Source::new(file, root),
            written_out,
            entra,
        }),
        _ => Err(Problems::new(file, problems)),
    }
}

/// Reads every section, so that each one's problems are found; `None` only beside a problem.
fn sections(
    reader: &mut Reader<'_>,
    env: Environment<'_>,
    catalog: &Catalog,
) -> Option<(Gateway, WrittenOut, Option<oauth::Entra>)> {
    sections::check_keys(reader);
    let public = sections::public_url(reader);
    let listeners = sections::listeners(reader, public.as_ref());
    let admin = sections::admin(reader, listeners.as_deref());
    let limits = sections::limits(reader);
    let client_address = sections::client_address(reader);
    let egress = sections::egress(reader);
    let secrets = Secrets::new(env);
    let sessions = sections::sessions(reader, &secrets);
    let access_log = sections::optional(reader, "access_log");
    let identity::Read {
        entra,
        credentials,
        identity,
        directory,
        provider,
    } = identity::read(reader, &secrets, public.as_ref());
    provider::note_documents(reader, entra.as_ref(), provider.as_ref(), egress.as_ref());
    let upstreams = upstreams::read(reader);
    let around = Surroundings {
        catalog,
        public: public.as_ref(),
        identity: identity.as_ref(),
        entra: entra.as_ref(),
        provider: provider.as_ref(),
        credentials: credentials.as_ref(),
        secrets: &secrets,
        upstreams: &upstreams.names,
    };
    let (routes, written): (Vec<_>, Vec<_>) = routes::build(reader, &around).into_iter().unzip();
    check_metadata(reader, public.as_ref(), &routes);
    let (written_sessions, sessions) = sessions?;
    let written_out = WrittenOut {
        public_url: public.clone()?,
        listeners: listeners.clone()?,
        admin: admin.clone()?,
        limits: limits.clone()?,
        client_address: client_address.clone(),
        egress: masked(egress.clone()?),
        identity: identity.clone(),
        sessions: written_sessions,
        access_log: access_log?,
        upstreams: Upstreams(upstreams.configs.clone()),
        routes: written,
    };
    let gateway = Gateway {
        public_url: public?,
        listeners: listeners?,
        admin: admin?,
        limits: Arc::new(limits?),
        client_address,
        egress: egress?,
        sessions,
        identity,
        directory,
        credentials: secrets.into_credentials(),
        upstreams: upstreams.configs,
        routes,
        access_log: access_log?,
    };
    Some((gateway, written_out, entra))
}

/// Says so when a challenge leads to metadata of this gateway that no route publishes.
fn check_metadata(reader: &mut Reader<'_>, public: Option<&Origin>, routes: &[Route]) {
    let Some(public) = public else { return };
    let unpublished = routes
        .iter()
        .flat_map(|route| &route.steps)
        .find_map(|step| {
            let Step::Authenticate(gate) = step else {
                return None;
            };
            let path = gate.resource_metadata.strip_prefix(public.as_str())?;
            let serves = |route: &Route| match route.prefix() {
                Some(prefix) => path.starts_with(prefix),
                None => route.path == path,
            };
            (!routes.iter().any(serves)).then_some(&gate.resource_metadata)
        });
    if let Some(unpublished) = unpublished {
        let what = format!(
            "clients without a token are sent to `{unpublished}`, which no route answers: without `authorization_server` \
             it takes a route of your own that says where to sign in"
        );
        reader.note("identity", what);
    }
}

/// Hides the password of a proxy.
fn masked(mut egress: egress::Config) -> egress::Config {
    for proxy in [&mut egress.https_proxy, &mut egress.http_proxy] {
        if let Some((user, host)) = proxy.rsplit_once('@') {
            let scheme = user.split_once("://").map_or("", |(scheme, _)| scheme);
            *proxy = format!("{scheme}://***@{host}");
        }
    }
    egress
}
