//! What the tenant knows: applications, people, and who consented to what.
//!
//! Plain data; the rules that read it live in the endpoints.

/// Application id of Microsoft Graph, which owns every scope without a prefix.
pub const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// Scopes of OpenID Connect, which belong to no API.
pub(super) const OIDC_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// The kind of client a redirect URI makes of its application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// Mobile and desktop: a public client.
    Native,
    /// A confidential client, which must present a secret.
    Web,
    /// A script in a browser, which must redeem across origins.
    Spa,
}

/// An application registration.
#[derive(Debug, Clone)]
pub struct App {
    /// Application (client) id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Registered redirect URIs.
    pub redirects: Vec<(Platform, String)>,
    /// Client secrets, any of which is good.
    pub secrets: Vec<String>,
    /// App ID URIs, under which its scopes are asked for.
    pub identifier_uris: Vec<String>,
    /// Scopes it exposes, without prefix.
    pub scopes: Vec<String>,
    /// Version of access tokens issued for it (`requestedAccessTokenVersion`): 1 or 2.
    pub token_version: u8,
    /// Whether its tokens carry the caller's groups (`groupMembershipClaims`).
    pub group_claims: bool,
    /// Client secrets that were good once.
    pub expired_secrets: Vec<String>,
    /// Certificates whose keys may sign client assertions.
    pub certificates: Vec<ClientCertificate>,
    /// Permissions that it has of its own, of Microsoft Graph.
    pub permissions: Vec<String>,
    /// Who may use it, by user principal name; everyone unless set (assignment required).
    pub assigned: Option<Vec<String>>,
}

/// A certificate that was uploaded to a registration.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The certificate, in DER.
    pub certificate: Vec<u8>,
    /// Its RSA key, as a PKCS#1 `RSAPublicKey` in DER.
    pub public_key: Vec<u8>,
}

impl App {
    /// Returns a registration with nothing registered.
    #[must_use]
    pub fn new(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            redirects: Vec::new(),
            secrets: Vec::new(),
            identifier_uris: Vec::new(),
            scopes: Vec::new(),
            token_version: 2,
            group_claims: true,
            expired_secrets: Vec::new(),
            certificates: Vec::new(),
            permissions: Vec::new(),
            assigned: None,
        }
    }

    /// Registers a redirect URI.
    #[must_use]
    pub fn redirect(mut self, platform: Platform, uri: impl Into<String>) -> Self {
        self.redirects.push((platform, uri.into()));
        self
    }

    /// Registers a client secret.
    #[must_use]
    pub fn secret(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// Exposes an API: an App ID URI and its scopes.
    #[must_use]
    pub fn exposes(mut self, identifier_uri: impl Into<String>, scopes: &[&str]) -> Self {
        self.identifier_uris.push(identifier_uri.into());
        self.scopes
            .extend(scopes.iter().map(|scope| (*scope).to_owned()));
        self
    }
}

/// A person in the tenant.
#[derive(Debug, Clone)]
pub struct User {
    /// Object id.
    pub oid: String,
    /// User principal name; also how tests and the sign-in page name the person.
    pub upn: String,
    /// Display name.
    pub name: String,
    /// Object ids of groups.
    pub groups: Vec<String>,
    /// Application roles.
    pub roles: Vec<String>,
    /// Whether the person may consent for the whole tenant.
    pub admin: bool,
}

impl User {
    /// Whether `who` names this person: user principal name, its local part, or object id.
    pub(super) fn is(&self, who: &str) -> bool {
        self.oid == who
            || self.upn.eq_ignore_ascii_case(who)
            || self
                .upn
                .split('@')
                .next()
                .is_some_and(|local| local.eq_ignore_ascii_case(who))
    }
}

/// Consent given: which client may ask for which scopes of which API.
#[derive(Debug, Clone)]
pub struct Grant {
    /// Application id of the client.
    pub client: String,
    /// Application id of the API; [`GRAPH`] for OpenID Connect scopes.
    pub resource: String,
    /// Scopes, without prefix.
    pub scopes: Vec<String>,
    /// Object id of the person who consented; none: consent for the whole tenant.
    pub principal: Option<String>,
}

/// Everything above, for one tenant.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) tenant: String,
    pub(super) domain: String,
    /// Whether people may consent for themselves.
    pub(super) user_consent: bool,
    /// Whether people who may not can at least ask an administrator.
    pub(super) admin_workflow: bool,
    pub(super) apps: Vec<App>,
    pub(super) users: Vec<User>,
    pub(super) grants: Vec<Grant>,
    /// Other tenants, each with the object id of a person who is at home there.
    pub(super) elsewhere: Vec<(String, String)>,
}

impl Directory {
    pub(super) fn app(&self, id: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.id.eq_ignore_ascii_case(id))
    }

    pub(super) fn user(&self, who: &str) -> Option<&User> {
        self.users.iter().find(|user| user.is(who))
    }

    /// Whether a path segment names this tenant, or all tenants.
    pub(super) fn answers_for(&self, segment: &str) -> bool {
        self.is_template(segment) || self.tenant_named(segment).is_some()
    }

    /// Finds the tenant that a path segment names.
    pub(super) fn tenant_named(&self, segment: &str) -> Option<&str> {
        if segment.eq_ignore_ascii_case(&self.domain) {
            return Some(&self.tenant);
        }
        let others = self.elsewhere.iter().map(|(tenant, _)| tenant.as_str());
        std::iter::once(self.tenant.as_str())
            .chain(others)
            .find(|tenant| segment.eq_ignore_ascii_case(tenant))
    }

    /// Returns the tenant that a person is at home in.
    pub(super) fn tenant_of(&self, user: &User) -> &str {
        self.elsewhere
            .iter()
            .find(|(_, oid)| *oid == user.oid)
            .map_or(&self.tenant, |(tenant, _)| tenant)
    }

    /// Returns the scopes of an API that the client has for that person.
    pub(super) fn granted(&self, client: &str, resource: &str, oid: &str) -> Vec<String> {
        let grants = self.grants.iter().filter(|grant| {
            grant.client == client
                && grant.resource == resource
                && grant.principal.as_deref().is_none_or(|one| one == oid)
        });
        let mut scopes: Vec<String> = grants.flat_map(|grant| grant.scopes.clone()).collect();
        scopes.retain(|scope| !OIDC_SCOPES.contains(&scope.as_str()));
        scopes
    }

    /// Whether a path segment names all tenants, so that documents carry `{tenantid}`.
    #[expect(
        clippy::unused_self,
        reason = "asked of the directory like its neighbours"
    )]
    pub(super) fn is_template(&self, segment: &str) -> bool {
        matches!(segment, "common" | "organizations")
    }

    /// Whether the client may have that scope of that API for that person.
    pub(super) fn consented(&self, client: &str, resource: &str, scope: &str, oid: &str) -> bool {
        self.grants.iter().any(|grant| {
            grant.client == client
                && grant.resource == resource
                && grant.scopes.iter().any(|granted| granted == scope)
                && grant
                    .principal
                    .as_deref()
                    .is_none_or(|principal| principal == oid)
        })
    }
}

/// Microsoft Graph as every tenant has it.
pub(super) fn graph() -> App {
    let mut graph = App::new(GRAPH, "Microsoft Graph").exposes(
        "https://graph.microsoft.com",
        &[
            "User.Read",
            "Mail.Read",
            "openid",
            "profile",
            "email",
            "offline_access",
        ],
    );
    graph.token_version = 1;
    graph.group_claims = false;
    graph
}
