//! Whose tokens are accepted: from a provider's profile, or written out.

use std::collections::BTreeMap;

use super::{
    Endpoint, Identity,
    path::Path,
    provider,
    reader::Reader,
    secrets::Secrets,
    sections,
    tree::Node,
    upstream_token::{called, needed},
};
use crate::{
    directory,
    oauth::{self, Bearer, ClientCredentials, Entra, GroupSettings, Overage, Provider},
    oidc,
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
pub(super) fn read(reader: &mut Reader<'_>, secrets: &Secrets<'_>) -> Read {
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
                check_entra(reader, entra);
            }
            return entra.map_or_else(Read::default, |entra| of_entra(reader, secrets, entra));
        }
        Some((name, node)) => {
            let settings: Option<oauth::ProviderSettings> = reader.read(node, &section.key(name));
            let provider = settings.and_then(|settings| provider::read(reader, name, settings));
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
            directory = directory_of(
                reader,
                secrets,
                "identity.groups",
                groups,
                Credentials::OfGroups,
            );
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
    let groups = entra.groups.clone().map(|groups| completed(groups, &entra));
    let directory = groups.as_ref().and_then(|groups| {
        let at = format!("{ENTRA}.groups");
        if groups.overage == Overage::OnBehalfOf && entra.bearer == Bearer::IdToken {
            let what = "callers come with id tokens, for which Entra gives nothing (AADSTS240002)";
            let help = "set `overage: graph`, or `bearer: access_token`";
            reader.problem_help(&format!("{at}.overage"), what, help);
            return None;
        }
        let own = entra
            .groups
            .as_ref()
            .is_some_and(|groups| groups.credentials.is_some());
        let from = if !own && groups.credentials.is_some() {
            Credentials::OfProvider(credentials.as_ref())
        } else {
            Credentials::OfGroups
        };
        directory_of(reader, secrets, &at, groups, from)
    });
    let identity = entra_identity(&entra, groups);
    Read {
        entra: Some(entra),
        provider: None,
        credentials,
        identity,
        directory,
    }
}

/// Writes what the profile says already into the settings of groups.
fn completed(mut groups: GroupSettings, entra: &Entra) -> GroupSettings {
    if groups.overage == Overage::Unresolved {
        return groups;
    }
    let endpoints = entra.endpoints();
    groups.graph.get_or_insert(endpoints.graph);
    groups.url.get_or_insert(endpoints.token_of_tenant);
    // A user's token is only good in the hands of the application that it is for.
    let asker = match groups.overage {
        Overage::OnBehalfOf => entra.audience_application(),
        _ => entra.client_id.as_str(),
    };
    let asker = groups.client_id.get_or_insert_with(|| asker.to_owned());
    if groups.credentials.is_none() && asker == entra.client_id.as_str() {
        groups.credentials.clone_from(&entra.credentials);
    }
    groups
}

/// Whose credentials ask for groups.
#[derive(Clone, Copy)]
enum Credentials<'a> {
    /// The provider's; when there are none, they were complained about there.
    OfProvider(Option<&'a ClientCredentials>),
    /// Those in the settings of groups.
    OfGroups,
}

/// Gathers what asking for groups needs.
fn directory_of(
    reader: &mut Reader<'_>,
    secrets: &Secrets<'_>,
    base: &str,
    groups: &GroupSettings,
    from: Credentials<'_>,
) -> Option<directory::Config> {
    let asker = directory::Asker::of(groups.overage)?;
    let credentials = match (from, &groups.credentials) {
        (Credentials::OfProvider(known), _) => known.cloned(),
        (Credentials::OfGroups, Some(source)) => {
            secrets.credentials(reader, &format!("{base}.credentials"), source)
        }
        (Credentials::OfGroups, None) => {
            let what = "Microsoft Graph tells groups only to an application that proves who it is";
            let help = "add `credentials` here, or to `authorization_server.entra`";
            reader.problem_help(base, what, help);
            None
        }
    };
    let url = needed(reader, base, "url", groups.url.as_ref());
    let client_id = needed(reader, base, "client_id", groups.client_id.as_ref());
    let graph = needed(reader, base, "graph", groups.graph.as_ref());
    Some(directory::Config {
        asker,
        graph: called(reader, &format!("{base}.graph"), graph?)?,
        url: called(reader, &format!("{base}.url"), url?)?,
        client_id: client_id?,
        credentials: credentials?,
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

fn entra_identity(entra: &Entra, groups: Option<GroupSettings>) -> Option<Identity> {
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

fn check_entra(reader: &mut Reader<'_>, entra: &Entra) {
    let problems = entra.authority_problems();
    for problem in problems.into_iter().chain(entra.bearer_problems()) {
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
            let platform = if credentials.is_some() {
                "Web"
            } else {
                "Mobile and desktop applications"
            };
            let what = format!(
                "register `/oauth2/callback` of `public_url` as redirect URI of the application, \
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
