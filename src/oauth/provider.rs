//! Authorization servers other than Entra ID: one shape, and a table for each provider.
//!
//! A table says where a provider's endpoints are, what its tokens look like, and what it refuses or
//! wants to be asked. Everything else is the same for all: metadata, registration, the checks at
//! authorize and token, one public client. Nothing is asked of the provider to make the routes:
//! endpoints follow from the issuer or are written down, so a gateway starts, and `check` works,
//! while the provider cannot be reached.

use std::collections::BTreeMap;

use mcp_gateway_filters::Problem;
use serde::Deserialize;

use super::{
    Authorize, auth0,
    client_id_metadata::ClientIdMetadata,
    cognito,
    credentials::CredentialSource,
    google, keycloak,
    metadata::{Metadata, Protected, any_origin},
    oidc, okta, ping,
    plain::{Route, Setting, Step},
    way::Way,
};
use crate::{egress::Target, origin::Origin};

/// Every provider beside Entra ID, in the order in which they are listed to people.
const TABLES: [&Table; 7] = [
    &okta::TABLE,
    &auth0::TABLE,
    &keycloak::TABLE,
    &google::TABLE,
    &cognito::TABLE,
    &ping::TABLE,
    &oidc::TABLE,
];

/// What is particular to a provider.
#[derive(Debug)]
pub(super) struct Table {
    /// Its key below `authorization_server`.
    pub(super) name: &'static str,
    /// The issuer, where all customers share one; it must be written otherwise.
    pub(super) issuer: Option<&'static str>,
    /// How its `iss` ends.
    pub(super) slash: Slash,
    /// What an issuer looks like.
    pub(super) example: &'static str,
    /// Whether sign-in has a host of its own, named by `domain`.
    pub(super) domain: bool,
    /// Where the endpoints are, given the issuer and `domain` without a slash at the end; what is
    /// `None` must be written.
    pub(super) endpoints: fn(&str, &str) -> Option<Places>,
    /// What clients may get; the first is the default.
    pub(super) bearers: &'static [Bearer],
    /// For whom its access tokens are.
    pub(super) audience: Audience,
    /// Whether it must be told the audience in the authorization request.
    pub(super) sends_audience: bool,
    /// Claims that mark an access token.
    pub(super) access_claims: &'static [(&'static str, &'static str)],
    /// Claims that mark an id token.
    pub(super) id_claims: &'static [(&'static str, &'static str)],
    /// What clients may ask for, and do when they ask for nothing.
    pub(super) scopes: &'static [&'static str],
    /// Scopes that clients ask for and that it refuses.
    pub(super) refuses: &'static [&'static str],
    /// What every authorization request must say.
    pub(super) parameters: &'static [(&'static str, &'static str)],
}

/// How an issuer ends; tokens are compared byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slash {
    Always,
    Never,
    /// As written.
    Either,
}

/// Authorization endpoint, token endpoint and keys.
#[derive(Debug)]
pub(super) struct Places {
    pub(super) authorize: String,
    pub(super) token: String,
    pub(super) jwks: String,
}

/// Where a provider is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where a person signs in.
    pub authorize: String,
    /// Where a code becomes a token.
    pub token: String,
    /// Where the keys are.
    pub jwks: String,
}

/// For whom access tokens are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// An API that was registered with the provider.
    Api,
    /// The client, unless an API is named.
    Client,
    /// Nobody: they only say which client they were issued to, in the claim `client_id`.
    ClientIdClaim,
}

/// What clients get as their access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bearer {
    /// The id token, which says who signed in to the client.
    IdToken,
    /// The access token, which says what the client may do.
    AccessToken,
}

/// A provider as written in `gateway.yaml`. Not every provider takes every key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The public client that is registered with the provider.
    client_id: String,
    /// The `iss` of its tokens.
    #[serde(default)]
    issuer: Option<String>,
    /// Where people sign in, when that is not below the issuer.
    #[serde(default)]
    domain: Option<Origin>,
    /// The API that access tokens are for.
    #[serde(default)]
    audience: Option<String>,
    /// The claim that names the audience.
    #[serde(default)]
    audience_claim: Option<String>,
    /// Claims that every accepted token has with exactly this text.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    /// What clients get as their access token.
    #[serde(default)]
    bearer: Option<Bearer>,
    /// Every scope that clients may ask for, and the default for those that ask for none.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// Where clients may be sent back to; the presets and loopback when it is missing.
    #[serde(default)]
    redirect_uris: Option<Setting>,
    /// Parameters that never reach the provider.
    #[serde(default = "strip")]
    strip: Vec<String>,
    /// Parameters that every authorization request carries, whatever the client sent.
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// Whether a client may be known by the document that its id is the URL of.
    #[serde(default)]
    client_id_metadata: ClientIdMetadata,
    /// Which way a browser takes to the provider and back.
    #[serde(default)]
    authorize: Authorize,
    /// How the gateway proves to the provider which client it is.
    #[serde(default)]
    credentials: Option<CredentialSource>,
    /// Where a person signs in; follows from the issuer otherwise.
    #[serde(default)]
    authorization_endpoint: Option<String>,
    /// Where a code becomes a token; follows from the issuer otherwise.
    #[serde(default)]
    token_endpoint: Option<String>,
    /// Where the keys are; follows from the issuer otherwise.
    #[serde(default)]
    jwks_uri: Option<String>,
}

fn strip() -> Vec<String> {
    ["resource", "prompt"].map(str::to_owned).into()
}

/// An authorization server, ready to be written as routes.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// Its key below `authorization_server`.
    pub name: &'static str,
    /// The public client that is registered with it.
    pub client_id: String,
    /// Where it is.
    pub endpoints: Endpoints,
    /// What clients get as their access token.
    pub bearer: Bearer,
    /// What a token's audience may be.
    pub audiences: Vec<String>,
    /// The claim that names the audience.
    pub audience_claim: String,
    /// Claims that every accepted token has with exactly this text.
    pub claims: BTreeMap<String, String>,
    /// Every scope that clients may ask for.
    pub scopes: Vec<String>,
    /// Scopes that clients ask for and that it refuses.
    refuses: Vec<String>,
    parameters: BTreeMap<String, String>,
    redirect_uris: Option<Setting>,
    strip: Vec<String>,
    /// Whether a client may be known by a document of its own.
    pub client_id_metadata: ClientIdMetadata,
    authorize: Authorize,
    credentials: Option<CredentialSource>,
}

/// Returns the keys of all providers.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.name)
}

impl Settings {
    /// Fills in what is known of the provider of that name.
    ///
    /// # Errors
    /// Everything that is missing, that this provider does not take, or that cannot be used, each at
    /// its key.
    pub fn provider(self, name: &str) -> Result<Provider, Vec<Problem>> {
        let Some(table) = TABLES.iter().find(|table| table.name == name) else {
            return Err(vec![Problem::new("", format!("unknown provider `{name}`"))]);
        };
        let mut problems = self.misfits(table);
        let bearer = self
            .bearer
            .or_else(|| table.bearers.first().copied())
            .unwrap_or(Bearer::AccessToken);
        let endpoints = self.endpoints(table, &mut problems);
        let (audience, audience_claim) = self.audience(table, bearer, &mut problems);
        let scopes = self.scopes.clone().unwrap_or_else(|| owned(table.scopes));
        if bearer == Bearer::IdToken && !scopes.iter().any(|scope| scope == "openid") {
            problems.push(Problem::new(
                "scopes",
                "expected `openid` among the scopes: without it there is no id token",
            ));
        }
        for (index, scope) in scopes.iter().enumerate() {
            if table.refuses.contains(&scope.as_str()) {
                problems.push(Problem::new(
                    format!("scopes[{index}]"),
                    format!("{} refuses the scope `{scope}`", table.name),
                ));
            }
        }
        let marks = match bearer {
            Bearer::IdToken => table.id_claims,
            Bearer::AccessToken => table.access_claims,
        };
        let mut claims = pairs(marks);
        claims.extend(self.claims);
        let mut parameters = pairs(table.parameters);
        if let Some(audience) = &self.audience
            && table.sends_audience
            && bearer == Bearer::AccessToken
        {
            parameters.insert("audience".to_owned(), audience.clone());
        }
        parameters.extend(self.parameters);
        let Some(endpoints) = endpoints.filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        Ok(Provider {
            name: table.name,
            client_id: self.client_id,
            endpoints,
            bearer,
            audiences: vec![audience],
            audience_claim,
            claims,
            scopes,
            refuses: owned(table.refuses),
            parameters,
            redirect_uris: self.redirect_uris,
            strip: self.strip,
            client_id_metadata: self.client_id_metadata,
            authorize: self.authorize,
            credentials: self.credentials,
        })
    }

    /// Names the keys that mean nothing to this provider: a key without effect would be a trap.
    fn misfits(&self, table: &Table) -> Vec<Problem> {
        let name = table.name;
        let of_any = name == oidc::TABLE.name;
        let mut problems = vec![];
        let mut refuse = |key: &str, written: bool| {
            if written {
                problems.push(Problem::new(key, format!("`{name}` has no `{key}`")));
            }
        };
        refuse("domain", self.domain.is_some() && !table.domain);
        refuse("audience_claim", self.audience_claim.is_some() && !of_any);
        refuse("claims", !self.claims.is_empty() && !of_any);
        let opaque = !table.bearers.contains(&Bearer::AccessToken);
        let unnamed = table.audience == Audience::ClientIdClaim;
        refuse("audience", self.audience.is_some() && (opaque || unnamed));
        if self
            .bearer
            .is_some_and(|bearer| !table.bearers.contains(&bearer))
        {
            problems.push(
                Problem::new(
                    "bearer",
                    format!("the access tokens of {name} are not JWTs"),
                )
                .help("write `bearer: id_token`, or leave it out"),
            );
        }
        if self.credentials.is_some() && self.authorize == Authorize::Passthrough {
            problems.push(
                Problem::new(
                    "credentials",
                    "a confidential client needs `authorize: relay`: otherwise whoever steals a code \
                     or a refresh token elsewhere redeems it here, with the gateway's secret",
                )
                .help("set `authorize: relay`, or leave out `credentials`"),
            );
        }
        if self.client_id.is_empty() {
            problems.push(Problem::new("client_id", "expected a value, found nothing"));
        }
        problems
    }

    fn endpoints(&self, table: &Table, problems: &mut Vec<Problem>) -> Option<Endpoints> {
        let Some(issuer) = self.issuer.as_deref().or(table.issuer) else {
            problems.push(
                Problem::new("", "missing key `issuer`")
                    .help(format!("such as `issuer: {}`", table.example)),
            );
            return None;
        };
        usable("issuer", issuer, problems)?;
        let bare = issuer.strip_suffix('/').unwrap_or(issuer);
        let domain = self.domain.as_ref().map(Origin::as_str);
        if table.domain && domain.is_none() {
            problems.push(Problem::new("", "missing key `domain`").help(
                "the address of its sign-in pages, such as `https://acme.auth.eu-west-1.amazoncognito.com`",
            ));
            return None;
        }
        let derived = (table.endpoints)(bare, domain.unwrap_or_default());
        let mut place = |key: &str, written: Option<&String>, derived: Option<&String>| {
            let Some(place) = written.or(derived) else {
                problems.push(Problem::new("", format!("missing key `{key}`")));
                return None;
            };
            usable(key, place, problems)?;
            Some(place.clone())
        };
        let authorize = place(
            "authorization_endpoint",
            self.authorization_endpoint.as_ref(),
            derived.as_ref().map(|places| &places.authorize),
        );
        let token = place(
            "token_endpoint",
            self.token_endpoint.as_ref(),
            derived.as_ref().map(|places| &places.token),
        );
        let jwks = place(
            "jwks_uri",
            self.jwks_uri.as_ref(),
            derived.as_ref().map(|places| &places.jwks),
        );
        Some(Endpoints {
            issuer: match table.slash {
                Slash::Always => format!("{bare}/"),
                Slash::Never => bare.to_owned(),
                Slash::Either => issuer.to_owned(),
            },
            authorize: authorize?,
            token: token?,
            jwks: jwks?,
        })
    }

    /// Returns the audience, and the claim that names it.
    fn audience(
        &self,
        table: &Table,
        bearer: Bearer,
        problems: &mut Vec<Problem>,
    ) -> (String, String) {
        let claim = self.audience_claim.as_deref().unwrap_or("aud");
        let audience = match (bearer, table.audience, &self.audience) {
            // OpenID Connect Core §2: an id token is for the client.
            (Bearer::IdToken, ..) => return (self.client_id.clone(), "aud".to_owned()),
            (_, Audience::ClientIdClaim, _) => {
                return (self.client_id.clone(), "client_id".to_owned());
            }
            (_, _, Some(audience)) if !audience.is_empty() => audience.clone(),
            (_, Audience::Client, None) => self.client_id.clone(),
            _ => {
                problems.push(
                    Problem::new("", "missing key `audience`")
                        .help("the API that access tokens are for, as the provider names it"),
                );
                String::new()
            }
        };
        (audience, claim.to_owned())
    }
}

impl Provider {
    /// Returns what a challenge asks for.
    #[must_use]
    pub fn challenge_scopes(&self) -> Vec<String> {
        let asked = |scope: &&String| *scope != "offline_access";
        self.scopes.iter().filter(asked).cloned().collect()
    }

    /// Writes every route that clients need to sign in.
    #[must_use]
    pub fn routes(&self, public: &Origin, protected: &[Protected]) -> Vec<Route> {
        let metadata = Metadata {
            public,
            jwks_uri: &self.endpoints.jwks,
            scopes: &self.scopes,
            step_up: &[],
            names_issuer: self.is_relayed(),
            client_id_metadata: self.client_id_metadata.is_on(),
        };
        let mut routes = metadata.routes(protected);
        for path in ["/oauth2/authorize", "/authorize"] {
            routes.push(plain(path, self.authorize(public)));
        }
        for path in ["/oauth2/token", "/token"] {
            routes.push(plain(path, self.token(public)));
        }
        routes.push(plain("/register", self.register()));
        routes.extend(self.way().routes(public, &self.endpoints.authorize));
        routes
    }

    /// Says whether sign-ins come back to the gateway.
    #[must_use]
    pub fn is_relayed(&self) -> bool {
        self.way().is_relayed()
    }

    fn way(&self) -> Way<'_> {
        Way {
            authorize: self.authorize,
            client_id: &self.client_id,
            documents: &self.client_id_metadata,
            credentials: self.credentials.as_ref(),
        }
    }

    /// No `cors` here: a person goes to this page, and no script may.
    fn authorize(&self, public: &Origin) -> Vec<Step> {
        let client_id = self.client_id.as_str();
        let mut steps = vec![Step::new("form_to_query", [])];
        steps.extend(self.way().resolve_client("query"));
        steps.extend([
            Step::new("check_authorize", [("client_id", client_id.into())])
                .with("redirect_uris", self.redirect_uris.clone())
                .with("issuer", self.way().issuer_of_errors(public)),
            Step::new("strip_query", [("params", Setting::list(&self.strip))]),
            self.repair_scope(),
        ]);
        if !self.parameters.is_empty() {
            let pair = |(name, value): (&String, &String)| (name.clone(), value.as_str().into());
            let params = Setting::Map(self.parameters.iter().map(pair).collect());
            steps.push(Step::new("set_query", [("params", params)]));
        }
        steps.push(self.way().leave(public, &self.endpoints.authorize));
        steps
    }

    fn token(&self, public: &Origin) -> Vec<Step> {
        let client_id = self.client_id.as_str();
        let mut steps = vec![any_origin(&["POST"])];
        steps.extend(self.way().resolve_client("form"));
        steps.push(Step::new(
            "check_token_request",
            [("client_id", client_id.into())],
        ));
        steps.extend(self.way().open_grant(public));
        steps.extend([
            Step::new("strip_form", [("params", Setting::list(self.strip_form()))]),
            Step::new(
                "remove_headers",
                [("request", Setting::list(["origin", "cookie"]))],
            ),
        ]);
        steps.push(match self.bearer {
            Bearer::IdToken => {
                let scopes = Setting::list(&self.scopes);
                Step::new("swap_token", [("scopes", scopes)])
            }
            // Clients would present an opaque token, be refused, and sign in again, without end.
            Bearer::AccessToken => Step::new(
                "pass_token",
                [
                    ("audiences", Setting::list(&self.audiences)),
                    ("audience_claim", self.audience_claim.as_str().into()),
                ],
            ),
        });
        steps.push(self.way().exchange(&self.endpoints.token));
        steps
    }

    fn register(&self) -> Vec<Step> {
        let client_id = self.client_id.as_str();
        vec![
            any_origin(&["POST"]),
            Step::new(self.way().registrar(), [("client_id", client_id.into())])
                .with("redirect_uris", self.redirect_uris.clone()),
        ]
    }

    /// Without a scope, a refresh brings what was granted before (RFC 6749 §6): better than a refusal
    /// because of a scope that the provider does not know.
    fn strip_form(&self) -> impl Iterator<Item = &str> {
        let scope = (!self.refuses.is_empty()).then_some("scope");
        self.strip.iter().map(String::as_str).chain(scope)
    }

    /// In the authorization request only: there the scope is decided, and not every provider takes
    /// one in a token request.
    fn repair_scope(&self) -> Step {
        let needed = |scope: &&String| matches!(scope.as_str(), "openid" | "offline_access");
        let others = (!self.refuses.is_empty()).then(|| "drop".into());
        Step::new(
            "repair_scope",
            [
                ("in", "query".into()),
                ("scopes", Setting::list(self.scopes.iter().filter(needed))),
                ("default", Setting::list(&self.scopes)),
            ],
        )
        .with("others", others)
    }
}

fn plain(path: &str, filters: Vec<Step>) -> Route {
    Route {
        path: path.to_owned(),
        methods: vec![],
        filters,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

/// Says whether a URL can be called, or why not.
fn usable(key: &str, url: &str, problems: &mut Vec<Problem>) -> Option<()> {
    Target::parse(url)
        .map(drop)
        .map_err(|why| problems.push(Problem::new(key, format!("{why}, found `{url}`"))))
        .ok()
}

#[cfg(test)]
mod tests;
