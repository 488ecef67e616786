//! The three stations of a relayed sign-in: the question, its answer, and the callback.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request};
use mcp_gateway_filters::{Refusal, Response, pairs, redirect_to};

use super::{
    Client, Seals,
    answer::Answer,
    approvals::{self, Approvals, Consent},
    asked::{Asked, Back},
    challenge,
    client::find,
    consent::Question,
    cookie,
    flight::Flight,
    grant::Held,
    hash, unguessable,
};
use crate::seal::OpenError;

/// How long a person may look at the question, in seconds.
const QUESTION_LIFETIME: u64 = 30 * 60;
/// How long a sign-in at the provider may take, in seconds: second factors and new passwords do.
const SIGN_IN_LIFETIME: u64 = 30 * 60;
/// How long a code is good, in seconds. Some people carry it from one machine to another by hand.
const CODE_LIFETIME: u64 = 5 * 60;
/// The longest `error_description` of a provider that is passed on, in characters.
const MAX_DESCRIPTION: usize = 1000;

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The issuer that clients know: `iss` of every answer (RFC 9207), and the origin of the page.
    pub issuer: String,
    /// The provider's authorization endpoint.
    pub authorize: String,
    /// Where the provider sends browsers back to; registered there.
    pub callback: String,
    /// The path to which the page posts its answer.
    pub consent: String,
}

/// Relays sign-ins.
#[derive(Debug)]
pub struct SignIn {
    seals: Arc<Seals>,
    at: Endpoints,
}

const AGAIN: &str = "Go back to your application and start the sign-in again.";

impl SignIn {
    /// Relays between the endpoints.
    #[must_use]
    pub fn new(seals: Arc<Seals>, at: Endpoints) -> Self {
        Self { seals, at }
    }

    /// Answers an authorization request that the gates have let through: with the question, or with
    /// the way to the provider where this browser's consent is remembered.
    ///
    /// # Errors
    /// When the system fails, or an answer cannot be written.
    pub fn authorize(
        &self,
        client: &Client,
        head: &request::Parts,
        now: u64,
    ) -> Result<Answer, Refusal> {
        let status = after(&head.method);
        let query = head.uri.query().unwrap_or_default();
        let asked = match Asked::read(query, client.hash()) {
            Ok(asked) => asked,
            Err((fault, Some(back))) => {
                let answer = [
                    ("error", "invalid_request"),
                    ("error_description", &fault.to_string()),
                ];
                return self.back("invalid_request", status, &back, &answer);
            }
            Err((fault, None)) => return Err(Refusal::invalid_request(fault.to_string())),
        };
        let browser = match cookie::browser(&head.headers) {
            Some(known) => known.to_owned(),
            None => unguessable().map_err(|_| broken())?,
        };
        let consent = consent_to(&asked);
        let approvals = Approvals::open(
            &self.seals,
            cookie::find(&head.headers, cookie::APPROVALS),
            now,
        );
        if is_https(&asked.back.redirect_uri) && approvals.remember(consent) {
            return self.onward(status, &asked, &browser, now);
        }
        // OpenID Connect Core §3.1.2.6: nobody may be asked anything.
        if asked.value("prompt").as_deref() == Some("none") {
            let answer = [
                ("error", "consent_required"),
                (
                    "error_description",
                    "this server asks before an application gets access",
                ),
            ];
            return self.back("consent_required", status, &asked.back, &answer);
        }
        let sealed = self
            .seals
            .consent
            .until(
                now + QUESTION_LIFETIME,
                &asked.to_bytes(),
                &hash(browser.as_bytes()),
            )
            .map_err(|_| broken())?;
        let question = Question {
            client,
            redirect_uri: &asked.back.redirect_uri,
            scopes: &asked.value("scope").unwrap_or_default(),
            server: &self.at.issuer,
            provider: &self.at.authorize,
            action: &self.at.consent,
            request: &sealed,
            may_remember: is_https(&asked.back.redirect_uri),
        };
        Ok(Answer::good(question.page()).with_cookie(cookie::set_browser(&browser)))
    }

    /// Answers what a person said to the question.
    ///
    /// # Errors
    /// When the system fails, or an answer cannot be written.
    pub fn consent(&self, head: &request::Parts, form: &[u8], now: u64) -> Result<Answer, Refusal> {
        if !self.is_ours(&head.headers) {
            let what = "This answer was sent from another site.";
            return Ok(Answer::page("consent_cross_site", what, AGAIN));
        }
        let Some(browser) = cookie::browser(&head.headers) else {
            let what = "Your browser did not keep the cookie that belongs to this page, or kept it \
                        for too short a time.";
            let remedy = "Allow cookies for this site, then start the sign-in again from your \
                          application.";
            return Ok(Answer::page("consent_other_browser", what, remedy));
        };
        let sealed = find(form, "request").unwrap_or_default();
        let opened = self
            .seals
            .consent
            .at(now, &sealed, &hash(browser.as_bytes()));
        let asked = opened.and_then(|bytes| Asked::of_bytes(&bytes).ok_or(OpenError::Malformed));
        let asked = match asked {
            Ok(asked) => asked,
            Err(OpenError::Expired) => {
                let what = "This page was open for too long.";
                return Ok(Answer::page("consent_expired", what, AGAIN));
            }
            Err(_) => {
                let what = "This answer does not belong to a question that your browser was asked.";
                return Ok(Answer::page("consent_forged", what, AGAIN));
            }
        };
        match find(form, "decision").as_deref() {
            Some("approve") => {}
            Some("deny") => {
                let answer = [
                    ("error", "access_denied"),
                    ("error_description", "the user did not allow it"),
                ];
                return self.back(
                    "consent_denied",
                    StatusCode::SEE_OTHER,
                    &asked.back,
                    &answer,
                );
            }
            _ => {
                let what = "The answer was neither yes nor no.";
                return Ok(Answer::page("consent_malformed", what, AGAIN));
            }
        }
        let answer = self.onward(StatusCode::SEE_OTHER, &asked, browser, now)?;
        if find(form, "remember").is_none() || !is_https(&asked.back.redirect_uri) {
            return Ok(answer);
        }
        let known = cookie::find(&head.headers, cookie::APPROVALS);
        let remembered = Approvals::open(&self.seals, known, now)
            .with(&self.seals, consent_to(&asked), now)
            .and_then(|value| cookie::set(cookie::APPROVALS, &value, approvals::LIFETIME));
        Ok(answer.with_cookie(remembered))
    }

    /// Answers a browser that comes back from the provider. `explain` is asked for what can be added
    /// to the description of a refusal.
    ///
    /// # Errors
    /// When the system fails, or an answer cannot be written.
    pub fn callback(
        &self,
        head: &request::Parts,
        now: u64,
        explain: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Answer, Refusal> {
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let state = heard(query, "state").unwrap_or_default();
        let flight = match Flight::open(&self.seals, &state, now) {
            Ok(flight) => flight,
            Err(OpenError::Expired) => {
                let what = "The sign-in took too long.";
                return Ok(Answer::page("state_expired", what, AGAIN));
            }
            Err(error) => {
                let what = "This is not the end of a sign-in that began here.";
                let reason = match error {
                    OpenError::UnknownKey => "state_unknown_key",
                    _ => "state_forged",
                };
                return Ok(Answer::page(reason, what, AGAIN));
            }
        };
        let here = cookie::browser(&head.headers).map(|browser| hash(browser.as_bytes()));
        if here != Some(flight.browser) {
            let what = "This sign-in began in another browser, or your browser did not keep the \
                        cookie that belongs to it.";
            let remedy = "Go back to your application and start the sign-in again. If you did not \
                          start one, close this page: somebody may be after your sign-in.";
            return Ok(Answer::page("state_other_browser", what, remedy));
        }
        if let Some(error) = heard(query, "error") {
            let told = heard(query, "error_description").unwrap_or_default();
            let told = match explain(&told) {
                Some(hint) => format!("{told} {hint}"),
                None => told,
            };
            return self.refused(&flight.back, &error, &told);
        }
        let Some(code) = heard(query, "code").filter(|code| !code.is_empty()) else {
            let told = "the identity provider gave no code and no reason";
            return self.refused(&flight.back, "server_error", told);
        };
        let held = Held {
            redirect_uri: flight.back.redirect_uri.clone(),
            challenge: flight.back.challenge.clone(),
            code,
            verifier: flight.verifier,
        };
        let code = held
            .seal(&self.seals, &flight.back.client, now + CODE_LIFETIME)
            .map_err(|_| broken())?;
        let query = flight.back.query(&[("code", &code)], &self.at.issuer);
        let response = redirect(StatusCode::FOUND, &flight.back.redirect_uri, &query)?;
        Ok(Answer::good(response))
    }

    /// Passes on that the provider refused.
    fn refused(&self, back: &Back, error: &str, description: &str) -> Result<Answer, Refusal> {
        // RFC 6749 §4.1.2.1: printable ASCII without quotes and backslashes. What speaks of a client
        // speaks of the gateway here: passed on, it would make clients throw their registration away.
        let is_code = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        let error = match error {
            "invalid_client" | "unauthorized_client" => "server_error",
            other if other.len() <= 64 && !other.is_empty() && other.bytes().all(is_code) => other,
            _ => "server_error",
        };
        let description: String = description
            .chars()
            .map(|letter| match u8::try_from(letter) {
                Ok(byte) if is_code(byte) => letter,
                _ => ' ',
            })
            .take(MAX_DESCRIPTION)
            .collect();
        let answer = [
            ("error", error),
            ("error_description", description.as_str()),
        ];
        self.back("authorization_refused", StatusCode::FOUND, back, &answer)
    }

    /// Sends a browser to the provider.
    fn onward(
        &self,
        status: StatusCode,
        asked: &Asked,
        browser: &str,
        now: u64,
    ) -> Result<Answer, Refusal> {
        let verifier = unguessable().map_err(|_| broken())?;
        let proof = challenge(&verifier);
        let flight = Flight {
            back: asked.back.clone(),
            verifier,
            browser: hash(browser.as_bytes()),
        };
        let state = flight
            .seal(&self.seals, now + SIGN_IN_LIFETIME)
            .map_err(|_| broken())?;
        let mut query = asked.onward.clone().into_bytes();
        for (name, value) in [
            ("redirect_uri", self.at.callback.as_str()),
            ("response_mode", "query"),
            ("state", &state),
            ("code_challenge", &proof),
            ("code_challenge_method", "S256"),
        ] {
            pairs::append(&mut query, pairs::encode(name, value).as_bytes());
        }
        let query = String::from_utf8(query).map_err(|_| broken())?;
        let response = redirect(status, &self.at.authorize, &query)?;
        Ok(Answer::good(response).with_cookie(cookie::set_browser(browser)))
    }

    /// Sends a browser back to the client with an error.
    fn back(
        &self,
        reason: &'static str,
        status: StatusCode,
        back: &Back,
        answer: &[(&str, &str)],
    ) -> Result<Answer, Refusal> {
        let query = back.query(answer, &self.at.issuer);
        let response = redirect(status, &back.redirect_uri, &query)?;
        Ok(Answer::refused(reason, response))
    }

    /// Says whether a form was sent from a page of ours, as far as the browser tells.
    fn is_ours(&self, headers: &HeaderMap) -> bool {
        let origin = headers.get(header::ORIGIN);
        let site = headers.get("sec-fetch-site");
        origin.is_none_or(|origin| origin == self.at.issuer.as_str())
            && site.is_none_or(|site| site == "same-origin")
    }
}

/// Returns a parameter of a provider's answer, when it stands there once. Not read strictly: Entra
/// writes line breaks into its descriptions.
fn heard(query: &[u8], name: &str) -> Option<String> {
    let mut found = pairs::pairs(query).filter(|pair| pair.is_named(name));
    let value = found.next()?.decoded();
    let value = String::from_utf8_lossy(&value).into_owned();
    found.next().is_none().then_some(value)
}

fn consent_to(asked: &Asked) -> Consent {
    let scopes = asked.value("scope").unwrap_or_default();
    Consent::to(&asked.back.client, &asked.back.redirect_uri, &scopes)
}

fn is_https(uri: &str) -> bool {
    uri.starts_with("https://")
}

/// The status of a redirect that nobody answers with the form once more (RFC 9110 §15.4.4).
fn after(method: &Method) -> StatusCode {
    if *method == Method::POST {
        StatusCode::SEE_OTHER
    } else {
        StatusCode::FOUND
    }
}

/// A redirect whose address no next site learns.
fn redirect(status: StatusCode, url: &str, query: &str) -> Result<Response, Refusal> {
    let mut response = redirect_to(status, url, query)?;
    response.headers_mut().insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

fn broken() -> Refusal {
    Refusal::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "server_error",
        "the gateway cannot carry this sign-in",
    )
}

#[cfg(test)]
mod tests;
