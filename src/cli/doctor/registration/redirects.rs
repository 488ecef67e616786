//! Which redirect URIs clients come back to, and which of them have to be registered.

use mcp_gateway_filters::{Preset, RedirectUris};

use super::REDIRECTS;
use crate::{cli::doctor::finding::Finding, oauth::Setting};

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

/// A redirect URI that clients may come back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) uri: String,
    pub(super) clients: &'static str,
    pub(super) from: From,
}

/// Why the gateway allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// `loopback`.
    Loopback,
    /// A preset that nobody named: all are allowed then.
    Default,
    /// A preset that was named, or `allow`.
    Configured,
    /// `authorize: relay`, with credentials or without.
    Relay {
        /// Whether the gateway proves who it is, which asks for another platform.
        confidential: bool,
    },
}

impl From {
    /// How an address is registered.
    const fn register(self) -> &'static str {
        match self {
            Self::Relay { confidential: true } => {
                "add it under Authentication as `Web`, since the gateway has `credentials`"
            }
            _ => "add it under Authentication as `Mobile and desktop applications`, not as `Web`",
        }
    }
}

/// Lists what clients may come back to; loopback by one address for each kind of client.
pub(super) fn candidates(setting: Option<&Setting>) -> Vec<Candidate> {
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

pub(super) fn judge_redirects(asked: &[(Candidate, Option<u32>)]) -> Vec<Finding> {
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
        let register = from.register();
        // An address that the gateway allows by itself may be one that nobody here needs.
        let optional = match from {
            From::Loopback => registered(Some(From::Loopback)) > 0,
            From::Default => good > 0,
            From::Configured | From::Relay { .. } => false,
        };
        found.push(if optional {
            Finding::note(REDIRECTS, what).fix(format!("{register}, if that client is used"))
        } else {
            let or = match from {
                From::Configured => ", or take it out of `redirect_uris`",
                From::Loopback | From::Default | From::Relay { .. } => "",
            };
            Finding::wrong(REDIRECTS, what, format!("{register}{or}"))
        });
    }
    found
}

pub(super) const fn is_unregistered(code: Option<u32>) -> bool {
    matches!(code, Some(50_011 | 900_971 | 90_102))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Verdict;

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
}
