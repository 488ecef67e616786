//! What clients get as their token, and what that makes of scopes, `resource` and `prompt`.
//!
//! Three bearers, one switch: the id token of the application that signs people in, an access token
//! of an API, or the same with Entra's own check of `resource`. Clients see short scope names in each
//! of them, so that moving from one to another changes nothing on their side; what goes on to Entra
//! is made by the filters that are written here.

use std::collections::BTreeMap;

use mcp_gateway_filters::Problem;
use serde::{Deserialize, Deserializer, de};
use url::Url;

use super::{Guid, Settings};
use crate::{
    oauth::plain::{Setting, Step},
    origin::Origin,
};

/// What belongs to no API, and may be asked for beside one.
const OIDC: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// What a token of an API is asked for with: who the user is, and a refresh token.
const BESIDE_API: [&str; 3] = ["openid", "profile", "offline_access"];

/// What clients get as their access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bearer {
    /// The id token. Its audience is the application, and one app registration is enough; what it
    /// was made for is to tell the application who signed in, not to open an API.
    #[default]
    IdToken,
    /// The access token of an API of one's own; `resource` never reaches Entra.
    AccessToken,
    /// The same, and Entra gets the `resource` that is registered as the API's App ID URI.
    Native,
}

impl Bearer {
    const fn as_str(self) -> &'static str {
        match self {
            Self::IdToken => "id_token",
            Self::AccessToken => "access_token",
            Self::Native => "native",
        }
    }
}

/// The API that access tokens are for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// The application id of its registration, which is the `aud` of its tokens; the client's own
    /// when it is missing.
    #[serde(default)]
    application: Option<Guid>,
    /// Its App ID URI.
    #[serde(default)]
    identifier_uri: Option<IdentifierUri>,
    /// The scopes that it exposes, by the short names that clients see.
    scopes: Vec<String>,
}

/// An App ID URI, compared by Entra byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifierUri(String);

impl<'de> Deserialize<'de> for IdentifierUri {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        let text = String::deserialize(de)?;
        let scheme = text.starts_with("api://") || text.starts_with("https://");
        let whole = Url::parse(&text)
            .is_ok_and(|url| url.has_host() && url.query().is_none() && url.fragment().is_none());
        if scheme && whole && !text.ends_with('/') {
            return Ok(Self(text));
        }
        Err(de::Error::custom(format!(
            "expected an App ID URI such as `api://…` or `https://…` without a slash at its end, found `{text}`"
        )))
    }
}

/// What of `prompt` reaches Entra.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptPolicy {
    /// The values that are passed on, the strongest first.
    keep: Vec<Prompt>,
}

/// A value that is the user's to choose; `consent` is the administrator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Prompt {
    Login,
    None,
    SelectAccount,
}

impl Prompt {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::None => "none",
            Self::SelectAccount => "select_account",
        }
    }
}

/// Scopes that clients are told to ask for when a policy demands more, and the claims that they
/// stand for.
pub type StepUp = BTreeMap<String, String>;

impl Settings {
    /// Returns what the `aud` of a token may be.
    #[must_use]
    pub fn audiences(&self) -> Vec<String> {
        let Some(api) = self.api_in_use() else {
            return vec![self.client_id.as_str().to_owned()];
        };
        let mut audiences = vec![self.application(api).to_owned()];
        if self.v1_tokens {
            // Tokens of version 1.0 carry the App ID URI that was asked with, or the id.
            audiences.extend(self.names_of(api).into_iter().skip(1));
        }
        audiences
    }

    /// Returns the scopes of which a token must hold one: an id token of a registration that is
    /// client and API has the same audience as its access tokens, and holds none.
    #[must_use]
    pub fn token_scopes(&self) -> Vec<String> {
        let api = self.api_in_use();
        api.map_or_else(Vec::new, |api| api.scopes.clone())
    }

    /// Says whether an authorization request may demand claims by a scope.
    #[must_use]
    pub fn takes_claims(&self) -> bool {
        self.api_in_use().is_some() || !self.step_up.is_empty()
    }

    /// Returns every scope that clients may ask for, but those of `step_up`: it is asked for by
    /// those who ask for none.
    #[must_use]
    pub fn published_scopes(&self) -> Vec<String> {
        let written = self.scopes.clone();
        match self.api_in_use() {
            None => written.unwrap_or_else(|| OIDC.map(str::to_owned).into()),
            // The gateway asks for what Entra needs beside them. A client that sees no
            // `offline_access` has no reason for `prompt=consent`.
            Some(api) => {
                let beside = written.unwrap_or_default();
                api.scopes.iter().cloned().chain(beside).collect()
            }
        }
    }

    /// Returns what a challenge asks for.
    #[must_use]
    pub fn challenge_scopes(&self) -> Vec<String> {
        let mut scopes = self.published_scopes();
        scopes.retain(|scope| scope != "offline_access");
        scopes
    }

    /// Returns the application that callers' tokens are for.
    #[must_use]
    pub fn audience_application(&self) -> &str {
        self.api_in_use()
            .map_or(self.client_id.as_str(), |api| self.application(api))
    }

    /// Returns the API whose tokens are the bearer.
    fn api_in_use(&self) -> Option<&Api> {
        match self.bearer {
            Bearer::IdToken => None,
            Bearer::AccessToken | Bearer::Native => self.api.as_ref(),
        }
    }

    fn application<'a>(&'a self, api: &'a Api) -> &'a str {
        api.application.as_ref().unwrap_or(&self.client_id).as_str()
    }

    /// Says whether one registration is both client and API.
    fn is_one(&self, api: &Api) -> bool {
        self.application(api) == self.client_id.as_str()
    }

    /// Returns every name of the API, its application id first.
    fn names_of(&self, api: &Api) -> Vec<String> {
        let id = self.application(api).to_owned();
        let usual = format!("api://{id}");
        let mut names = vec![id, usual];
        if let Some(IdentifierUri(uri)) = &api.identifier_uri
            && !names.contains(uri)
        {
            names.push(uri.clone());
        }
        names
    }

    /// Writes the API as filters read it. Of one registration that is client and API Entra takes no
    /// name but the id when it refreshes (AADSTS90009).
    fn api_setting(&self, api: &Api) -> Setting {
        let prefix = match &api.identifier_uri {
            Some(IdentifierUri(uri)) if !self.is_one(api) => uri.as_str(),
            _ => self.application(api),
        };
        let mut aliases = self.names_of(api);
        aliases.retain(|name| name != prefix);
        Setting::map([
            ("prefix", prefix.into()),
            ("aliases", Setting::list(aliases)),
            ("scopes", Setting::list(&api.scopes)),
        ])
    }

    /// Writes the steps that leave of an authorization request what Entra takes.
    pub(super) fn authorization_steps(&self) -> Vec<Step> {
        let mut steps = vec![];
        let mut strip = self.stripped();
        if let Some(PromptPolicy { keep }) = &self.prompt {
            strip.retain(|param| param != "prompt");
            let keep = Setting::list(keep.iter().map(|prompt| prompt.as_str()));
            steps.push(Step::new("prompt_policy", [("keep", keep)]));
        }
        if !strip.is_empty() {
            steps.push(Step::new("strip_query", [("params", Setting::list(strip))]));
        }
        steps.extend(self.map_resource("query"));
        if self.takes_claims() {
            let names = self.step_up.iter();
            let names = names.map(|(name, claims)| (name.clone(), claims.as_str().into()));
            let names = Setting::Map(names.collect());
            steps.push(Step::new("scope_to_claims", [("names", names)]));
        }
        steps.push(self.repair_scope("query"));
        steps
    }

    /// Writes the steps that leave of a token request what Entra takes.
    pub(super) fn token_request_steps(&self) -> Vec<Step> {
        let mut strip = self.stripped();
        // Named by its URI, a registration may not ask for a token for itself.
        if self.api_in_use().is_some_and(|api| self.is_one(api))
            && !strip.iter().any(|param| param == "resource")
        {
            strip.push("resource".to_owned());
        }
        let mut steps = vec![];
        let mapped = !strip.iter().any(|param| param == "resource");
        if !strip.is_empty() {
            steps.push(Step::new("strip_form", [("params", Setting::list(strip))]));
        }
        if mapped {
            steps.extend(self.map_resource("form"));
        }
        steps.push(self.repair_scope("form"));
        steps
    }

    /// Writes the steps that make of Entra's answer what clients take, in the order of the route.
    pub(super) fn token_answer_steps(&self) -> Vec<Step> {
        let hand_out = match self.api_in_use() {
            None => Step::new(
                "swap_token",
                [("scopes", Setting::list(self.published_scopes()))],
            ),
            Some(api) => Step::new(
                "pass_token",
                [
                    ("audiences", Setting::list(self.audiences())),
                    ("api", self.api_setting(api)),
                    (
                        "scopes",
                        Setting::list(self.scopes.as_deref().unwrap_or_default()),
                    ),
                ],
            ),
        };
        vec![hand_out, Step::new("restart_sign_in", [])]
    }

    /// Returns the parameters that never reach Entra.
    fn stripped(&self) -> Vec<String> {
        self.strip.clone().unwrap_or_else(|| {
            let usual: &[&str] = match self.bearer {
                Bearer::IdToken | Bearer::AccessToken => &["resource", "prompt"],
                Bearer::Native => &["prompt"],
            };
            usual.iter().map(|param| (*param).to_owned()).collect()
        })
    }

    fn map_resource(&self, place: &str) -> Option<Step> {
        let IdentifierUri(uri) = self.api_in_use()?.identifier_uri.as_ref()?;
        (self.bearer == Bearer::Native).then(|| {
            Step::new(
                "map_resource",
                [("in", place.into()), ("to", uri.as_str().into())],
            )
        })
    }

    /// Without `openid` there is no id token, without `offline_access` no refresh. A token is for one
    /// API: beside another one's scopes there would be none. Without an API the access token goes
    /// nowhere, so what else it is for does no harm; the scopes of an API that was the bearer before
    /// would, as Entra takes them for scopes of Graph.
    ///
    /// A token request that names no scope of the API asks for all of them, and not for none: what Entra
    /// then gives follows the sign-in, which may have been for another bearer or another form of the
    /// scope (AADSTS28003, 90009), and Microsoft advises against relying on it. The price is that all
    /// have to be consented to, which the steps of `check` see to.
    fn repair_scope(&self, place: &str) -> Step {
        let (needed, default): (Vec<String>, Vec<String>) = if self.api_in_use().is_some() {
            let beside = self.scopes.iter().flatten();
            let mut default = BESIDE_API.map(str::to_owned).to_vec();
            default.extend(
                beside
                    .filter(|one| !BESIDE_API.contains(&one.as_str()))
                    .cloned(),
            );
            (BESIDE_API.map(str::to_owned).into(), default)
        } else {
            let default = self.published_scopes();
            let needed = |scope: &&String| matches!(scope.as_str(), "openid" | "offline_access");
            (default.iter().filter(needed).cloned().collect(), default)
        };
        Step::new(
            "repair_scope",
            [
                ("in", place.into()),
                ("scopes", Setting::list(needed)),
                ("default", Setting::list(default)),
            ],
        )
        .with("others", self.api.as_ref().map(|_| "drop".into()))
        .with("api", self.api_in_use().map(|api| self.api_setting(api)))
    }

    /// Says what does not go together, each at its setting; `public` is where clients reach the
    /// gateway, when that could be read.
    #[must_use]
    pub fn bearer_problems(&self, public: Option<&Origin>) -> Vec<Problem> {
        let mut problems = vec![];
        if self.bearer == Bearer::IdToken {
            if !self
                .published_scopes()
                .iter()
                .any(|scope| scope == "openid")
            {
                let what = "expected `openid` among the scopes: without it Entra gives no id token";
                problems.push(Problem::new("scopes", what));
            }
        } else if let Some(api) = &self.api {
            self.check_api(api, public, &mut problems);
        } else {
            let what = format!("bearer `{}` needs an `api`", self.bearer.as_str());
            problems.push(Problem::new("bearer", what).help(format!(
                "register the API at Entra, then name it: {}",
                self.registration(None, public)
            )));
        }
        for (index, scope) in self.scopes.iter().flatten().enumerate() {
            if self.bearer != Bearer::IdToken && !OIDC.contains(&scope.as_str()) {
                let what =
                    format!("`{scope}` is no scope of OpenID Connect: a token is for one API");
                let help = "list the scopes of the API under `api.scopes`";
                problems.push(Problem::new(format!("scopes[{index}]"), what).help(help));
            }
        }
        let stripped = self
            .strip
            .iter()
            .flatten()
            .position(|param| param == "prompt");
        if let (Some(index), Some(_)) = (stripped, &self.prompt) {
            let what = "`prompt` is dropped here, and kept by `prompt`";
            problems.push(Problem::new(format!("strip[{index}]"), what));
        }
        for name in self.step_up.keys() {
            if self.published_scopes().contains(name) || OIDC.contains(&name.as_str()) {
                let what = format!("`{name}` is a scope already");
                problems.push(Problem::new(format!("step_up.{name}"), what));
            }
        }
        problems
    }

    fn check_api(&self, api: &Api, public: Option<&Origin>, problems: &mut Vec<Problem>) {
        if api.scopes.is_empty() {
            let what = "expected at least one scope, found none";
            problems.push(Problem::new("api.scopes", what));
        }
        for (index, scope) in api.scopes.iter().enumerate() {
            let short = !scope.is_empty()
                && scope != ".default"
                && !scope.contains('/')
                && !OIDC.contains(&scope.as_str());
            if !short {
                let what =
                    format!("expected the short name of a scope of the API, found `{scope}`");
                problems.push(Problem::new(format!("api.scopes[{index}]"), what));
            }
        }
        if self.bearer == Bearer::Native && api.identifier_uri.is_none() {
            let what = "bearer `native` needs the App ID URI that `resource` has to name";
            problems.push(
                Problem::new("api", what)
                    .help(format!("name it as `identifier_uri: {}`", resource(public))),
            );
        }
    }

    /// Says what deserves a second thought, each at its setting, and which app registration the
    /// bearer needs.
    #[must_use]
    pub fn bearer_notes(&self) -> Vec<(&'static str, String)> {
        let mut notes = vec![];
        let resource = self.stripped().iter().any(|param| param == "resource");
        if !resource && self.bearer != Bearer::Native {
            let what = "`resource` reaches Entra, which answers AADSTS9010010 to most clients";
            notes.push(("strip", what.to_owned()));
        }
        match self.api_in_use() {
            None => {
                let what = "clients get the id token as their bearer: one app registration is enough, and the token says \
                            who signed in to this application, not what the caller may do";
                notes.push(("", what.to_owned()));
                if self.api.is_some() && self.bearer == Bearer::IdToken {
                    let what = "not the bearer: who still asks for its scopes gets an id token";
                    notes.push(("api", what.to_owned()));
                }
            }
            Some(api) => {
                notes.push((
                    "",
                    format!(
                        "clients get access tokens of the API: {}",
                        self.registration(Some(api), None)
                    ),
                ));
                if self.is_one(api) {
                    let what = "one registration is client and API, so its id tokens carry the same audience and \
                                are told apart by `scp` only: a registration of its own for the API is cleaner";
                    notes.push(("api", what.to_owned()));
                }
            }
        }
        notes
    }

    /// Says step by step what has to be registered for access tokens.
    fn registration(&self, api: Option<&Api>, public: Option<&Origin>) -> String {
        let application = api.map_or("…", |api| self.application(api));
        let uri = api
            .and_then(|api| api.identifier_uri.as_ref())
            .map(|IdentifierUri(uri)| uri.clone());
        let uri = uri.unwrap_or_else(|| match self.bearer {
            Bearer::Native => resource(public),
            _ => format!("api://{application}"),
        });
        let scopes = api.map_or_else(|| "tools.execute".to_owned(), |api| api.scopes.join(", "));
        let client = self.client_id.as_str();
        format!(
            "1. registration `{application}`, manifest `requestedAccessTokenVersion` 2; \
             2. Expose an API: App ID URI `{uri}`, scopes {scopes}; \
             3. Authorized client applications: `{client}`; \
             4. registration `{client}`: API permissions to these scopes, admin consent"
        )
    }
}

/// Returns what clients call the server: the URL of the usual route.
fn resource(public: Option<&Origin>) -> String {
    public.map_or_else(|| "https://…/mcp".to_owned(), |public| public.join("/mcp"))
}

#[cfg(test)]
mod tests;
