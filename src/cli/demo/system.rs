//! The parts of the demo: certificates, stand-ins, a configuration file, and the gateway itself.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use mcp_gateway_emulator::{
    entra::{self, API_SCOPE, App, CLIENT_ID, Entra, Grant, Platform},
    toolhive::{Oidc, Workload},
};
use mcp_gateway_filters::Catalog;

use super::Options;
use crate::{
    config,
    server::{Running, Server},
};

/// The workloads and their routes.
const WORKLOADS: [(&str, &str); 2] = [("github", "/mcp"), ("atlassian", "/mcp/atlassian")];
/// Every workload runs this often.
const REPLICAS: [&str; 2] = ["a", "b"];

/// The registration of the workloads as an API, for bearers that are access tokens.
const API: &str = "6f0a2b1c-77aa-4c1e-9b6d-3e2f1a0b9c8d";

/// Everything that runs.
pub(super) struct System {
    gateway: Running,
    port: u16,
    directory: PathBuf,
    ca_pem: String,
    entra: Entra,
    workloads: Vec<Workload>,
}

impl System {
    /// Starts the stand-ins, writes a configuration for them, and starts the gateway with it.
    pub(super) async fn start(options: &Options, catalog: &Catalog) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let socket = TcpListener::bind(address).map_err(|error| {
            format!("cannot listen on `{address}`: {error}\n  help: choose another port with `--port`, or `--port 0` for a free one")
        })?;
        let port = socket
            .local_addr()
            .map_err(|error| format!("the socket has no address: {error}"))?
            .port();
        let failed = |what: &str, error: io::Error| format!("{what}: {error}");
        let directory = private_directory().map_err(|e| failed("no temporary directory", e))?;
        let ca_pem = write_certificates(&directory)?;

        let entra = tenant(options, port)
            .start()
            .await
            .map_err(|e| failed("the stand-in for Entra ID does not start", e))?;
        let audience = match options.bearer.as_str() {
            "id_token" => entra.client_id(),
            _ => API,
        };
        let mut workloads = vec![];
        for (name, _) in WORKLOADS {
            for replica in REPLICAS {
                let workload = Workload::builder(name)
                    .replica(replica)
                    .oidc(Oidc {
                        issuer: entra.issuer(),
                        audience: Some(audience.to_owned()),
                        jwks_url: entra.jwks_uri(),
                        resource_url: None,
                    })
                    .start()
                    .await
                    .map_err(|e| failed("a stand-in for a workload does not start", e))?;
                workloads.push(workload);
            }
        }
        let text = configuration(port, &directory, options, &entra, &workloads);
        let file = directory.join("gateway.yaml");
        fs::write(&file, text).map_err(|e| failed("the configuration cannot be written", e))?;
        let gateway = start_gateway(&file, catalog, socket)?;
        Ok(Self {
            gateway,
            port,
            directory,
            ca_pem,
            entra,
            workloads,
        })
    }

    /// The public URL.
    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The URL of each workload, as clients know it.
    pub(super) fn mcp_urls(&self) -> Vec<String> {
        WORKLOADS
            .iter()
            .map(|(_, path)| format!("{}{path}", self.url()))
            .collect()
    }

    /// The certificate of the throw-away authority.
    pub(super) fn ca_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The same as text.
    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The configuration that the gateway runs with.
    pub(super) fn config_file(&self) -> PathBuf {
        self.directory.join("gateway.yaml")
    }

    /// The admin listener.
    pub(super) fn admin(&self) -> SocketAddr {
        self.gateway.admin()
    }

    /// The stand-in for Entra ID.
    pub(super) fn entra(&self) -> &Entra {
        &self.entra
    }

    /// The stand-ins for workloads.
    pub(super) fn workloads(&self) -> &[Workload] {
        &self.workloads
    }

    /// Stops everything and removes the files.
    pub(super) async fn stop(self, drain: Duration) {
        self.gateway.drain(drain).await;
        self.entra.stop().await;
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            log::warn!(error:%; "the demo's files cannot be removed");
        }
    }
}

fn start_gateway(file: &Path, catalog: &Catalog, socket: TcpListener) -> Result<Running, String> {
    let loaded = config::load(file, &|_| None, catalog).map_err(|problems| problems.to_string())?;
    let server = Server::build(&loaded.gateway).map_err(|problems| {
        let found = problems.into_iter().map(|problem| ("", problem));
        loaded.source.problems(found).to_string()
    })?;
    server
        .start_with(vec![socket])
        .map_err(|error| error.to_string())
}

/// The tenant with the registrations that the options need.
fn tenant(options: &Options, port: u16) -> entra::Builder {
    let mut entra = Entra::builder().auto_approve(!options.sign_in_page);
    if let Some(lifetime) = options.token_lifetime {
        entra = entra
            .id_token_lifetime(lifetime.0)
            .access_token_lifetime(lifetime.0);
    }
    if options.relay {
        // The one redirect URI that such a registration needs.
        let callback = format!("https://localhost:{port}/oauth2/callback");
        entra = entra.redirects(vec![(Platform::Native, callback)]);
    }
    if options.bearer != "id_token" {
        entra = entra
            .app(App::new(API, "MCP API").exposes(identifier_uri(port), &[API_SCOPE]))
            .grant(Grant {
                client: CLIENT_ID.to_owned(),
                resource: API.to_owned(),
                scopes: vec![API_SCOPE.to_owned()],
                principal: None,
            });
    }
    entra
}

/// The App ID URI of the API.
fn identifier_uri(port: u16) -> String {
    format!("https://localhost:{port}/mcp")
}

fn configuration(
    port: u16,
    directory: &Path,
    options: &Options,
    entra: &Entra,
    workloads: &[Workload],
) -> String {
    use std::fmt::Write;
    let (directory, authority) = (directory.display(), entra.authority());
    let (tenant, client_id) = (entra.tenant(), entra.client_id());
    let access_log = if options.check { "off" } else { "stderr" };
    let bearer = &options.bearer;
    let mut more = String::new();
    if bearer != "id_token" {
        let uri = identifier_uri(port);
        // Writing to a string cannot fail.
        let _ = write!(
            more,
            ", api: {{ application: {API}, identifier_uri: \"{uri}\", scopes: [{API_SCOPE}] }}"
        );
    }
    if options.relay {
        more.push_str(", authorize: relay");
    }
    let mut text = format!(
        "# The configuration of `mcp-gateway demo`; `mcp-gateway explain` shows what it expands to.
public_url: https://localhost:{port}
listeners:
  - address: 127.0.0.1:{port}
    tls: {{ certificates: [{{ certificate: {directory}/localhost.pem, key: {directory}/localhost.key }}] }}
admin: {{ address: 127.0.0.1:0 }}
access_log: {access_log}
authorization_server:
  entra: {{ tenant: {tenant}, client_id: {client_id}, bearer: {bearer}, authority: \"{authority}\"{more} }}
sessions: {{ state_directory: {directory} }}
upstreams:
"
    );
    for (name, _) in WORKLOADS {
        let backends: Vec<String> = workloads
            .iter()
            .filter(|workload| workload.name() == name)
            .map(|workload| format!("\"{}\"", workload.address()))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name}: {{ backends: [{}] }}", backends.join(", "));
    }
    text.push_str("routes:\n");
    for (name, path) in WORKLOADS {
        let _ = writeln!(text, "  - path: {path}\n    mcp: {{ upstream: {name} }}");
    }
    text
}

/// Makes a directory of our own under the system's temporary one, readable by nobody else.
fn private_directory() -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let base = std::env::temp_dir();
    for attempt in 0..100 {
        let path = base.join(format!("mcp-gateway-demo-{}-{attempt}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Makes an authority and a certificate for localhost; the authority's key is thrown away.
fn write_certificates(directory: &Path) -> Result<String, String> {
    let made = || -> Result<[(&str, String); 3], rcgen::Error> {
        let ca_key = rcgen::KeyPair::generate()?;
        let mut ca = rcgen::CertificateParams::new(vec![])?;
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        ca.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
        ca.distinguished_name
            .push(rcgen::DnType::CommonName, "mcp-gateway demo (throw-away)");
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let key = rcgen::KeyPair::generate()?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut leaf = rcgen::CertificateParams::new(names)?;
        leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        // Names the key: the authorities of two demos, both trusted, have one name.
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&key, &issuer)?;
        Ok([
            ("ca.pem", ca_pem),
            ("localhost.pem", leaf.pem()),
            ("localhost.key", key.serialize_pem()),
        ])
    };
    let files =
        made().map_err(|error| format!("the demo's certificates cannot be made: {error}"))?;
    for (name, text) in &files {
        fs::write(directory.join(name), text)
            .map_err(|error| format!("the demo's certificates cannot be written: {error}"))?;
    }
    let [(_, ca_pem), ..] = files;
    Ok(ca_pem)
}
