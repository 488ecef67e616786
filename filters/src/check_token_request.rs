//! The gate of a token endpoint: lets only the two user grants of one public client through.
//!
//! Everything else is answered here, so that nobody uses the gateway's address, which the provider
//! trusts, to try passwords or secrets. A form of at most 64 KiB and 100 fields is required. Fields
//! of the protocol may stand once; `resource` may repeat, since a step behind drops it.
//!
//! ```yaml
//! - check_token_request: { client_id: 11111111-2222-3333-4444-555555555555 }
//! ```

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request, response};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    Context, Filter, FilterConfig, HeaderEdit, Problem, Refusal, ResponseEdits, Verdict, form,
    pairs::{Pair, pairs},
    reply, settings,
};

/// The most fields that are looked at.
const MAX_PAIRS: usize = 100;

/// Fields of RFC 6749, RFC 7636 and RFC 7521 that may stand once.
const PROTOCOL: [&str; 14] = [
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "password",
    "redirect_uri",
    "refresh_token",
    "scope",
    "username",
];

/// Settings of `check_token_request`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckTokenRequestConfig {
    /// The client id that every client uses.
    client_id: String,
}

impl FilterConfig for CheckTokenRequestConfig {
    const NAME: &'static str = "check_token_request";
    const SUMMARY: &'static str = "Lets only the user grants of one public client through";
    const SOURCE: &'static str = include_str!("check_token_request.rs");

    fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
        let mut problems = Vec::new();
        settings::check_client_id("client_id", &self.client_id, &mut problems);
        settings::finish(problems, || CheckTokenRequest {
            client_id: self.client_id,
        })
    }
}

#[derive(Debug)]
struct CheckTokenRequest {
    client_id: String,
}

impl Filter for CheckTokenRequest {
    fn request(&self, _: &Context<'_>, head: &request::Parts) -> Result<Verdict, Refusal> {
        if head.method != Method::POST {
            return Ok(Verdict::Respond(reply::method_not_allowed("POST")));
        }
        if head.headers.contains_key(header::AUTHORIZATION) {
            return Err(public_client());
        }
        form::require(&head.headers)?;
        Ok(Verdict::pass())
    }

    fn request_body_limit(&self, _: &request::Parts) -> Option<usize> {
        Some(form::LIMIT)
    }

    fn request_body(
        &self,
        _: &Context<'_>,
        _: &request::Parts,
        body: &Bytes,
    ) -> Result<Verdict, Refusal> {
        let fields = Fields::read(body)?;
        if fields.has("client_secret")
            || fields.has("client_assertion")
            || fields.has("client_assertion_type")
        {
            return Err(public_client());
        }
        match fields.find("client_id") {
            Some(client_id) if client_id == self.client_id => {}
            Some(_) => {
                return Err(invalid_client(
                    "the client id is not the one of this server: register again",
                ));
            }
            None => return Err(invalid_client("the field `client_id` is missing")),
        }
        let required: &[&str] = match fields.find("grant_type").as_deref() {
            Some("authorization_code") => &["code", "code_verifier"],
            Some("refresh_token") => &["refresh_token"],
            Some(_) => {
                return Err(Refusal::new(
                    StatusCode::BAD_REQUEST,
                    "unsupported_grant_type",
                    "only the grants authorization_code and refresh_token are served here",
                ));
            }
            None => {
                return Err(Refusal::invalid_request(
                    "the field `grant_type` is missing",
                ));
            }
        };
        for name in required {
            if fields.find(name).is_none_or(|value| value.is_empty()) {
                return Err(Refusal::invalid_request(format!(
                    "the field `{name}` is missing"
                )));
            }
        }
        Ok(Verdict::pass())
    }

    fn response(
        &self,
        _: &Context<'_>,
        request: &request::Parts,
        head: &response::Parts,
    ) -> Result<ResponseEdits, Refusal> {
        let mut edits = ResponseEdits::default();
        // RFC 6749 §5.2 asks for a challenge when a client tried to authenticate by header. Such a
        // request never went upstream, so this is the answer to the refusal above.
        if head.status == StatusCode::UNAUTHORIZED
            && request.headers.contains_key(header::AUTHORIZATION)
        {
            edits.headers.push(HeaderEdit::Set(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"token\""),
            ));
        }
        Ok(edits)
    }
}

fn invalid_client(description: &'static str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "invalid_client", description)
}

fn public_client() -> Refusal {
    invalid_client(
        "the client is public: send its id in the form, and neither a secret nor an assertion",
    )
}

/// The protocol's fields of a form, each at most once.
#[derive(Debug)]
struct Fields<'a>(Vec<(&'static str, Pair<'a>)>);

impl<'a> Fields<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields: Vec<(&'static str, Pair<'a>)> = Vec::with_capacity(PROTOCOL.len());
        for (index, pair) in pairs(body).enumerate() {
            if index >= MAX_PAIRS {
                return Err(Refusal::invalid_request(format!(
                    "the form has more than {MAX_PAIRS} fields"
                )));
            }
            pair.check()
                .map_err(|fault| Refusal::invalid_request(fault.to_string()))?;
            // Another case of letters counts, too, as the server behind may not tell them apart.
            let Some((name, exact)) = pair.find_name(&PROTOCOL) else {
                continue;
            };
            if !exact {
                return Err(Refusal::invalid_request(format!(
                    "the field `{name}` is written in another case"
                )));
            }
            if fields.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Refusal::invalid_request(format!(
                    "the field `{name}` is given more than once"
                )));
            }
            fields.push((name, pair));
        }
        Ok(Self(fields))
    }

    fn find(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, pair) = self.0.iter().find(|(known, _)| *known == name)?;
        pair.text()
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{
        build, cx, edits, form_request, refusal, reply, request, response, response_edits, show,
    };

    const CODE: &str = "grant_type=authorization_code&client_id=c1&code=a%2Fb&code_verifier=v\
        &redirect_uri=http%3A%2F%2Flocalhost%2F&resource=x&resource=y";
    const REFRESH: &str = "grant_type=refresh_token&client_id=c1&refresh_token=r";

    fn post(body: &str) -> Result<Verdict, Refusal> {
        let filter = build("check_token_request", "client_id: c1");
        filter.request_body(
            &cx(),
            &form_request(),
            &Bytes::copy_from_slice(body.as_bytes()),
        )
    }

    fn check_refused(body: &str, status: u16, code: &'static str) {
        let expected = (StatusCode::from_u16(status).unwrap(), code);
        assert_eq!(refusal(post(body)), expected, "{body}");
    }

    #[test]
    fn both_user_grants_pass_untouched() {
        for body in [CODE, REFRESH] {
            assert_eq!(edits(post(body)), crate::Edits::default());
        }
    }

    #[test]
    fn other_grants_never_reach_the_provider() {
        for grant in ["password", "client_credentials", "", "authorization_code+"] {
            let body = REFRESH.replace("=refresh_token&", &format!("={grant}&"));
            check_refused(&body, 400, "unsupported_grant_type");
        }
    }

    #[test]
    fn other_clients_never_reach_the_provider() {
        check_refused(&CODE.replace("=c1", "=c2"), 401, "invalid_client");
        check_refused(&CODE.replace("client_id=c1&", ""), 401, "invalid_client");
        for secret in ["client_secret=s", "client_secret=", "client_assertion=a"] {
            check_refused(&format!("{CODE}&{secret}"), 401, "invalid_client");
        }
    }

    #[test]
    fn what_has_no_single_reading_is_refused() {
        for more in [
            "code=x",
            "c%6fde=x",
            "Code=x",
            "scope=a&scope=b",
            "x=%0a",
            "x=%zz",
            "x=%ff",
        ] {
            check_refused(&format!("{CODE}&{more}"), 400, "invalid_request");
        }
        check_refused(&"&".repeat(100), 400, "invalid_request");
        check_refused("client_id=c1", 400, "invalid_request");
        check_refused(
            &CODE.replace("&code_verifier=v", ""),
            400,
            "invalid_request",
        );
        check_refused(
            &REFRESH.replace("_token=r", "_token="),
            400,
            "invalid_request",
        );
    }

    #[test]
    fn only_forms_are_posted() {
        let filter = build("check_token_request", "client_id: c1");
        let get = reply(filter.request(&cx(), &request("GET /token")));
        assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
        let json = request("POST /token\nContent-Type: application/json");
        assert_eq!(
            refusal(filter.request(&cx(), &json)),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request")
        );
    }

    #[test]
    fn basic_authentication_is_refused_with_a_challenge() {
        let filter = build("check_token_request", "client_id: c1");
        let head = request("POST /token\nAuthorization: Basic YzE6");
        assert_eq!(
            refusal(filter.request(&cx(), &head)),
            (StatusCode::UNAUTHORIZED, "invalid_client")
        );
        let found = response_edits(&*filter, &head, &response("401")).headers;
        assert_eq!(show(&found), "set www-authenticate: Basic realm=\"token\"");
        let found = response_edits(&*filter, &form_request(), &response("401")).headers;
        assert_eq!(show(&found), "");
    }

    proptest! {
        #[test]
        fn only_the_configured_client_passes(
            id in "[a-c0-2%]{0,3}", grant in "(authorization_code|refresh_token|password)",
            more in "[a-z_&=%+]{0,20}"
        ) {
            let body = format!(
                "client_id={id}&grant_type={grant}&code=c&code_verifier=v&refresh_token=r&{more}"
            );
            if post(&body).is_ok() {
                prop_assert!(id == "c1");
                prop_assert!(grant != "password");
            }
        }
    }
}
