//! The pages a person sees: sign in, consent, and what went wrong.
//!
//! Plain forms that work without a script and with a screen reader. The error page carries the
//! `$Config` object that several clients read.

use std::fmt::Write;

use axum::body::Body;
use http::{Response, StatusCode};
use serde_json::json;

use super::directory::User;
use super::told::Told;
use crate::params::Params;
use crate::reply;

/// Field in which a page says who signs in; empty means that the person cancelled.
pub(super) const WHO: &str = "_emu_user";

/// Field in which a page says whether the person consents: `accept` or `cancel`.
pub(super) const CONSENT: &str = "_emu_consent";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;\
                     padding:0 1rem}button{font:inherit;display:block;width:100%;margin:.5rem 0;\
                     padding:.75rem;text-align:left}.note{color:#555}";

/// Escapes text for element content and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn page(title: &str, head: &str, body: &str) -> Response<Body> {
    let html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>{head}</head>\n\
         <body>{body}</body>\n</html>\n",
        escape(title)
    );
    let mut response = reply::typed(StatusCode::OK, "text/html; charset=utf-8", html);
    reply::set(&mut response, "cache-control", "no-store, no-cache");
    response
}

/// The request again, as hidden fields of a form.
fn hidden(params: &Params) -> String {
    params
        .iter()
        .filter(|(name, _)| *name != WHO && *name != CONSENT)
        .fold(String::new(), |mut fields, (name, value)| {
            field(&mut fields, name, value);
            fields
        })
}

fn field(into: &mut String, name: &str, value: &str) {
    // Writing into a string does not fail.
    let _ = write!(
        into,
        "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
        escape(name),
        escape(value)
    );
}

/// Asks who signs in.
pub(super) fn sign_in(app: &str, users: &[User], params: &Params) -> Response<Body> {
    let mut buttons = String::new();
    for user in users {
        let _ = write!(
            buttons,
            "<button name=\"{WHO}\" value=\"{}\">{} <span class=\"note\">{}</span></button>",
            escape(&user.upn),
            escape(&user.name),
            escape(&user.upn)
        );
    }
    page(
        "Sign in to your account",
        &format!("<style>{STYLE}</style>"),
        &format!(
            "<main><h1>Sign in</h1><p>to continue to <strong>{}</strong></p>\
             <form method=\"post\">{}{buttons}<button name=\"{WHO}\" value=\"\">Cancel</button>\
             </form><p class=\"note\">This is an emulated Entra ID on this machine. There are no \
             passwords.</p></main>",
            escape(app),
            hidden(params)
        ),
    )
}

/// Asks for consent.
pub(super) fn consent(app: &str, who: &str, scopes: &[String], params: &Params) -> Response<Body> {
    let mut list = String::new();
    for scope in scopes {
        let _ = write!(list, "<li>{}</li>", escape(scope));
    }
    let mut fields = hidden(params);
    field(&mut fields, WHO, who);
    page(
        "Permissions requested",
        &format!("<style>{STYLE}</style>"),
        &format!(
            "<main><h1>Permissions requested</h1><p><strong>{}</strong> would like to:</p>\
             <ul>{list}</ul><form method=\"post\">{fields}\
             <button name=\"{CONSENT}\" value=\"accept\">Accept</button>\
             <button name=\"{CONSENT}\" value=\"cancel\">Cancel</button></form></main>",
            escape(app)
        ),
    )
}

/// Says what went wrong, in place of a redirect.
pub(super) fn error(told: &Told) -> Response<Body> {
    let (title, message) = match told.aadsts.code {
        90_095 => ("Approval required", "Approval required"),
        90_094 => ("Need admin approval", "Need admin approval"),
        _ => (
            "Sign in to your account",
            "Sorry, but we’re having trouble signing you in.",
        ),
    };
    let code = told.aadsts.code;
    let config = json!({
        "pgid": "ConvergedError",
        "iErrorCode": code,
        "strMainMessage": message,
        "strServiceExceptionMessage": told.message(),
        "correlationId": told.correlation,
        "sessionId": told.trace,
        "sErrorCode": code.to_string(),
    })
    .to_string()
    // A `<` inside a script could end it; JSON may write it as an escape.
    .replace('<', "\\u003c");
    page(
        title,
        &format!("<style>{STYLE}</style><script>//<![CDATA[\n$Config={config};\n//]]></script>"),
        &format!(
            "<main><h1>{}</h1><p>{}</p></main>",
            escape(message),
            escape(&told.message())
        ),
    )
}

/// Sends the answer as a form (OAuth 2.0 Form Post Response Mode).
pub(super) fn form_post(uri: &str, pairs: &[(&str, &str)]) -> Response<Body> {
    let mut fields = String::new();
    for (name, value) in pairs {
        field(&mut fields, name, value);
    }
    page(
        "Working...",
        "",
        &format!(
            "<form method=\"POST\" name=\"hiddenform\" action=\"{}\">{fields}<noscript><p>Script is \
             disabled. Click Submit to continue.</p><input type=\"submit\" value=\"Submit\">\
             </noscript></form><script>document.forms[0].submit();</script>",
            escape(uri)
        ),
    )
}
