//! A client, and the person with a browser who signs it in; nothing is followed unasked.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::world::{Answer, Gateway, send};

/// RFC 7636, appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// A state with everything that a relay could spoil.
pub(crate) const STATE: &str = "a/b+c=d e~%";

pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// An application that was registered.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) redirect_uri: String,
}

impl App {
    /// Registers, as a client that listens on this address.
    pub(crate) async fn registered(gateway: &Gateway, redirect_uri: &str) -> Self {
        let body = json!({ "client_name": "Test Client", "redirect_uris": [redirect_uri] });
        let answer = gateway.post_json("/register", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        Self {
            id: answer.json()["client_id"].as_str().unwrap().to_owned(),
            redirect_uri: redirect_uri.to_owned(),
        }
    }

    /// The address that the application opens in a browser, below the gateway's own.
    pub(crate) fn target(&self, changes: Pairs<'_>) -> String {
        let base = [
            ("client_id", self.id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", &self.redirect_uri),
            ("scope", "openid profile offline_access"),
            ("state", STATE),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let merged = merge(&base, changes);
        let url = Url::parse_with_params("http://x/oauth2/authorize", merged).unwrap();
        format!("{}?{}", url.path(), url.query().unwrap())
    }

    /// Exchanges a code.
    pub(crate) async fn redeem(&self, gateway: &Gateway, code: &str, changes: Pairs<'_>) -> Answer {
        let base = [
            ("client_id", self.id.as_str()),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        gateway
            .post_form("/oauth2/token", &merge(&base, changes))
            .await
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, gateway: &Gateway, token: &str) -> Answer {
        let form = [
            ("client_id", self.id.as_str()),
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
        ];
        gateway.post_form("/oauth2/token", &form).await
    }
}

/// A browser: what it keeps, and what it was answered.
#[derive(Default)]
pub(crate) struct Person {
    cookies: Vec<(String, String)>,
}

impl Person {
    /// Opens a page of a gateway.
    pub(crate) async fn open(&mut self, gateway: &Gateway, target: &str) -> Answer {
        let request = gateway.client().request(Method::GET, target);
        let answer = send(request.header("cookie", self.line())).await;
        self.keep(&answer);
        answer
    }

    /// Answers the question of a page, at any replica.
    pub(crate) async fn decide(
        &mut self,
        gateway: &Gateway,
        page: &Answer,
        decision: &str,
        more: Pairs<'_>,
    ) -> Answer {
        let hidden = hidden(page);
        let mut form = vec![("request", hidden.as_str()), ("decision", decision)];
        form.extend(more);
        let request = gateway
            .client()
            .request(Method::POST, "/oauth2/consent")
            .header("origin", gateway.public_url())
            .header("sec-fetch-site", "same-origin")
            .header("cookie", self.line())
            .form(&form);
        let answer = send(request).await;
        self.keep(&answer);
        answer
    }

    /// Goes from the gateway's redirect through the provider; returns the path and query of the
    /// callback, or the answer that led nowhere.
    pub(crate) async fn at_provider(
        &mut self,
        gateway: &Gateway,
        redirect: &Answer,
    ) -> Result<String, Answer> {
        let location = redirect.header("location").unwrap().to_owned();
        assert!(!location.starts_with(gateway.public_url()), "{location}");
        let answer = send(gateway.client().elsewhere(Method::GET, &location)).await;
        let callback = format!("{}/oauth2/callback", gateway.public_url());
        match answer.header("location") {
            Some(back) if back.starts_with(&callback) => {
                Ok(back[gateway.public_url().len()..].to_owned())
            }
            _ => Err(answer),
        }
    }

    /// Does all of it: looks at the page, approves, signs in, comes back. Returns the last redirect.
    pub(crate) async fn sign_in(
        &mut self,
        gateway: &Gateway,
        app: &App,
        changes: Pairs<'_>,
    ) -> Answer {
        let page = self.open(gateway, &app.target(changes)).await;
        assert_eq!(page.status, 200, "{page:?}");
        let onward = self.decide(gateway, &page, "approve", &[]).await;
        assert_eq!(onward.status, 303, "{onward:?}");
        let callback = self.at_provider(gateway, &onward).await.unwrap();
        self.open(gateway, &callback).await
    }

    /// The same, and redeems the code.
    pub(crate) async fn tokens(&mut self, gateway: &Gateway, app: &App) -> Value {
        let back = self.sign_in(gateway, app, &[]).await;
        let answer = app.redeem(gateway, &code(&back, app), &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn line(&self) -> String {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: &Answer) {
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            for rule in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
                assert!(cookie.contains(rule), "{cookie}");
            }
            assert!(
                cookie.starts_with("__Host-") && !cookie.contains("Domain"),
                "{cookie}"
            );
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value));
        }
    }
}

/// What the form of a page posts along.
pub(crate) fn hidden(page: &Answer) -> String {
    let (_, rest) = page.body.split_once("name=\"request\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

/// A parameter of the address that an answer leads to.
#[track_caller]
pub(crate) fn told(answer: &Answer, name: &str) -> Option<String> {
    let location = answer
        .header("location")
        .unwrap_or_else(|| panic!("{answer:?}"));
    let url = Url::parse(location).unwrap();
    let mut values = url.query_pairs().filter(|(found, _)| found == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    assert!(
        values.next().is_none(),
        "`{name}` stands there twice: {location}"
    );
    value
}

/// The code of a redirect that is right in everything else.
#[track_caller]
pub(crate) fn code(back: &Answer, app: &App) -> String {
    let location = back
        .header("location")
        .unwrap_or_else(|| panic!("{back:?}"));
    assert!(location.starts_with(&app.redirect_uri), "{location}");
    assert_eq!(told(back, "state").as_deref(), Some(STATE));
    told(back, "code").unwrap_or_else(|| panic!("{location}"))
}

/// Replaces or adds parameters; an empty value removes one.
fn merge<'a>(base: Pairs<'a>, changes: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let named = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = base.iter().filter(|(name, _)| !named(name));
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(new).copied().collect()
}
