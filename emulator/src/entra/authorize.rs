//! The authorize endpoint: the checks in the order in which Entra makes them, then a code.
//!
//! Until the redirect URI is known to be good, a refusal is a page; from then on it is a redirect.

use axum::body::Body;
use http::{Response, StatusCode};

use super::directory::{App, Directory, Grant, Platform, User};
use super::error::Aadsts;
use super::page;
use super::redirect::{self, Mode};
use super::scope::Scope;
use super::state::{Code, ResourceMode, State};
use crate::net::lock;
use crate::params::Params;
use crate::random;
use crate::store::Challenge;

/// A request whose client and redirect URI are good.
struct Authorization<'a> {
    state: &'a State,
    directory: &'a Directory,
    params: &'a Params,
    client: &'a App,
    redirect_uri: &'a str,
    platform: Platform,
    mode: Mode,
    /// The tenant that the address names; none where it stands for all.
    tenant: Option<&'a str>,
}

/// What a check found wrong, and where to say so.
enum Refusal {
    Page(Aadsts),
    Redirect(Aadsts),
}

/// `prompt`, at most one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prompt {
    Unspecified,
    None,
    Login,
    SelectAccount,
    Consent,
}

/// Answers an authorization request. `hinted` names the person a test wants to sign in.
pub(super) fn authorize(
    state: &State,
    segment: &str,
    params: &Params,
    hinted: Option<&str>,
) -> Response<Body> {
    let directory = state.directory();
    let authorization = match Authorization::open(state, &directory, segment, params) {
        Ok(authorization) => authorization,
        Err(aadsts) => return error_page(state, aadsts),
    };
    match authorization.proceed(hinted) {
        Ok(response) => response,
        Err(Refusal::Page(aadsts)) => error_page(state, aadsts),
        Err(Refusal::Redirect(aadsts)) => authorization.refuse(aadsts),
    }
}

fn error_page(state: &State, aadsts: Aadsts) -> Response<Body> {
    let mut response = page::error(&state.tell(aadsts));
    if let Ok(status) = StatusCode::from_u16(state.settings.error_page_status) {
        *response.status_mut() = status;
    }
    response
}

impl<'a> Authorization<'a> {
    /// Makes the checks whose failure is shown as a page.
    fn open(
        state: &'a State,
        directory: &'a Directory,
        segment: &str,
        params: &'a Params,
    ) -> Result<Self, Aadsts> {
        if let Some(name) = params.repeated() {
            return Err(Aadsts::duplicated(name));
        }
        if !directory.answers_for(segment) {
            return Err(Aadsts::unknown_tenant(segment));
        }
        let id = params
            .find("client_id")
            .ok_or_else(|| Aadsts::missing_parameter("client_id"))?;
        let client = directory
            .app(id)
            .ok_or_else(|| Aadsts::unknown_app(id, &directory.tenant))?;
        let Some((first_platform, first)) = client.redirects.first() else {
            return Err(Aadsts::no_reply_address());
        };
        let (redirect_uri, platform) = match params.find("redirect_uri") {
            None => (first.as_str(), *first_platform),
            Some(uri) => {
                url::Url::parse(uri).map_err(|_| Aadsts::malformed_redirect())?;
                let platform = redirect::find(client, uri, state.settings.loopback)
                    .ok_or_else(|| Aadsts::redirect_mismatch(uri, &client.id))?;
                (uri, platform)
            }
        };
        Ok(Self {
            state,
            directory,
            params,
            client,
            redirect_uri,
            platform,
            // A mode that is not known is refused below, by way of the query.
            mode: Mode::parse(params.find("response_mode")).unwrap_or(Mode::Query),
            tenant: directory.tenant_named(segment),
        })
    }

    fn proceed(&self, hinted: Option<&str>) -> Result<Response<Body>, Refusal> {
        self.check_response()?;
        let scope_text = self
            .params
            .find("scope")
            .filter(|text| !text.trim().is_empty())
            .ok_or_else(|| Refusal::Page(Aadsts::missing_parameter("scope")))?;
        let prompt = self.prompt()?;
        let scope = self.scope(scope_text)?;
        let challenge = self.challenge()?;

        let user = match self.who(prompt, hinted)? {
            Ok(user) => user,
            Err(page) => return Ok(page),
        };
        self.check_user(user)?;
        if let Some(page) = self.consent(&scope, user, prompt)? {
            return Ok(page);
        }
        Ok(self.issue(scope_text, user, challenge))
    }

    /// Whether the person is at home where the address says, and may use the application.
    fn check_user(&self, user: &User) -> Result<(), Refusal> {
        let home = self.directory.tenant_of(user);
        if let Some(tenant) = self.tenant
            && tenant != home
        {
            let refused = Aadsts::not_in_tenant(&user.upn, home, tenant, &self.client.id);
            return Err(Refusal::Page(refused));
        }
        match &self.client.assigned {
            Some(assigned) if !assigned.iter().any(|who| user.is(who)) => Err(Refusal::Page(
                Aadsts::not_assigned(&user.upn, &self.client.id, &self.client.name),
            )),
            _ => Ok(()),
        }
    }

    fn check_response(&self) -> Result<(), Refusal> {
        match self.params.find("response_type") {
            Some("code") => {}
            None => {
                return Err(Refusal::Redirect(Aadsts::missing_parameter(
                    "response_type",
                )));
            }
            Some(hybrid) if hybrid.split(' ').any(|part| part == "id_token") => {
                return Err(Refusal::Redirect(Aadsts::response_type_not_enabled()));
            }
            Some(other) => {
                return Err(Refusal::Redirect(Aadsts::unsupported_response_type(other)));
            }
        }
        let mode = self.params.find("response_mode");
        if Mode::parse(mode).is_none() {
            return Err(Refusal::Redirect(Aadsts::unsupported_response_mode(
                mode.unwrap_or_default(),
            )));
        }
        Ok(())
    }

    fn prompt(&self) -> Result<Prompt, Refusal> {
        match self.params.find("prompt") {
            None => Ok(Prompt::Unspecified),
            Some("none") => Ok(Prompt::None),
            Some("login") => Ok(Prompt::Login),
            Some("select_account") => Ok(Prompt::SelectAccount),
            Some("consent") => Ok(Prompt::Consent),
            Some(_) => Err(Refusal::Redirect(Aadsts::unsupported_prompt())),
        }
    }

    /// Reads the scope and holds a `resource` against it.
    fn scope(&self, text: &str) -> Result<Scope, Refusal> {
        let resource = self.params.find("resource");
        let mode = self.state.settings.resource_mode;
        if resource.is_some() && mode == ResourceMode::Legacy {
            return Err(Refusal::Redirect(Aadsts::resource_unsupported()));
        }
        let scope = Scope::parse(text, self.client, self.directory);
        if let Some(resource) = resource
            && mode == ResourceMode::Enforce
            // A bare unknown scope beside a resource is a mismatch too: it was asked of Graph.
            && !scope.as_ref().is_ok_and(|scope| scope.admits_resource(resource, self.directory))
        {
            return Err(Refusal::Redirect(Aadsts::resource_mismatch()));
        }
        scope.map_err(Refusal::Redirect)
    }

    fn challenge(&self) -> Result<Option<Challenge>, Refusal> {
        let Some(challenge) = self.params.find("code_challenge") else {
            return match self.platform {
                Platform::Spa => Err(Refusal::Redirect(Aadsts::spa_needs_pkce())),
                Platform::Native | Platform::Web => Ok(None),
            };
        };
        // RFC 7636 §4.2: 43 to 128 characters.
        if !(43..=128).contains(&challenge.len()) {
            return Err(Refusal::Redirect(Aadsts::challenge_invalid()));
        }
        match self.params.find("code_challenge_method") {
            None | Some("plain") => Ok(Some(Challenge::Plain(challenge.to_owned()))),
            Some("S256") => Ok(Some(Challenge::S256(challenge.to_owned()))),
            Some(_) => Err(Refusal::Redirect(Aadsts::challenge_invalid())),
        }
    }

    /// Returns who signs in, or the page that asks.
    fn who(
        &self,
        prompt: Prompt,
        hinted: Option<&str>,
    ) -> Result<Result<&'a User, Response<Body>>, Refusal> {
        let chosen = self.params.iter().find(|(name, _)| *name == page::WHO);
        if let Some((_, who)) = chosen {
            if who.is_empty() {
                return Err(Refusal::Redirect(Aadsts::consent_declined()));
            }
            if let Some(user) = self.directory.user(who) {
                return Ok(Ok(user));
            }
        }
        if self.state.settings.auto_approve {
            let hint = hinted.or_else(|| self.params.find("login_hint"));
            let user = match hint {
                Some(hint) => self.directory.user(hint),
                None => self.directory.users.first(),
            };
            if let Some(user) = user {
                return Ok(Ok(user));
            }
        }
        if prompt == Prompt::None {
            return Err(Refusal::Redirect(Aadsts::sign_in_needed()));
        }
        Ok(Err(page::sign_in(
            &self.client.name,
            &self.directory.users,
            self.params,
        )))
    }

    /// Returns the page that asks for consent, if it has to be asked for.
    fn consent(
        &self,
        scope: &Scope,
        user: &User,
        prompt: Prompt,
    ) -> Result<Option<Response<Body>>, Refusal> {
        let missing = scope.not_consented(self.client, &user.oid, self.directory);
        // `prompt=consent` asks again even where an administrator consented for everyone.
        if missing.is_empty() && prompt != Prompt::Consent {
            return Ok(None);
        }
        if prompt == Prompt::None {
            return Err(Refusal::Redirect(Aadsts::consent_needed(
                "interaction_required",
                &self.client.id,
                &self.client.name,
            )));
        }
        if !self.directory.user_consent && !user.admin {
            return Err(Refusal::Page(if self.directory.admin_workflow {
                Aadsts::admin_request_needed()
            } else {
                Aadsts::admin_needed(&self.client.name)
            }));
        }
        let decision = self.params.find(page::CONSENT);
        match decision {
            Some("cancel") => Err(Refusal::Redirect(Aadsts::consent_declined())),
            None if !self.state.settings.auto_approve => {
                let asked: Vec<String> = scope
                    .oidc
                    .iter()
                    .chain(scope.apis.iter().flat_map(|api| &api.names))
                    .cloned()
                    .collect();
                Ok(Some(page::consent(
                    &self.client.name,
                    &user.upn,
                    &asked,
                    self.params,
                )))
            }
            _ => {
                for (resource, name) in missing {
                    self.state.grant(Grant {
                        client: self.client.id.clone(),
                        resource,
                        scopes: vec![name],
                        principal: Some(user.oid.clone()),
                    });
                }
                Ok(None)
            }
        }
    }

    fn issue(&self, scope: &str, user: &User, challenge: Option<Challenge>) -> Response<Body> {
        let code = format!("1.A{}", random::text(600));
        lock(&self.state.codes).insert(
            code.clone(),
            Code {
                client: self.client.id.clone(),
                redirect_uri: self.redirect_uri.to_owned(),
                oid: user.oid.clone(),
                scope: scope.to_owned(),
                nonce: self.params.find("nonce").map(str::to_owned),
                challenge,
                platform: self.platform,
                issued: self.state.clock.now(),
                redeemed: false,
            },
        );
        let session = uuid::Uuid::new_v4().to_string();
        let issuer = self.state.issuer(&self.directory.tenant);
        let mut pairs = vec![("code", code.as_str())];
        pairs.extend(self.params.find("state").map(|value| ("state", value)));
        pairs.push(("session_state", &session));
        if self.state.settings.emit_iss {
            pairs.push(("iss", &issuer));
        }
        redirect::answer(self.redirect_uri, self.mode, &pairs)
    }

    fn refuse(&self, aadsts: Aadsts) -> Response<Body> {
        let told = self.state.tell(aadsts);
        let (description, uri) = (told.description(), told.uri(&self.state.authority));
        let mut pairs = vec![
            ("error", told.aadsts.error),
            ("error_description", description.as_str()),
            ("error_uri", uri.as_str()),
        ];
        pairs.extend(self.params.find("state").map(|value| ("state", value)));
        redirect::answer(self.redirect_uri, self.mode, &pairs)
    }
}
