//! What a `scope` asks for, and whether a `resource` agrees with it.
//!
//! A scope names its API by a prefix: an App ID URI, an application id, or nothing, which is
//! Microsoft Graph. The scopes of OpenID Connect belong to no API.

use super::directory::{App, Directory, GRAPH, OIDC_SCOPES};
use super::error::Aadsts;

/// How a scope named its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `User.Read`.
    Bare,
    /// `<application id>/scope`.
    Guid,
    /// `api://…/scope` or `https://…/scope`.
    Uri,
}

/// The scopes asked of one API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Application id of the API.
    pub(super) resource: String,
    pub(super) form: Form,
    /// Without prefix.
    pub(super) names: Vec<String>,
}

/// A `scope`, understood.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) oidc: Vec<String>,
    /// In order of first mention.
    pub(super) apis: Vec<Asked>,
}

impl Scope {
    /// Reads a `scope` against the directory.
    pub(super) fn parse(text: &str, client: &App, directory: &Directory) -> Result<Self, Aadsts> {
        let mut scope = Self::default();
        for word in text.split_whitespace() {
            if OIDC_SCOPES.contains(&word) {
                if !scope.oidc.iter().any(|known| known == word) {
                    scope.oidc.push(word.to_owned());
                }
                continue;
            }
            let (api, form, name) =
                owner(word, directory).ok_or_else(|| unknown_owner(word, directory))?;
            if name != ".default" && !api.scopes.iter().any(|known| known == name) {
                return Err(Aadsts::unknown_scope(&client.name, name, &api.id));
            }
            scope.ask(&api.id, form, name);
        }
        let has_default = scope
            .apis
            .iter()
            .any(|asked| asked.names.iter().any(|name| name == ".default"));
        if has_default
            && scope
                .apis
                .iter()
                .map(|asked| asked.names.len())
                .sum::<usize>()
                > 1
        {
            return Err(Aadsts::default_with_specific(text));
        }
        Ok(scope)
    }

    fn ask(&mut self, resource: &str, form: Form, name: &str) {
        match self
            .apis
            .iter_mut()
            .find(|asked| asked.resource == resource)
        {
            Some(asked) => {
                if !asked.names.iter().any(|known| known == name) {
                    asked.names.push(name.to_owned());
                }
            }
            None => self.apis.push(Asked {
                resource: resource.to_owned(),
                form,
                names: vec![name.to_owned()],
            }),
        }
    }

    pub(super) fn has_oidc(&self, name: &str) -> bool {
        self.oidc.iter().any(|known| known == name)
    }

    /// Returns the scopes that the client may not have for that person, as `(api, scope)`.
    pub(super) fn not_consented(
        &self,
        client: &App,
        oid: &str,
        directory: &Directory,
    ) -> Vec<(String, String)> {
        let oidc = self.oidc.iter().map(|name| (GRAPH, name));
        let apis = self.apis.iter().flat_map(|asked| {
            asked
                .names
                .iter()
                .filter(|name| *name != ".default")
                .map(|name| (asked.resource.as_str(), name))
        });
        oidc.chain(apis)
            .filter(|(resource, name)| !directory.consented(&client.id, resource, name, oid))
            .map(|(resource, name)| (resource.to_owned(), name.clone()))
            .collect()
    }

    /// Decides about a `resource` as Entra does since early 2026: it must be, character for
    /// character, an App ID URI of the one application whose scopes are asked for by name.
    pub(super) fn admits_resource(&self, resource: &str, directory: &Directory) -> bool {
        let [asked] = self.apis.as_slice() else {
            return false;
        };
        asked.form != Form::Bare
            && directory.app(&asked.resource).is_some_and(|api| {
                api.id == resource || api.identifier_uris.iter().any(|uri| uri == resource)
            })
    }
}

/// Splits a scope into the API that owns it and the name there.
fn owner<'d, 'w>(word: &'w str, directory: &'d Directory) -> Option<(&'d App, Form, &'w str)> {
    let Some((prefix, name)) = word.rsplit_once('/') else {
        return directory.app(GRAPH).map(|graph| (graph, Form::Bare, word));
    };
    directory.apps.iter().find_map(|app| {
        if app.id.eq_ignore_ascii_case(prefix) {
            Some((app, Form::Guid, name))
        } else if app.identifier_uris.iter().any(|uri| uri == prefix) {
            Some((app, Form::Uri, name))
        } else {
            None
        }
    })
}

fn unknown_owner(word: &str, directory: &Directory) -> Aadsts {
    let prefix = word.rsplit_once('/').map_or(word, |(prefix, _)| prefix);
    Aadsts::unknown_resource(prefix, &directory.tenant)
}

#[cfg(test)]
mod tests {
    use super::super::directory::graph;
    use super::*;

    const APP: &str = "22222222-0000-0000-0000-000000000000";

    fn directory() -> Directory {
        Directory {
            tenant: "t".to_owned(),
            domain: "d".to_owned(),
            user_consent: false,
            admin_workflow: true,
            apps: vec![
                graph(),
                App::new(APP, "Gateway")
                    .exposes(format!("api://{APP}"), &["tools"])
                    .exposes("https://gw.example/mcp", &[]),
            ],
            users: Vec::new(),
            grants: Vec::new(),
            elsewhere: Vec::new(),
        }
    }

    fn check(scope: &str, resource: &str, expected: bool) {
        let directory = directory();
        let client = directory.app(APP).unwrap();
        let scope = Scope::parse(scope, client, &directory).unwrap();
        assert_eq!(scope.admits_resource(resource, &directory), expected);
    }

    #[test]
    fn a_resource_must_be_the_app_id_uri_of_the_api_asked_for() {
        check(
            "https://gw.example/mcp/tools",
            "https://gw.example/mcp",
            true,
        );
        check(
            "https://gw.example/mcp/tools",
            "https://gw.example/mcp/",
            false,
        );
        check(&format!("api://{APP}/tools"), &format!("api://{APP}"), true);
        check(&format!("api://{APP}/tools"), "https://other/mcp", false);
        check("User.Read", "https://graph.microsoft.com", false);
        check("openid profile", &format!("api://{APP}"), false);
        check(
            &format!("api://{APP}/tools User.Read"),
            &format!("api://{APP}"),
            false,
        );
    }

    fn refused(scope: &str, code: u32) {
        let directory = directory();
        let client = directory.app(APP).unwrap();
        assert_eq!(
            Scope::parse(scope, client, &directory).unwrap_err().code,
            code
        );
    }

    #[test]
    fn unknown_scopes_and_apis_are_told_apart() {
        refused("mcp.read", 650_053);
        refused(&format!("api://{APP}/nothing"), 650_053);
        refused("https://elsewhere/mcp/tools", 500_011);
        refused(&format!("api://{APP}/.default api://{APP}/tools"), 70_011);
    }
}
