//! How the gateway proves to an authorization server which client it is.
//!
//! A secret goes into the form as `client_secret` (RFC 6749 §2.3.1). A certificate signs a short
//! assertion for each request instead (`private_key_jwt`, RFC 7523 §2.2), with the header that
//! Entra asks for. Nothing is sent from here and no environment read: secrets, time and forms come
//! in, forms go out.

mod signer;

use std::{fmt, path::PathBuf, sync::Arc};

use mcp_gateway_filters::Problem;
use serde::{Deserialize, Serialize, Serializer};
use url::form_urlencoded;

use crate::secret::{Secret, SecretSource};

use signer::Signer;

/// What client authentication is made of; a client's own copies never pass.
const AUTHENTICATION: [&str; 3] = ["client_secret", "client_assertion", "client_assertion_type"];
/// Which requests of clients the gateway vouches for. With `client_credentials` or an assertion
/// grant, whoever reaches the token endpoint would act as the gateway itself.
const VOUCHED: [&str; 2] = ["authorization_code", "refresh_token"];

/// Where client credentials come from, as written in `gateway.yaml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum CredentialSource {
    /// A shared secret.
    ClientSecret(SecretSource),
    /// A certificate that the authorization server knows, and its key.
    Certificate {
        /// A file with the certificate in PEM.
        certificate: PathBuf,
        /// The RSA key of the certificate, in PEM, without a passphrase.
        key: SecretSource,
    },
}

impl CredentialSource {
    /// Returns the secret part and the name of its setting.
    #[must_use]
    pub const fn secret(&self) -> (&'static str, &SecretSource) {
        match self {
            Self::ClientSecret(secret) => ("client_secret", secret),
            Self::Certificate { key, .. } => ("key", key),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<SecretSource>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    certificate: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<SecretSource>,
}

impl TryFrom<Written> for CredentialSource {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match (written.client_secret, written.certificate, written.key) {
            (Some(secret), None, None) => Ok(Self::ClientSecret(secret)),
            (None, Some(certificate), Some(key)) => Ok(Self::Certificate { certificate, key }),
            (None, None, None) => {
                Err("expected `client_secret`, or `certificate` and `key`, found neither")
            }
            (None, Some(_), None) => Err("expected the `key` of the certificate, found none"),
            (None, None, Some(_)) => Err("expected the `certificate` of the key, found none"),
            (Some(_), _, _) => {
                Err("expected `client_secret`, or `certificate` and `key`, found both")
            }
        }
    }
}

impl From<CredentialSource> for Written {
    fn from(source: CredentialSource) -> Self {
        match source {
            CredentialSource::ClientSecret(secret) => Self {
                client_secret: Some(secret),
                certificate: None,
                key: None,
            },
            CredentialSource::Certificate { certificate, key } => Self {
                client_secret: None,
                certificate: Some(certificate),
                key: Some(key),
            },
        }
    }
}

/// Credentials at hand; a clone is cheap.
#[derive(Clone)]
pub struct ClientCredentials {
    source: CredentialSource,
    method: Arc<Method>,
}

enum Method {
    Secret(Secret<String>),
    Certificate(Signer),
}

/// As whom the gateway authenticates, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client<'a> {
    /// The client id at the authorization server.
    pub id: &'a str,
    /// The URL of the token endpoint: the only place where an assertion is good.
    pub token_endpoint: &'a str,
}

/// Why a form cannot carry the gateway's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// The grant is none that the gateway vouches for, or not named once.
    #[error("expected the grant `authorization_code` or `refresh_token`, once")]
    Grant,
    /// The form does not name the configured client, once.
    #[error("expected the configured client id, once")]
    ClientId,
    /// The system gives no random numbers, or the key cannot sign.
    #[error("the assertion cannot be signed")]
    Signature,
}

impl ClientCredentials {
    /// Makes credentials from where they come from and the secret that was found there; reads the
    /// certificate's file.
    ///
    /// # Errors
    /// Everything that is wrong, each at the setting that it is about; no message holds the secret.
    pub fn load(source: CredentialSource, secret: Secret<String>) -> Result<Self, Vec<Problem>> {
        let method = match &source {
            CredentialSource::ClientSecret(_) => {
                // A header or a line of a file, copied with more than the secret.
                if secret.reveal().is_empty() || secret.reveal().contains(char::is_whitespace) {
                    let what = "expected a client secret, found nothing or text with white space";
                    let help = "name the secret's value, not its id or description";
                    return Err(vec![Problem::new("client_secret", what).help(help)]);
                }
                Method::Secret(secret)
            }
            CredentialSource::Certificate { certificate, .. } => {
                Method::Certificate(Signer::load(certificate, &secret)?)
            }
        };
        Ok(Self {
            source,
            method: Arc::new(method),
        })
    }

    /// Says what is wrong with the credentials at `now`, in seconds since the Unix epoch: a
    /// certificate that has expired or is not valid yet.
    #[must_use]
    pub fn problem_at(&self, now: u64) -> Option<Problem> {
        match &*self.method {
            Method::Secret(_) => None,
            Method::Certificate(signer) => signer.problem_at(now),
        }
    }

    /// Returns the parameters that authenticate a request of the gateway's own, beside
    /// `client_id`. `now` is in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When no assertion can be signed.
    pub fn parameters(
        &self,
        client: Client<'_>,
        now: u64,
    ) -> Result<Vec<(&'static str, Secret<String>)>, Unsigned> {
        Ok(match &*self.method {
            Method::Secret(secret) => vec![("client_secret", secret.clone())],
            Method::Certificate(signer) => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                vec![
                    ("client_assertion_type", Secret::new(kind.to_owned())),
                    ("client_assertion", signer.assertion(client, now)?),
                ]
            }
        })
    }

    /// Adds the gateway's authentication to a client's form, in place of any that the client
    /// sent; every other parameter stays byte for byte.
    ///
    /// # Errors
    /// When the gateway does not vouch for this form: see [`Unsigned`].
    pub fn authenticate(
        &self,
        form: &[u8],
        client: Client<'_>,
        now: u64,
    ) -> Result<Vec<u8>, Unsigned> {
        if !once(form, "grant_type").is_some_and(|grant| VOUCHED.contains(&&*grant)) {
            return Err(Unsigned::Grant);
        }
        if once(form, "client_id").as_deref() != Some(client.id) {
            return Err(Unsigned::ClientId);
        }
        let added = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(
                self.parameters(client, now)?
                    .iter()
                    .map(|(name, value)| (name, value.reveal())),
            )
            .finish();
        let kept = form.split(|byte| *byte == b'&').filter(|pair| {
            !pair.is_empty()
                && form_urlencoded::parse(pair).all(|(name, _)| !AUTHENTICATION.contains(&&*name))
        });
        let mut signed = Vec::with_capacity(form.len() + added.len() + 1);
        for pair in kept {
            signed.extend_from_slice(pair);
            signed.push(b'&');
        }
        signed.extend_from_slice(added.as_bytes());
        Ok(signed)
    }
}

/// Returns the decoded value of a parameter that occurs once.
fn once(form: &[u8], wanted: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(form).filter(|(name, _)| name == wanted);
    let (_, value) = values.next()?;
    values.next().is_none().then(|| value.into_owned())
}

/// Without the secret.
impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientCredentials")
            .field(&self.source)
            .finish()
    }
}

/// The same when they come from the same place.
impl PartialEq for ClientCredentials {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for ClientCredentials {}

/// Where they come from, as `explain` shows it.
impl Serialize for ClientCredentials {
    fn serialize<S: Serializer>(&self, ser: S) -> Result<S::Ok, S::Error> {
        self.source.serialize(ser)
    }
}

#[cfg(test)]
mod tests;
