//! The app registration, as far as Entra tells it to a stranger: redirect URIs, platform, scopes.
//!
//! Nobody signs in. The authorize endpoint is asked with `prompt=none`, and the token endpoint with a
//! code that never was; what Entra objects to first says what it thinks of the registration.

use bytes::Bytes;
use http::{Response, header};
use mcp_gateway_filters::{Preset, RedirectUris};
use url::{Url, form_urlencoded};

use super::{ask::Ask, entra::unreachable, finding::Finding};
use crate::oauth::{Endpoints, Entra, Setting, aadsts};

const REDIRECTS: &str = "redirect URIs";
const CLIENT: &str = "client";
const SCOPES: &str = "scopes";
const RESOURCE: &str = "resource";

/// Where clients on a desktop listen, each with a path of its own; Entra ignores the port.
const LOOPBACK: [(&str, &str); 4] = [
    ("http://localhost:3118/callback", "Claude Code, Cursor"),
    ("http://127.0.0.1:19876/mcp/oauth/callback", "OpenCode"),
    ("http://127.0.0.1:33418/", "VS Code"),
    (
        "http://localhost:3334/oauth/callback",
        "mcp-remote, MCP Inspector, Gemini CLI",
    ),
];

/// A challenge whose verifier nobody knows (RFC 7636 §4.2).
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// Who is asked about what.
pub(super) struct Registration<'a> {
    pub(super) ask: &'a Ask,
    pub(super) entra: &'a Entra,
    pub(super) endpoints: &'a Endpoints,
    /// The URL of an MCP route, which clients send as `resource`.
    pub(super) resource: Option<String>,
}

/// A redirect URI that clients may come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    uri: String,
    clients: &'static str,
    from: From,
}

/// Why the gateway allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// `loopback`.
    Loopback,
    /// A preset that nobody named: all are allowed then.
    Default,
    /// A preset that was named, or `allow`.
    Configured,
}

impl Registration<'_> {
    /// Asks everything, each thing as far as the one before lets it.
    pub(super) async fn look(&self) -> Vec<Finding> {
        let scope = self.entra.scopes.join(" ");
        let mut asked = vec![];
        for candidate in candidates(self.entra.redirect_uris.as_ref()) {
            match self.authorize(&candidate.uri, &scope, None).await {
                Ok(code) => {
                    if let Some(finding) = whole(code) {
                        return vec![finding];
                    }
                    asked.push((candidate, code));
                }
                Err(why) => return vec![unreachable(REDIRECTS, &self.endpoints.authorize, &why)],
            }
        }
        let mut found = judge_redirects(&asked);
        let good = asked.iter().find(|(_, code)| !is_unregistered(*code));
        let Some((Candidate { uri, .. }, code)) = good else {
            for check in [CLIENT, SCOPES, RESOURCE] {
                found.push(Finding::skipped(
                    check,
                    "no redirect URI is registered to ask with",
                ));
            }
            return found;
        };
        found.push(self.client(uri).await);
        found.push(judge_scopes(&scope, *code));
        found.extend(self.resource(uri, &scope).await);
        found
    }

    /// Begins a sign-in that shows no page; returns what Entra objects to.
    async fn authorize(
        &self,
        redirect_uri: &str,
        scope: &str,
        resource: Option<&str>,
    ) -> Result<Option<u32>, String> {
        let mut url = Url::parse(&self.endpoints.authorize).map_err(|error| error.to_string())?;
        url.query_pairs_mut()
            .append_pair("client_id", self.entra.client_id.as_str())
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", scope)
            .append_pair("state", "doctor")
            .append_pair("prompt", "none")
            .append_pair("code_challenge", CHALLENGE)
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(resource.map(|resource| ("resource", resource)));
        self.ask
            .get(url.as_str())
            .await
            .map(|answer| objection(&answer))
    }

    /// Redeems a code that never was.
    async fn client(&self, redirect_uri: &str) -> Finding {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", self.entra.client_id.as_str())
            .append_pair("grant_type", "authorization_code")
            .append_pair("code", "doctor")
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", CHALLENGE)
            .finish();
        let kind = "application/x-www-form-urlencoded";
        match self.ask.post(&self.endpoints.token, kind, form).await {
            Ok(answer) => judge_client(aadsts::in_body(answer.body())),
            Err(why) => unreachable(CLIENT, &self.endpoints.token, &why),
        }
    }

    async fn resource(&self, redirect_uri: &str, scope: &str) -> Option<Finding> {
        let resource = self.resource.as_deref()?;
        let dropped = self.entra.strip.iter().any(|param| param == "resource");
        Some(
            match self.authorize(redirect_uri, scope, Some(resource)).await {
                Ok(code) => judge_resource(resource, code, dropped),
                Err(why) => unreachable(RESOURCE, &self.endpoints.authorize, &why),
            },
        )
    }
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

const fn is_unregistered(code: Option<u32>) -> bool {
    matches!(code, Some(50_011 | 900_971 | 90_102))
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

/// Lists what clients may come back to; loopback by one address for each kind of client.
fn candidates(setting: Option<&Setting>) -> Vec<Candidate> {
    // A setting that cannot be read was refused with the configuration.
    let read = setting
        .and_then(|setting| serde_json::to_value(setting).ok())
        .and_then(|value| serde_json::from_value::<RedirectUris>(value).ok());
    let RedirectUris {
        presets,
        allow,
        loopback,
    } = read.unwrap_or_default();
    let named = matches!(setting, Some(Setting::Map(entries)) if entries.iter().any(|(key, _)| key == "presets"));
    let mut found = vec![];
    if loopback {
        found.extend(LOOPBACK.map(|(uri, clients)| Candidate {
            uri: uri.to_owned(),
            clients,
            from: From::Loopback,
        }));
    }
    for preset in presets {
        found.extend(preset.uris().iter().map(|uri| Candidate {
            uri: (*uri).to_owned(),
            clients: match preset {
                Preset::ClaudeAi => "claude.ai, Claude Desktop",
                Preset::Vscode => "VS Code",
                Preset::Cursor => "Cursor",
            },
            from: if named {
                From::Configured
            } else {
                From::Default
            },
        }));
    }
    found.extend(allow.into_iter().map(|uri| Candidate {
        uri,
        clients: "listed in `redirect_uris.allow`",
        from: From::Configured,
    }));
    found
}

fn judge_redirects(asked: &[(Candidate, Option<u32>)]) -> Vec<Finding> {
    let registered = |from: Option<From>| {
        let of = |(one, _): &&(Candidate, _)| from.is_none_or(|from| one.from == from);
        let good = |(_, code): &&(_, Option<u32>)| !is_unregistered(*code);
        asked.iter().filter(of).filter(good).count()
    };
    let (good, all) = (registered(None), asked.len());
    let mut found = vec![];
    if good > 0 {
        let what = format!("{good} of {all} that the gateway allows are registered");
        found.push(Finding::ok(REDIRECTS, what));
    }
    for (Candidate { uri, clients, from }, code) in asked {
        let Some(code) = code.filter(|code| is_unregistered(Some(*code))) else {
            continue;
        };
        let what = format!("`{uri}` ({clients}) is not registered (AADSTS{code})");
        let register =
            "add it under Authentication as `Mobile and desktop applications`, not as `Web`";
        // An address that the gateway allows by itself may be one that nobody here needs.
        let optional = match from {
            From::Loopback => registered(Some(From::Loopback)) > 0,
            From::Default => good > 0,
            From::Configured => false,
        };
        found.push(if optional {
            Finding::note(REDIRECTS, what).fix(format!("{register}, if that client is used"))
        } else {
            let or = match from {
                From::Configured => ", or take it out of `redirect_uris`",
                From::Loopback | From::Default => "",
            };
            Finding::wrong(REDIRECTS, what, format!("{register}{or}"))
        });
    }
    found
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

fn judge_resource(resource: &str, code: Option<u32>, dropped: bool) -> Finding {
    let Some(code) = code.filter(|code| matches!(code, 901_002 | 9_010_010)) else {
        let what = format!("Entra takes `resource={resource}`, which clients send");
        return Finding::ok(RESOURCE, what);
    };
    if dropped {
        let what =
            format!("Entra refuses `resource={resource}` (AADSTS{code}), and the gateway drops it");
        return Finding::ok(RESOURCE, what);
    }
    Finding::wrong(
        RESOURCE,
        format!(
            "Entra refuses `resource={resource}` (AADSTS{code}), which clients send, and the gateway lets it pass"
        ),
        "put `resource` into `strip`, or expose the URL as Application ID URI and ask for scopes of it",
    )
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

    fn verdicts(setting: Option<&str>, bad: &[&str]) -> Vec<(Verdict, String)> {
        let setting: Option<Setting> = setting.map(|text| serde_yaml::from_str(text).unwrap());
        let asked: Vec<_> = candidates(setting.as_ref())
            .into_iter()
            .map(|one| {
                let code = bad
                    .iter()
                    .any(|bad| one.uri.contains(bad))
                    .then_some(50_011);
                (one, code)
            })
            .collect();
        let short = |what: &str| what.split(' ').next().unwrap().trim_matches('`').to_owned();
        judge_redirects(&asked)
            .into_iter()
            .filter(|one| one.verdict != Verdict::Ok)
            .map(|one| (one.verdict, short(&one.what)))
            .collect()
    }

    #[test]
    fn an_address_that_somebody_asked_for_must_be_registered() {
        let claude = "https://claude.ai/api/mcp/auth_callback".to_owned();
        assert_eq!(
            verdicts(None, &["claude.ai"]),
            [(Verdict::Note, claude.clone())]
        );
        assert_eq!(
            verdicts(Some("{presets: [claude_ai]}"), &["claude.ai"]),
            [(Verdict::Wrong, claude)]
        );
        let allowed = "{allow: ['https://a.test/cb'], presets: [], loopback: false}";
        let wrong = [(Verdict::Wrong, "https://a.test/cb".to_owned())];
        assert_eq!(verdicts(Some(allowed), &["a.test"]), wrong);
    }

    #[test]
    fn one_loopback_address_is_enough_and_none_is_not() {
        let opencode = "http://127.0.0.1:19876/mcp/oauth/callback".to_owned();
        assert_eq!(verdicts(None, &["19876"]), [(Verdict::Note, opencode)]);
        let none = verdicts(None, &["localhost", "127.0.0.1"]);
        assert_eq!(none.len(), 4);
        assert!(none.iter().all(|(verdict, _)| *verdict == Verdict::Wrong));
        let nothing = verdicts(None, &[":"]);
        assert_eq!(nothing.len(), 10);
        assert!(
            nothing
                .iter()
                .all(|(verdict, _)| *verdict == Verdict::Wrong)
        );
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
