//! A public client with PKCE, pointed at the gateway or straight at Entra.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use mcp_gateway_emulator::entra::CLIENT_ID;
use reqwest::Method;
use serde_json::Value;
use url::Url;

use crate::world::{Answer, World, send};

/// The redirect URI of Claude Code.
pub(crate) const CALLBACK: &str = "http://localhost:3118/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636, appendix B.
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
/// A state with everything that a filter could spoil.
pub(crate) const STATE: &str = "a/b+c=d e~%";

pub(crate) type Pairs<'a> = &'a [(&'a str, &'a str)];

/// A client and the two endpoints it was told.
pub(crate) struct Flow<'a> {
    world: &'a World,
    authorize: String,
    token: String,
    header: Option<(&'a str, &'a str)>,
}

impl<'a> Flow<'a> {
    pub(crate) fn through_gateway(world: &'a World) -> Self {
        Self {
            world,
            authorize: world.url("/oauth2/authorize"),
            token: world.url("/oauth2/token"),
            header: None,
        }
    }

    pub(crate) fn straight(world: &'a World) -> Self {
        Self {
            world,
            authorize: world.entra.authorization_endpoint(),
            token: world.entra.token_endpoint(),
            header: None,
        }
    }

    /// Uses another authorization endpoint of the gateway.
    pub(crate) fn with_authorize_path(mut self, path: &str) -> Self {
        self.authorize = self.world.url(path);
        self
    }

    /// Uses another token endpoint of the gateway.
    pub(crate) fn with_token_path(mut self, path: &str) -> Self {
        self.token = self.world.url(path);
        self
    }

    /// Sends a header along with token requests.
    pub(crate) fn with_header(mut self, header: Option<(&'a str, &'a str)>) -> Self {
        self.header = header;
        self
    }

    /// The URL that the client opens in a browser.
    pub(crate) fn authorization_url(&self, changes: Pairs<'_>) -> String {
        let base = [
            ("client_id", CLIENT_ID),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid profile offline_access"),
            ("state", STATE),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let url = Url::parse_with_params(&self.authorize, merge(&base, changes));
        url.unwrap().into()
    }

    /// Sends the authorization request and returns the first answer.
    pub(crate) async fn authorize(&self, changes: Pairs<'_>) -> Answer {
        let url = self.authorization_url(changes);
        send(self.world.client().elsewhere(Method::GET, &url)).await
    }

    /// Goes where a browser goes, until it is back at the client with a code; returns the last
    /// answer when it does not come back, or not with a code.
    pub(crate) async fn code(&self, changes: Pairs<'_>) -> Result<String, Answer> {
        let mut answer = self.authorize(changes).await;
        for _ in 0..3 {
            let Some(location) = answer.header("location").map(str::to_owned) else {
                return Err(answer);
            };
            if location.starts_with(CALLBACK) {
                let pairs = query(&location);
                assert_eq!(find(&pairs, "state"), Some(STATE), "{location}");
                return find(&pairs, "code").map(str::to_owned).ok_or(answer);
            }
            answer = send(self.world.client().elsewhere(Method::GET, &location)).await;
        }
        panic!("redirected without end: {answer:?}");
    }

    /// Exchanges a code.
    pub(crate) async fn redeem(&self, code: &str, changes: Pairs<'_>) -> Answer {
        let base = [
            ("client_id", CLIENT_ID),
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        self.post(&merge(&base, changes)).await
    }

    /// Exchanges a refresh token.
    pub(crate) async fn refresh(&self, token: &str, changes: Pairs<'_>) -> Answer {
        let base = [
            ("client_id", CLIENT_ID),
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
        ];
        self.post(&merge(&base, changes)).await
    }

    /// Posts a form to the token endpoint.
    pub(crate) async fn post(&self, form: Pairs<'_>) -> Answer {
        let mut request = self.world.client().elsewhere(Method::POST, &self.token);
        if let Some((name, value)) = self.header {
            request = request.header(name, value);
        }
        send(request.form(form)).await
    }

    /// Signs in and returns the whole token answer.
    pub(crate) async fn tokens(&self) -> Value {
        let code = self.code(&[]).await.unwrap();
        let answer = self.redeem(&code, &[]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

/// Replaces or adds parameters; an empty value removes one.
fn merge<'a>(base: Pairs<'a>, changes: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    let named = |name: &str| changes.iter().any(|(changed, _)| *changed == name);
    let kept = base.iter().filter(|(name, _)| !named(name));
    let new = changes.iter().filter(|(_, value)| !value.is_empty());
    kept.chain(new).copied().collect()
}

/// The decoded parameters of a URL.
pub(crate) fn query(url: &str) -> Vec<(String, String)> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().into_owned().collect()
}

/// The first parameter of a name.
pub(crate) fn find<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    let pair = pairs.iter().find(|(found, _)| found == name)?;
    Some(&pair.1)
}

/// The claims of a JWT.
pub(crate) fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}
