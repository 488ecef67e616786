//! The app registration, as far as Entra tells it to a stranger: redirect URIs, platform, scopes.
//!
//! Nobody signs in. The authorize endpoint is asked with `prompt=none`, and the token endpoint with a
//! code that never was; what Entra objects to first says what it thinks of the registration.

mod credentials;
mod redirects;

use bytes::Bytes;
use http::{Response, header};
use url::{Url, form_urlencoded};

use super::{
    ask::Ask,
    finding::Finding,
    published::unreachable,
    wire::{self, Pairs},
};
use crate::{
    config::Gateway,
    oauth::{ClientCredentials, Endpoints, Entra, aadsts},
};

use redirects::{Candidate, From, candidates, is_unregistered, judge_redirects};

const REDIRECTS: &str = "redirect URIs";
const CLIENT: &str = "client";
const CREDENTIALS: &str = "credentials";
const SCOPES: &str = "scopes";
const PROMPT: &str = "prompt";
const RESOURCE: &str = "resource";

/// A challenge whose verifier nobody knows (RFC 7636 §4.2).
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Who is asked about what.
pub(super) struct Registration<'a> {
    pub(super) ask: &'a Ask,
    pub(super) gateway: &'a Gateway,
    /// In seconds since the Unix epoch.
    pub(super) now: i64,
    pub(super) entra: &'a Entra,
    pub(super) endpoints: &'a Endpoints,
    /// The URL of an MCP route, which clients send as `resource`.
    pub(super) resource: Option<String>,
    /// The gateway's own redirect URI, where sign-ins are relayed.
    pub(super) callback: Option<String>,
    /// The gateway's own.
    pub(super) credentials: Option<&'a ClientCredentials>,
}

impl Registration<'_> {
    /// Asks everything, each thing as far as the one before lets it.
    pub(super) async fn look(&self) -> Vec<Finding> {
        let mut asked = vec![];
        for candidate in self.candidates() {
            let wire = match self.wire(&candidate.uri) {
                Ok(wire) => wire,
                Err(why) => {
                    let what = format!("the gateway itself turns a sign-in away: {why}");
                    let fix = "`mcp-gateway explain GET /oauth2/authorize` shows the steps";
                    return vec![Finding::wrong(REDIRECTS, what, fix)];
                }
            };
            match self.authorize(&candidate.uri, &wire, None).await {
                Ok(code) => {
                    if let Some(finding) = whole(code) {
                        return vec![finding];
                    }
                    asked.push((candidate, code, wire));
                }
                Err(why) => return vec![unreachable(REDIRECTS, &self.endpoints.authorize, &why)],
            }
        }
        let codes: Vec<_> = asked
            .iter()
            .map(|(one, code, _)| (one.clone(), *code))
            .collect();
        let mut found = judge_redirects(&codes);
        let good = asked.iter().find(|(_, code, _)| !is_unregistered(*code));
        let Some((Candidate { uri, .. }, code, wire)) = good else {
            for check in [CLIENT, SCOPES, PROMPT, RESOURCE] {
                let why = "no redirect URI is registered to ask with";
                found.push(Finding::skipped(check, why));
            }
            return found;
        };
        // A relayed sign-in is redeemed with the credentials, any other without.
        if self.callback.is_none() || self.credentials.is_none() {
            found.push(self.client(uri).await);
        }
        found.extend(self.credentials(uri).await);
        found.push(judge_scopes(
            value(wire, "scope").unwrap_or_default(),
            *code,
        ));
        found.push(judge_prompt(value(wire, "prompt")));
        found.extend(self.resource(uri, wire).await);
        found
    }

    /// Returns what the gateway asks of Entra when a client with that redirect URI signs in.
    fn wire(&self, redirect_uri: &str) -> Result<Pairs, String> {
        let identity = self.gateway.identity.as_ref();
        let mut scopes = identity.map_or(vec![], |identity| identity.scopes.clone());
        scopes.push("offline_access".to_owned());
        let scope = scopes.join(" ");
        // The gateway's own callback is none that a client may bring along.
        let theirs = candidates(self.entra.redirect_uris.as_ref());
        let redirect_uri = match (&self.callback, theirs.first()) {
            (Some(_), Some(first)) => &first.uri,
            _ => redirect_uri,
        };
        let asked = [
            ("client_id", self.entra.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", redirect_uri),
            ("scope", &scope),
            ("state", "doctor"),
            // As SDKs do when `offline_access` is among the scopes.
            ("prompt", "consent"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let resource = self.resource.as_deref().map(|one| ("resource", one));
        let asked: Vec<_> = asked.into_iter().chain(resource).collect();
        wire::authorization(self.gateway, &asked, self.now)
    }

    /// Lists what Entra has to send browsers back to.
    fn candidates(&self) -> Vec<Candidate> {
        match &self.callback {
            Some(callback) => vec![Candidate {
                uri: callback.clone(),
                clients: "the gateway's own callback",
                from: From::Relay {
                    confidential: self.entra.credentials.is_some(),
                },
            }],
            None => candidates(self.entra.redirect_uris.as_ref()),
        }
    }

    /// Begins a sign-in that shows no page; returns what Entra objects to.
    async fn authorize(
        &self,
        redirect_uri: &str,
        wire: &Pairs,
        resource: Option<&str>,
    ) -> Result<Option<u32>, String> {
        const OWN: [&str; 3] = ["redirect_uri", "prompt", "resource"];
        let mut url = Url::parse(&self.endpoints.authorize).map_err(|error| error.to_string())?;
        url.query_pairs_mut()
            .extend_pairs(wire.iter().filter(|(name, _)| !OWN.contains(&&**name)))
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("prompt", "none")
            .extend_pairs(resource.map(|resource| ("resource", resource)));
        self.ask
            .get(url.as_str())
            .await
            .map(|answer| objection(&answer))
    }

    /// Redeems a code that never was.
    async fn client(&self, redirect_uri: &str) -> Finding {
        let form = self.made_up_code(redirect_uri);
        let kind = "application/x-www-form-urlencoded";
        match self.ask.post(&self.endpoints.token, kind, form).await {
            Ok(answer) => judge_client(aadsts::in_body(answer.body())),
            Err(why) => unreachable(CLIENT, &self.endpoints.token, &why),
        }
    }

    fn made_up_code(&self, redirect_uri: &str) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", self.entra.client_id.as_str())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", "doctor")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", CHALLENGE)
            .finish()
    }

    async fn resource(&self, redirect_uri: &str, wire: &Pairs) -> Option<Finding> {
        let sent = self.resource.as_deref()?;
        let passed = value(wire, "resource");
        let asked = passed.unwrap_or(sent);
        Some(
            match self.authorize(redirect_uri, wire, Some(asked)).await {
                Ok(code) => judge_resource(asked, code, passed.is_none()),
                Err(why) => unreachable(RESOURCE, &self.endpoints.authorize, &why),
            },
        )
    }
}

fn value<'w>(wire: &'w Pairs, name: &str) -> Option<&'w str> {
    let (_, value) = wire.iter().find(|(found, _)| found == name)?;
    Some(value)
}

/// Finds what Entra objects to: in a redirect, in a page, in JSON.
fn objection(answer: &Response<Bytes>) -> Option<u32> {
    let Some(location) = answer.headers().get(header::LOCATION) else {
        return aadsts::in_body(answer.body());
    };
    let location = Url::parse(location.to_str().ok()?).ok()?;
    let mut pairs = location.query_pairs();
    let (_, description) = pairs.find(|(name, _)| name == "error_description")?;
    aadsts::in_text(&description)
}

/// What makes every further question pointless: no such application, no such tenant.
fn whole(code: Option<u32>) -> Option<Finding> {
    let code = code.filter(|code| matches!(code, 700_016 | 90_002))?;
    Some(refused(CLIENT, code))
}

/// Names an error with what is known about it.
fn refused(check: &'static str, code: u32) -> Finding {
    match aadsts::find(code) {
        Some(hint) => Finding::wrong(check, format!("{} (AADSTS{code})", hint.means), hint.remedy),
        None => Finding::note(
            check,
            format!(
                "Entra answers AADSTS{code}: https://login.microsoftonline.com/error?code={code}"
            ),
        ),
    }
}

fn judge_client(code: Option<u32>) -> Finding {
    match code {
        // The code that never was, in the ways in which Entra says it.
        Some(9_002_313 | 70_000 | 70_008 | 54_005 | 700_005) => Finding::ok(
            CLIENT,
            "Entra finds fault with the made-up code only, and asks for no secret",
        ),
        Some(code) => refused(CLIENT, code),
        None => Finding::note(CLIENT, "Entra's token endpoint does not say what it thinks"),
    }
}

fn judge_scopes(scope: &str, code: Option<u32>) -> Finding {
    let hint = code
        .and_then(aadsts::find)
        .filter(|hint| hint.who.must_act());
    match hint {
        Some(hint) => refused(SCOPES, hint.code),
        None => Finding::ok(
            SCOPES,
            format!("Entra begins a sign-in for `{scope}`; consent shows only with a person"),
        ),
    }
}

fn judge_prompt(passed: Option<&str>) -> Finding {
    match passed {
        Some(prompt) if prompt.split(' ').any(|one| one == "consent") => Finding::wrong(
            PROMPT,
            "`prompt=consent`, which clients send, reaches Entra: people are sent to an administrator although consent was granted (AADSTS90094)",
            "put `prompt` into `strip`, or leave `consent` out of `prompt.keep`",
        ),
        _ => Finding::ok(
            PROMPT,
            "`prompt=consent`, which clients send, does not reach Entra",
        ),
    }
}

fn judge_resource(resource: &str, code: Option<u32>, dropped: bool) -> Finding {
    let code = code.filter(|code| matches!(code, 901_002 | 9_010_010));
    match (code, dropped) {
        (None, false) => Finding::ok(RESOURCE, format!("Entra takes `resource={resource}`")),
        (None, true) => {
            let what = format!("Entra takes `resource={resource}`, and the gateway drops it");
            Finding::ok(RESOURCE, what)
        }
        (Some(code), true) => {
            let what = format!(
                "Entra refuses `resource={resource}` (AADSTS{code}), and the gateway drops it"
            );
            Finding::ok(RESOURCE, what)
        }
        (Some(code), false) => Finding::wrong(
            RESOURCE,
            format!("`resource={resource}` reaches Entra, which refuses it (AADSTS{code})"),
            "put `resource` into `strip`; or, for `bearer: native`, expose it as Application ID URI and ask for scopes of it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};

    fn answered(location: Option<&str>, body: &'static str) -> Option<u32> {
        let mut answer = Response::new(Bytes::from(body));
        if let Some(location) = location {
            let value = location.parse().unwrap();
            answer.headers_mut().insert(header::LOCATION, value);
        }
        objection(&answer)
    }

    #[test]
    fn objections_come_in_redirects_and_pages() {
        let redirect = "http://localhost/cb?error=invalid_target&error_description=AADSTS9010010%3a+The&state=x";
        assert_eq!(answered(Some(redirect), ""), Some(9_010_010));
        let custom = "cursor://x/y?error=login_required&error_description=AADSTS50058%3A%20x";
        assert_eq!(answered(Some(custom), ""), Some(50_058));
        assert_eq!(
            answered(Some("http://localhost/cb?code=x"), "AADSTS50011"),
            None
        );
        assert_eq!(answered(None, "<p>AADSTS50011: The"), Some(50_011));
        assert_eq!(answered(None, "<p>sign in"), None);
    }

    #[test]
    fn the_first_objection_tells_the_platform() {
        assert_eq!(judge_client(Some(9_002_313)).verdict, Verdict::Ok);
        assert!(
            judge_client(Some(7_000_218))
                .what
                .contains("registered as `Web`")
        );
        assert!(judge_client(Some(9_002_327)).what.contains("single-page"));
        assert_eq!(judge_client(Some(424_242)).verdict, Verdict::Note);
        assert_eq!(judge_client(None).verdict, Verdict::Note);
        assert!(whole(Some(700_016)).unwrap().is_wrong());
        assert!(whole(Some(50_011)).is_none());
    }

    #[test]
    fn scopes_and_resource_are_judged_by_what_is_done_about_them() {
        assert_eq!(judge_scopes("openid", Some(50_058)).verdict, Verdict::Ok);
        assert!(judge_scopes("x", Some(650_053)).is_wrong());
        assert!(judge_scopes("x", Some(65_001)).is_wrong());
        assert_eq!(judge_resource("r", None, false).verdict, Verdict::Ok);
        assert_eq!(
            judge_resource("r", Some(901_002), true).verdict,
            Verdict::Ok
        );
        assert!(judge_resource("r", Some(9_010_010), false).is_wrong());
    }
}
