//! Whose tokens are accepted: from a provider's profile, or written out.

use std::collections::BTreeMap;

use super::{
    Endpoint, Identity,
    path::Path,
    provider,
    reader::Reader,
    secrets::Secrets,
    sections,
    token_client::{self, Missing, Profile, Proof, called, needed},
    tree::Node,
};
use crate::{
    directory,
    oauth::{self, Asking, Bearer, ClientCredentials, Entra, GroupSettings, Overage, Provider},
    oidc,
    origin::Origin,
};

const ENTRA: &str = "authorization_server.entra";
const ENTRA_KEY: &str = "entra";

/// What was read; each is missing when it is not there, or not as it should be.
#[derive(Default)]
pub(super) struct Read {
    pub(super) entra: Option<Entra>,
    /// The provider, where it is another one.
    pub(super) provider: Option<Provider>,
    /// Those of the provider.
    pub(super) credentials: Option<ClientCredentials>,
    pub(super) identity: Option<Identity>,
    pub(super) directory: Option<directory::Config>,
}

/// Reads `authorization_server` or `identity`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    public: Option<&Origin>,
) -> Read {
    let root = Path::root();
    let section = root.key("authorization_server");
    let written = reader.root.find("identity");
    if written.is_some() && reader.root.find("authorization_server").is_some() {
        let what = "expected `authorization_server` or `identity`, found both";
        reader.problem("identity", what);
    }
    match sections::provider(reader) {
        Some((ENTRA_KEY, node)) => {
            let entra: Option<oauth::Entra> = reader.read(node, &section.key(ENTRA_KEY));
            if let Some(entra) = &entra {
                check_entra(reader, entra, public);
            }
            return entra.map_or_else(Read::default, |entra| of_entra(reader, secrets, entra));
        }
        Some((name, node)) => {
            let settings: Option<oauth::ProviderSettings> = reader.read(node, &section.key(name));
            let provider =
                settings.and_then(|settings| provider::read(reader, name, settings, public));
            return Read {
                identity: provider.as_ref().and_then(provider::identity),
                provider,
                ..Read::default()
            };
        }
        None => {}
    }
    let mut identity: Option<Identity> =
        written.and_then(|node| reader.read(node, &root.key("identity")));
    let mut directory = None;
    if let Some(identity) = &mut identity {
        check_identity(reader, identity);
        if let Some(groups) = &identity.groups {
            directory = directory_of(reader, secrets, "identity.groups", groups, Proof::Own);
        }
    }
    Read {
        identity,
        directory,
        ..Read::default()
    }
}

fn of_entra(reader: &mut Reader<'_>, secrets: &Secrets<'_>, entra: Entra) -> Read {
    let credentials = entra
        .credentials
        .as_ref()
        .and_then(|source| secrets.credentials(reader, &format!("{ENTRA}.credentials"), source));
    let profile = Profile {
        entra: &entra,
        credentials: credentials.as_ref(),
    };
    let groups = entra.groups.clone();
    let (groups, directory) = groups
        .map(|groups| groups_of(reader, secrets, profile, groups))
        .unzip();
    let directory = directory.flatten();
    let identity = entra_identity(&entra, groups);
    Read {
        entra: Some(entra),
        provider: None,
        credentials,
        identity,
        directory,
    }
}

/// Completes the profile's settings of groups, and gathers what they need.
fn groups_of(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    profile: Profile<'_>,
    mut groups: Asking<GroupSettings>,
) -> (Asking<GroupSettings>, Option<directory::Config>) {
    let entra = profile.entra;
    let application = match groups.what.overage {
        Overage::Unresolved => return (groups, None),
        Overage::Graph => entra.client_id.as_str(),
        // A user's token is only good in the hands of the application that it is for.
        Overage::OnBehalfOf => entra.audience_application(),
    };
    let graph = &mut groups.what.graph;
    graph.get_or_insert_with(|| entra.endpoints().graph);
    let proof = token_client::complete(&mut groups.client, profile, application);
    let at = format!("{ENTRA}.groups");
    if groups.what.overage == Overage::OnBehalfOf && entra.bearer == Bearer::IdToken {
        let what = "callers come with id tokens, for which Entra gives nothing (AADSTS240002)";
        let help = "set `overage: graph`, or `bearer: access_token`";
        reader.problem_help(&format!("{at}.overage"), what, help);
        return (groups, None);
    }
    let directory = directory_of(reader, secrets, &at, &groups, proof);
    (groups, directory)
}

/// Gathers what asking for groups needs.
fn directory_of(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    base: &str,
    groups: &Asking<GroupSettings>,
    proof: Proof<'_>,
) -> Option<directory::Config> {
    let Asking { what, client } = groups;
    let asker = directory::Asker::of(what.overage)?;
    let missing = Missing {
        what: "Microsoft Graph tells groups only to an application that proves who it is",
        help: "add `credentials` here, or to `authorization_server.entra`",
    };
    let client = token_client::read(reader, secrets, base, client, proof, missing);
    let graph = needed(reader, base, "graph", what.graph.as_ref())?;
    let graph = called(reader, &format!("{base}.graph"), graph)?;
    let client = client?;
    Some(directory::Config {
        asker,
        graph,
        url: client.url,
        client_id: client.id,
        credentials: client.credentials,
    })
}

fn check_identity(reader: &mut Reader<'_>, identity: &Identity) {
    let lacks = |texts: &[String]| texts.iter().any(String::is_empty);
    for (key, empty) in [
        ("issuer", identity.issuer.is_empty()),
        ("tenant", identity.tenant.as_deref() == Some("")),
        ("tenants", lacks(&identity.tenants)),
        (
            "audiences",
            identity.audiences.is_empty() || lacks(&identity.audiences),
        ),
    ] {
        if empty {
            reader.problem(
                &format!("identity.{key}"),
                "expected a value, found nothing",
            );
        }
    }
    if identity.tenant.is_some() && !identity.tenants.is_empty() {
        let what = "expected `tenant` or `tenants`, found both";
        reader.problem("identity.tenants", what);
    }
    if identity.issuer.contains("{tenantid}") && identity.tenants().is_empty() {
        let what = "the issuer stands for every tenant, and none is named";
        let help = "list the ids of the tenants whose tokens are accepted as `tenants`";
        reader.problem_help("identity.issuer", what, help);
    }
}

fn entra_identity(entra: &Entra, groups: Option<Asking<GroupSettings>>) -> Option<Identity> {
    let endpoints = entra.endpoints();
    let mut tenants = entra.tenants();
    let tenant = match tenants.as_slice() {
        [_] if !endpoints.issuer.contains("{tenantid}") => tenants.pop(),
        _ => None,
    };
    Some(Identity {
        issuer: endpoints.issuer,
        v1_issuer: entra.v1_tokens.then_some(endpoints.v1_issuer),
        audiences: entra.audiences(),
        audience_claim: oidc::AUDIENCE.to_owned(),
        claims: BTreeMap::new(),
        tenant,
        tenants,
        jwks_uri: Endpoint::parse(&endpoints.jwks).ok()?,
        scopes: entra.challenge_scopes(),
        token_scopes: entra.token_scopes(),
        step_up: entra.takes_claims().then(|| entra.step_up.clone()),
        groups,
    })
}

fn check_entra(reader: &mut Reader<'_>, entra: &Entra, public: Option<&Origin>) {
    let problems = entra.authority_problems();
    for problem in problems.into_iter().chain(entra.bearer_problems(public)) {
        let at = format!("{ENTRA}.{}", problem.at);
        match problem.help {
            Some(help) => reader.problem_help(&at, problem.what, help),
            None => {
                reader.problem(&at, problem.what);
            }
        }
    }
    for (at, what) in entra.bearer_notes() {
        let at = if at.is_empty() {
            ENTRA.to_owned()
        } else {
            format!("{ENTRA}.{at}")
        };
        reader.note(&at, what);
    }
    match (entra.is_relayed(), &entra.credentials) {
        (false, Some(_)) if entra.groups.is_none() && !names(reader.root, "on_behalf_of") => {
            let what = "a confidential client needs `authorize: relay`: otherwise whoever steals a \
                        code or a refresh token elsewhere redeems it here, with the gateway's secret";
            let help = "set `authorize: relay`, or leave out `credentials`";
            reader.problem_help(&format!("{ENTRA}.credentials"), what, help);
        }
        (true, credentials) => {
            let Some(callback) = public.map(oauth::callback) else {
                return;
            };
            let platform = if credentials.is_some() {
                "Web"
            } else {
                "Mobile and desktop applications"
            };
            let what = format!(
                "register `{callback}` as redirect URI of the application, \
                 platform `{platform}`; clients need none there"
            );
            reader.note(&format!("{ENTRA}.authorize"), what);
        }
        // The gateway's own calls use them, and clients' never do.
        (false, _) => {}
    }
}

/// Says whether a key of this name stands anywhere below a node.
fn names(node: &Node, key: &str) -> bool {
    node.entries().iter().any(|entry| entry.key == key)
        || node.children().any(|child| names(child, key))
}

#[cfg(test)]
mod tests {
    use mcp_gateway_filters::Catalog;

    use crate::config;

    const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

    fn check(server: &str, expect: &[&str]) {
        let text = format!(
            "public_url: https://mcp.example.com
listeners: [{{ address: 127.0.0.1:0 }}]
authorization_server: {{ {server} }}
upstreams: {{ github: {{ backends: ['127.0.0.1:9100'] }} }}
routes: [{{ path: /mcp, mcp: {{ upstream: github }} }}]
"
        );
        let env = |_: &str| None;
        let told = match config::parse("gateway.yaml", &text, &env, &Catalog::builtin()) {
            Ok(loaded) => loaded.notes.to_string(),
            Err(problems) => problems.to_string(),
        };
        for part in expect {
            assert!(told.contains(part), "{part}\n in:\n{told}");
        }
    }

    #[test]
    fn what_is_to_be_registered_is_written_out() {
        let callback = "register `https://mcp.example.com/oauth2/callback` as";
        check(
            &format!("entra: {{ tenant: {ID}, client_id: {ID}, authorize: relay }}"),
            &[callback],
        );
        check(
            "keycloak: { issuer: 'https://x.test/realms/a', client_id: c, audience: a, authorize: relay }",
            &[callback],
        );
        check(
            &format!("entra: {{ tenant: {ID}, client_id: {ID}, bearer: native }}"),
            &["App ID URI `https://mcp.example.com/mcp`"],
        );
    }

    #[test]
    fn what_a_workload_verifies_is_written_out() {
        let base = format!("https://login.microsoftonline.com/{ID}");
        check(
            &format!("entra: {{ tenant: {ID}, client_id: {ID} }}"),
            &[&format!(
                "`thv run --oidc-issuer {base}/v2.0 --oidc-audience {ID} \
                 --oidc-jwks-url {base}/discovery/v2.0/keys …`"
            )],
        );
        check(
            &format!("entra: {{ tenant: organizations, tenants: [{ID}], client_id: {ID} }}"),
            &["`thv run --oidc-issuer … --oidc-audience"],
        );
    }
}
