//! The gateway's own secret or certificate: whether Entra accepts it.
//!
//! A token for the gateway itself is asked for, and thrown away. Where sign-ins are relayed, and where
//! Entra does not give such tokens, a code that never was is redeemed with the credentials, too.

use bytes::Bytes;
use http::Response;
use url::form_urlencoded;

use super::{CREDENTIALS, Registration, refused};
use crate::{
    cli::doctor::{finding::Finding, published::unreachable},
    oauth::{Client, ClientCredentials, aadsts},
};

const FORM: &str = "application/x-www-form-urlencoded";

impl Registration<'_> {
    /// Presents the credentials, when there are some.
    pub(super) async fn credentials(&self, redirect_uri: &str) -> Option<Finding> {
        let credentials = self.credentials?;
        let now = self.now.max(0).unsigned_abs();
        if let Some(problem) = credentials.problem_at(now) {
            let fix = problem.help.unwrap_or_else(|| "renew it".to_owned());
            return Some(Finding::wrong(CREDENTIALS, problem.what, fix));
        }
        let tenants = self.entra.tenants();
        let tenant = tenants.first().map_or("", String::as_str);
        let url = self.endpoints.token_of_tenant.replace("{tenantid}", tenant);
        let answer = match self.token_for_itself(credentials, &url, now) {
            Ok(form) => self.ask.post(&url, FORM, form).await,
            Err(why) => Err(why),
        };
        let told = match answer {
            Ok(answer) => Told::by(&answer),
            Err(why) => return Some(unreachable(CREDENTIALS, &url, &why)),
        };
        let further = match told {
            // Where that grant is not offered, nothing was said about the credentials.
            Told::Error(70_003) => true,
            // The platform of the callback decides whether they may come with a code, too.
            Told::Token => self.callback.is_some(),
            Told::Error(_) | Told::Unclear => false,
        };
        if !further {
            return Some(judge(told));
        }
        let form = self.made_up_code(redirect_uri).into_bytes();
        let url = &self.endpoints.token;
        let client = Client {
            id: self.entra.client_id.as_str(),
            token_endpoint: url,
        };
        let signed = credentials.authenticate(&form, client, now);
        let form = signed
            .map_err(|error| error.to_string())
            .and_then(|form| String::from_utf8(form).map_err(|error| error.to_string()));
        let answer = match form {
            Ok(form) => self.ask.post(url, FORM, form).await,
            Err(why) => Err(why),
        };
        Some(match answer {
            Ok(answer) => judge(Told::by(&answer)),
            Err(why) => unreachable(CREDENTIALS, url, &why),
        })
    }

    fn token_for_itself(
        &self,
        credentials: &ClientCredentials,
        url: &str,
        now: u64,
    ) -> Result<String, String> {
        let client = Client {
            id: self.entra.client_id.as_str(),
            token_endpoint: url,
        };
        let parameters = credentials
            .parameters(client, now)
            .map_err(|error| error.to_string())?;
        let scope = format!("{}/.default", self.endpoints.graph);
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials")
            .append_pair("client_id", client.id)
            .append_pair("scope", &scope);
        for (name, value) in &parameters {
            form.append_pair(name, value.reveal());
        }
        Ok(form.finish())
    }
}

/// What Entra answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// A token.
    Token,
    /// An error with this number.
    Error(u32),
    /// Anything else.
    Unclear,
}

impl Told {
    fn by(answer: &Response<Bytes>) -> Self {
        if answer.status().is_success() {
            return Self::Token;
        }
        aadsts::in_body(answer.body()).map_or(Self::Unclear, Self::Error)
    }
}

fn judge(told: Told) -> Finding {
    match told {
        // The code that never was: the credentials had passed before.
        Told::Token | Told::Error(9_002_313 | 70_000 | 70_008 | 54_005 | 700_005) => {
            Finding::ok(CREDENTIALS, "Entra accepts the gateway's credentials")
        }
        Told::Error(code) => refused(CREDENTIALS, code),
        Told::Unclear => Finding::note(CREDENTIALS, "Entra does not say what it thinks of them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[test]
    fn a_wrong_secret_is_told_from_a_wrong_code() {
        assert_eq!(judge(Told::Token).verdict, Verdict::Ok);
        assert_eq!(judge(Told::Error(9_002_313)).verdict, Verdict::Ok);
        assert!(judge(Told::Error(7_000_215)).is_wrong());
        assert!(judge(Told::Error(7_000_222)).what.contains("has expired"));
        assert!(judge(Told::Error(700_027)).is_wrong());
        assert_eq!(judge(Told::Unclear).verdict, Verdict::Note);
    }
}
