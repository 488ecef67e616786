//! A person with a browser, played by plain HTTP.
//!
//! Follows redirects, keeps cookies, and presses the first button of a form, until it is sent to
//! the redirect URI of the client; that address is not visited. It runs no script, and shares
//! nothing between two visits.

use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use thiserror::Error;
use url::Url;

/// Pages and redirects on the way; a real sign-in takes a handful.
const LONGEST_WAY: usize = 20;

/// Longest page.
const LIMIT: usize = 1 << 20;

/// What is waited for a page.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Names the person to an emulated tenant that signs in by itself.
const WHO_HEADER: &str = "x-emu-user";

/// Why a browser did not arrive.
#[derive(Debug, Error)]
pub enum BrowserError {
    /// A page cannot be loaded.
    #[error("cannot load {page}")]
    Load {
        /// Scheme, host and path.
        page: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// There is nothing to press.
    #[error("stuck at {page}, which answered {status}: {says}")]
    Stuck {
        /// Scheme, host and path.
        page: String,
        /// The status.
        status: StatusCode,
        /// What the page says.
        says: String,
    },
    /// The way does not end.
    #[error("still not there after {LONGEST_WAY} pages")]
    Lost,
    /// The authorization server sent the person back with an error.
    #[error("sent back with `{error}`: {description}")]
    Refused {
        /// `error`.
        error: String,
        /// `error_description`.
        description: String,
    },
}

/// One browser.
pub struct Browser {
    http: reqwest::Client,
    person: Option<String>,
    /// By host, then by name.
    cookies: HashMap<String, HashMap<String, String>>,
}

/// A form on a page.
#[derive(Debug, PartialEq, Eq)]
struct Form {
    post: bool,
    action: String,
    fields: Vec<(String, String)>,
}

impl Browser {
    /// Returns a browser without cookies. `http` must not follow redirects.
    #[must_use]
    pub fn new(http: reqwest::Client, person: Option<String>) -> Self {
        Self {
            http,
            person,
            cookies: HashMap::new(),
        }
    }

    /// Visits a page and goes on until it is sent to `redirect_uri`; returns that address.
    ///
    /// # Errors
    ///
    /// When a page cannot be loaded, there is nothing to press on it, or the answer is an error.
    pub async fn visit(&mut self, first: Url, redirect_uri: &str) -> Result<String, BrowserError> {
        let mut address = first;
        let mut form = None;
        for _ in 0..LONGEST_WAY {
            let response =
                self.load(&address, form.take())
                    .await
                    .map_err(|source| BrowserError::Load {
                        page: name_of(&address),
                        source,
                    })?;
            let status = response.status();
            let target = response
                .headers()
                .get(LOCATION)
                .filter(|_| status.is_redirection())
                .and_then(|value| value.to_str().ok())
                .and_then(|target| address.join(target).ok());
            if let Some(target) = target {
                if leads_back(&target, redirect_uri) {
                    return arrive(&target);
                }
                address = target;
                continue;
            }
            let text = read(response).await.map_err(|source| BrowserError::Load {
                page: name_of(&address),
                source,
            })?;
            let found = find_form(&text).filter(|_| status.is_success());
            let target = found
                .as_ref()
                .and_then(|found| address.join(&found.action).ok());
            let (Some(found), Some(target)) = (found, target) else {
                return Err(BrowserError::Stuck {
                    page: name_of(&address),
                    status,
                    says: says(&text),
                });
            };
            address = target;
            if found.post {
                form = Some(found.fields);
            } else {
                address
                    .query_pairs_mut()
                    .clear()
                    .extend_pairs(&found.fields);
            }
        }
        Err(BrowserError::Lost)
    }

    async fn load(
        &mut self,
        address: &Url,
        form: Option<Vec<(String, String)>>,
    ) -> Result<reqwest::Response, reqwest::Error> {
        let host = address.host_str().unwrap_or_default().to_owned();
        let mut request = match form {
            Some(fields) => self
                .http
                .post(address.clone())
                // Browsers send it with every form.
                .header("origin", address.origin().ascii_serialization())
                .form(&fields),
            None => self.http.get(address.clone()),
        };
        request = request.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        if let Some(person) = &self.person {
            request = request.header(WHO_HEADER, person);
        }
        if let Some(cookies) = self.cookies.get(&host) {
            let line: Vec<String> = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(COOKIE, line.join("; "));
        }
        let response = request.timeout(TIMEOUT).send().await?;
        let jar = self.cookies.entry(host).or_default();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().ok().and_then(|line| line.split(';').next());
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                jar.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(response)
    }
}

/// Scheme, host and path: the rest of an address may carry codes.
fn name_of(address: &Url) -> String {
    format!(
        "{}{}",
        address.origin().ascii_serialization(),
        address.path()
    )
}

fn leads_back(target: &Url, redirect_uri: &str) -> bool {
    Url::parse(redirect_uri).is_ok_and(|expected| {
        target.origin() == expected.origin() && target.path() == expected.path()
    })
}

fn arrive(target: &Url) -> Result<String, BrowserError> {
    let find = |wanted: &str| {
        target
            .query_pairs()
            .find_map(|(name, value)| (name == wanted).then(|| value.into_owned()))
    };
    match find("error") {
        Some(error) => Err(BrowserError::Refused {
            error,
            description: find("error_description").unwrap_or_default(),
        }),
        None => Ok(target.to_string()),
    }
}

async fn read(mut response: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > LIMIT {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Reads the first form of a page: its hidden fields, and the first button that has a name.
fn find_form(page: &str) -> Option<Form> {
    let start = page.find("<form")?;
    let rest = page.get(start..)?;
    let form = rest.get(..rest.find("</form").unwrap_or(rest.len()))?;
    let (tag, mut inside) = form.split_once('>')?;
    let mut fields = Vec::new();
    let mut pressed = false;
    while let Some(start) = inside.find('<') {
        let Some((element, rest)) = inside.get(start..).and_then(|rest| rest.split_once('>'))
        else {
            break;
        };
        inside = rest;
        let button = element.starts_with("<button")
            || (element.starts_with("<input")
                && attribute(element, "type").as_deref() == Some("submit"));
        let input = element.starts_with("<input") && !button;
        if !(input || (button && !pressed)) {
            continue;
        }
        pressed |= button;
        if let Some(name) = attribute(element, "name") {
            fields.push((name, attribute(element, "value").unwrap_or_default()));
        }
    }
    Some(Form {
        post: attribute(tag, "method").is_some_and(|method| method.eq_ignore_ascii_case("post")),
        action: attribute(tag, "action").unwrap_or_default(),
        fields,
    })
}

/// Finds a quoted attribute of an element.
fn attribute(element: &str, name: &str) -> Option<String> {
    let (_, rest) = element.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(
        value
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&#x27;", "'")
            .replace("&amp;", "&"),
    )
}

/// Returns what an error page says: the AADSTS line if there is one, else its beginning.
fn says(page: &str) -> String {
    let text = match page.find("AADSTS") {
        Some(start) => page.get(start..).unwrap_or_default(),
        None => page,
    };
    text.chars()
        .take_while(|character| !matches!(character, '"' | '<' | '\n'))
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_first_button_of_a_form_is_pressed() {
        let page = r#"<p>x</p><form method="post" action="/go?a=1&amp;b=2">
            <input type="hidden" name="state" value="a&amp;b">
            <button name="who" value="alice">Alice</button>
            <button name="who" value="bob">Bob</button></form>"#;
        let expected = Form {
            post: true,
            action: "/go?a=1&b=2".to_owned(),
            fields: vec![pair("state", "a&b"), pair("who", "alice")],
        };
        assert_eq!(find_form(page), Some(expected));
        assert_eq!(find_form("<p>no form</p>"), None);
    }

    #[test]
    fn an_error_page_is_quoted_by_its_number() {
        let page = r#"{"strServiceExceptionMessage":"AADSTS50011: mismatch","x":1}"#;
        assert_eq!(says(page), "AADSTS50011: mismatch");
    }

    #[test]
    fn only_the_redirect_uri_itself_ends_the_way() {
        let leads = |target: &str| {
            leads_back(
                &Url::parse(target).unwrap(),
                "http://localhost:3118/callback",
            )
        };
        assert!(leads("http://localhost:3118/callback?code=x"));
        assert!(!leads("http://localhost:3118/callback/x?code=x"));
        assert!(!leads("http://localhost:3119/callback?code=x"));
        assert!(!leads("http://localhost.evil:3118/callback?code=x"));
    }
}
