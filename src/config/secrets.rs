//! Secrets and credentials: read where their sources say, and shown in no message.

use std::{cell::RefCell, fs};

use super::{Environment, reader::Reader, sections};
use crate::{
    oauth::{ClientCredentials, CredentialSource},
    secret::{Secret, SecretSource},
};

/// Where secrets are read, and which credentials were.
pub(super) struct Secrets<'a> {
    env: Environment<'a>,
    /// With the path of the setting, for what only the clock can tell.
    loaded: RefCell<Vec<(String, ClientCredentials)>>,
}

impl<'a> Secrets<'a> {
    pub(super) fn new(env: Environment<'a>) -> Self {
        Self {
            env,
            loaded: RefCell::default(),
        }
    }

    /// Returns every credential that was read, with the path of its setting.
    pub(super) fn into_credentials(self) -> Vec<(String, ClientCredentials)> {
        self.loaded.into_inner()
    }

    /// Reads a secret; what it holds appears in no message.
    pub(super) fn read(
        &self,
        reader: &mut Reader<'_>,
        at: &str,
        source: &SecretSource,
    ) -> Option<Secret<String>> {
        match source {
            SecretSource::Env(name) => {
                let value = (self.env)(name).filter(|value| !value.is_empty());
                if value.is_none() {
                    let what = format!("variable `{name}` is not set");
                    let help = "set it in the environment of the gateway";
                    reader.problem_help(&format!("{at}.env"), what, help);
                }
                value.map(Secret::new)
            }
            SecretSource::File(file) => {
                let at = format!("{at}.file");
                if !sections::check_file(reader, &at, file) {
                    return None;
                }
                match fs::read_to_string(file) {
                    Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
                    Err(why) => {
                        sections::unreadable(reader, &at, file, &why);
                        None
                    }
                }
            }
        }
    }

    /// Reads the credentials of a client.
    pub(super) fn credentials(
        &self,
        reader: &mut Reader<'_>,
        at: &str,
        source: &CredentialSource,
    ) -> Option<ClientCredentials> {
        let (key, secret) = source.secret();
        let secret = self.read(reader, &format!("{at}.{key}"), secret)?;
        match ClientCredentials::load(source.clone(), secret) {
            Ok(credentials) => {
                let mut loaded = self.loaded.borrow_mut();
                // A profile's stand in several routes.
                if !loaded.iter().any(|(known, _)| known == at) {
                    loaded.push((at.to_owned(), credentials.clone()));
                }
                Some(credentials)
            }
            Err(problems) => {
                for problem in problems {
                    let at = format!("{at}.{}", problem.at);
                    match problem.help {
                        Some(help) => reader.problem_help(&at, problem.what, help),
                        None => {
                            reader.problem(&at, problem.what);
                        }
                    }
                }
                None
            }
        }
    }
}
