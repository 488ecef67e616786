use proptest::prelude::*;

use super::*;
use crate::{relay::Source, secret::Secret};

const NOW: u64 = 1_800_000_000;
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const HTTPS: &str = "https://app.test/cb";
const LOOPBACK: &str = "http://localhost:3118/cb";

fn sign_in(key: u8) -> SignIn {
    let seals = Seals::new(&[Secret::new([key; 32])]).unwrap();
    SignIn::new(
        Arc::new(seals),
        Endpoints {
            issuer: "https://gw.test".to_owned(),
            authorize: "https://login.test/authorize".to_owned(),
            callback: "https://gw.test/oauth2/callback".to_owned(),
            consent: "/oauth2/consent".to_owned(),
        },
    )
}

fn client() -> Client {
    Client {
        id: "ada".to_owned(),
        name: Some("Claude Code".to_owned()),
        redirect_uris: vec![],
        source: Source::Registered,
    }
}

fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// A browser: its cookies, and what it was answered last.
struct Browser<'a> {
    gateway: &'a SignIn,
    cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    fn new(gateway: &'a SignIn) -> Self {
        Self {
            gateway,
            cookies: vec![],
        }
    }

    fn line(&self) -> String {
        let pairs = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        for cookie in answer.response.headers().get_all("set-cookie") {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap().to_owned();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value));
        }
        answer
    }

    fn ask(&mut self, redirect_uri: &str, more: &str, now: u64) -> Answer {
        let uri = pairs::encode("redirect_uri", redirect_uri);
        let target = format!(
            "/oauth2/authorize?client_id=own&{uri}&response_type=code&scope=openid+email\
             &state=a%2Fb+c%3D&code_challenge={CHALLENGE}&code_challenge_method=S256{more}"
        );
        let head = head("GET", &target, &[("cookie", &self.line())]);
        let answer = self.gateway.authorize(&client(), &head, now).unwrap();
        self.keep(answer)
    }

    fn answer(&mut self, question: &Answer, decision: &str, now: u64) -> Answer {
        let form = format!("request={}&decision={decision}", hidden(question));
        self.post(&form, &[("origin", "https://gw.test")], now)
    }

    fn post(&mut self, form: &str, headers: &[(&str, &str)], now: u64) -> Answer {
        let line = self.line();
        let mut headers = headers.to_vec();
        headers.push(("cookie", &line));
        let head = head("POST", "/oauth2/consent", &headers);
        let answer = self.gateway.consent(&head, form.as_bytes(), now).unwrap();
        self.keep(answer)
    }

    fn return_with(&mut self, state: &str, rest: &str, now: u64) -> Answer {
        let target = format!("/oauth2/callback?{rest}&state={state}&session_state=x");
        let head = head("GET", &target, &[("cookie", &self.line())]);
        let explain = |told: &str| told.contains("AADSTS65004").then(|| "[hint]".to_owned());
        self.gateway.callback(&head, now, &explain).unwrap()
    }

    /// Asks and approves; returns the `state` that the provider gets.
    fn approved(&mut self, redirect_uri: &str, now: u64) -> String {
        let question = self.ask(redirect_uri, "", now);
        let answer = self.answer(&question, "approve", now);
        find(
            location(&answer).split_once('?').unwrap().1.as_bytes(),
            "state",
        )
        .unwrap()
    }
}

fn hidden(question: &Answer) -> String {
    let html = std::str::from_utf8(question.response.body()).unwrap();
    let (_, rest) = html.split_once("name=\"request\" value=\"").unwrap();
    rest.split('"').next().unwrap().to_owned()
}

fn location(answer: &Answer) -> &str {
    answer.response.headers()["location"].to_str().unwrap()
}

fn value(answer: &Answer, name: &str) -> Option<String> {
    find(location(answer).split_once('?')?.1.as_bytes(), name)
}

#[track_caller]
fn check_page(answer: &Answer, reason: &str) {
    assert_eq!(answer.reason, Some(reason));
    assert_eq!(answer.response.status(), StatusCode::BAD_REQUEST);
    assert!(!answer.response.headers().contains_key("location"));
}

#[test]
fn a_person_is_asked_and_the_code_goes_where_the_page_said() {
    let gateway = sign_in(1);
    let mut browser = Browser::new(&gateway);
    let question = browser.ask(LOOPBACK, "&login_hint=ada%40x.test", NOW);
    assert_eq!(question.response.status(), StatusCode::OK);
    let approved = browser.answer(&question, "approve", NOW + 60);
    assert_eq!(approved.response.status(), StatusCode::SEE_OTHER);
    assert!(location(&approved).starts_with(
        "https://login.test/authorize?client_id=own&response_type=code&scope=openid+email\
         &login_hint=ada%40x.test&redirect_uri=https%3A%2F%2Fgw.test%2Foauth2%2Fcallback\
         &response_mode=query&state="
    ));
    let challenge = value(&approved, "code_challenge").unwrap();
    assert!(challenge.len() == 43 && challenge != CHALLENGE);

    let state = value(&approved, "state").unwrap();
    let back = browser.return_with(&state, "code=1.A%2Fx", NOW + 120);
    assert_eq!(back.reason, None);
    assert!(location(&back).starts_with("http://localhost:3118/cb?code="));
    assert!(location(&back).ends_with("&state=a%2Fb+c%3D&iss=https%3A%2F%2Fgw.test"));
    assert_eq!(back.response.headers()["referrer-policy"], "no-referrer");
}

#[test]
fn who_says_no_sends_the_client_away_with_its_state() {
    let gateway = sign_in(1);
    let mut browser = Browser::new(&gateway);
    let question = browser.ask(LOOPBACK, "", NOW);
    let denied = browser.answer(&question, "deny", NOW);
    assert_eq!(denied.reason, Some("consent_denied"));
    assert_eq!(value(&denied, "error").as_deref(), Some("access_denied"));
    assert!(location(&denied).ends_with("&state=a%2Fb+c%3D&iss=https%3A%2F%2Fgw.test"));
    check_page(
        &browser.answer(&question, "perhaps", NOW),
        "consent_malformed",
    );
}

#[test]
fn only_the_browser_that_was_asked_can_answer() {
    let gateway = sign_in(1);
    let (mut one, mut other) = (Browser::new(&gateway), Browser::new(&gateway));
    let question = one.ask(LOOPBACK, "", NOW);
    check_page(
        &other.answer(&question, "approve", NOW),
        "consent_other_browser",
    );
    other.ask(LOOPBACK, "", NOW);
    check_page(&other.answer(&question, "approve", NOW), "consent_forged");
    check_page(
        &one.answer(&question, "approve", NOW + 1800),
        "consent_expired",
    );
    let form = format!("request={}&decision=approve", hidden(&question));
    for foreign in [
        ("origin", "https://evil.test"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        check_page(&one.post(&form, &[foreign], NOW), "consent_cross_site");
    }
    check_page(&one.post("decision=approve", &[], NOW), "consent_forged");
}

#[test]
fn only_the_browser_that_approved_can_return() {
    let gateway = sign_in(1);
    let (mut one, mut other) = (Browser::new(&gateway), Browser::new(&gateway));
    let state = one.approved(LOOPBACK, NOW);
    check_page(
        &other.return_with(&state, "code=c", NOW),
        "state_other_browser",
    );
    other.ask(LOOPBACK, "", NOW);
    check_page(
        &other.return_with(&state, "code=c", NOW),
        "state_other_browser",
    );
    check_page(
        &one.return_with(&state, "code=c", NOW + 1800),
        "state_expired",
    );
    check_page(&one.return_with("made-up", "code=c", NOW), "state_forged");
    let foreign = sign_in(2);
    let mut stranger = Browser::new(&foreign);
    stranger.cookies.clone_from(&one.cookies);
    check_page(
        &stranger.return_with(&state, "code=c", NOW),
        "state_unknown_key",
    );
    assert_eq!(one.return_with(&state, "code=c", NOW).reason, None);
}

#[test]
fn two_sign_ins_in_one_browser_do_not_disturb_each_other() {
    let gateway = sign_in(1);
    let mut browser = Browser::new(&gateway);
    let (first, second) = (browser.ask(LOOPBACK, "", NOW), browser.ask(HTTPS, "", NOW));
    for question in [first, second] {
        let state = value(&browser.answer(&question, "approve", NOW), "state").unwrap();
        assert_eq!(browser.return_with(&state, "code=c", NOW).reason, None);
    }
}

#[test]
fn consent_is_remembered_for_https_only_and_only_on_request() {
    let gateway = sign_in(1);
    for (redirect_uri, remember, asked_again) in [
        (HTTPS, "", true),
        (HTTPS, "&remember=yes", false),
        (LOOPBACK, "&remember=yes", true),
        ("cursor://x/cb", "&remember=yes", true),
    ] {
        let mut browser = Browser::new(&gateway);
        let question = browser.ask(redirect_uri, "", NOW);
        let form = format!("request={}&decision=approve{remember}", hidden(&question));
        browser.post(&form, &[], NOW);
        let next = browser.ask(redirect_uri, "", NOW + 86_400);
        let asked = next.response.status() == StatusCode::OK;
        assert_eq!(asked, asked_again, "{redirect_uri} {remember}");
        if !asked {
            let state = value(&next, "state").unwrap();
            let back = browser.return_with(&state, "code=c", NOW + 86_400);
            assert_eq!(back.reason, None);
            let more = browser.ask(redirect_uri, "", NOW + approvals::LIFETIME);
            assert_eq!(more.response.status(), StatusCode::OK);
        }
    }
}

#[test]
fn nobody_is_asked_where_the_client_forbids_it() {
    let gateway = sign_in(1);
    let answer = Browser::new(&gateway).ask(HTTPS, "&prompt=none", NOW);
    assert_eq!(value(&answer, "error").as_deref(), Some("consent_required"));
}

#[test]
fn what_the_provider_refuses_is_told_to_the_client() {
    let gateway = sign_in(1);
    let mut browser = Browser::new(&gateway);
    let state = browser.approved(LOOPBACK, NOW);
    for (given, expect) in [
        ("access_denied", "access_denied"),
        ("interaction_required", "interaction_required"),
        ("invalid_client", "server_error"),
        ("a%22b", "server_error"),
        ("", "server_error"),
    ] {
        let rest = format!("error={given}&error_description=AADSTS65004%3A+%22no%22%0d%0a");
        let answer = browser.return_with(&state, &rest, NOW);
        assert_eq!(answer.reason, Some("authorization_refused"));
        assert_eq!(value(&answer, "error").as_deref(), Some(expect), "{given}");
        assert_eq!(
            value(&answer, "error_description").as_deref(),
            Some("AADSTS65004:  no    [hint]")
        );
        assert!(location(&answer).ends_with("&state=a%2Fb+c%3D&iss=https%3A%2F%2Fgw.test"));
    }
    let nothing = browser.return_with(&state, "x=y", NOW);
    assert_eq!(value(&nothing, "error").as_deref(), Some("server_error"));
}

#[test]
fn what_cannot_be_relayed_goes_back_as_an_error() {
    let gateway = sign_in(1);
    let answer = Browser::new(&gateway).ask(LOOPBACK, "&response_mode=fragment", NOW);
    assert_eq!(value(&answer, "error").as_deref(), Some("invalid_request"));
    assert!(location(&answer).starts_with(LOOPBACK));
}

proptest! {
    #[test]
    fn no_made_up_state_or_answer_leads_anywhere(text in "[A-Za-z0-9_-]{0,300}", noise in "\\PC*") {
        let gateway = sign_in(1);
        let mut browser = Browser::new(&gateway);
        browser.ask(LOOPBACK, "", NOW);
        let back = browser.return_with(&text, "code=c", NOW);
        prop_assert_eq!(back.response.status(), StatusCode::BAD_REQUEST);
        let posted = browser.post(&format!("request={text}&decision=approve"), &[], NOW);
        prop_assert_eq!(posted.response.status(), StatusCode::BAD_REQUEST);
        let posted = browser.post(&noise, &[], NOW);
        prop_assert_eq!(posted.response.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn no_changed_state_leads_anywhere(at: proptest::sample::Index, to in "[A-Za-z0-9_-]") {
        let gateway = sign_in(1);
        let mut browser = Browser::new(&gateway);
        let mut state = browser.approved(LOOPBACK, NOW);
        let at = at.index(state.len());
        prop_assume!(state[at..=at] != *to);
        state.replace_range(at..=at, &to);
        let back = browser.return_with(&state, "code=c", NOW);
        prop_assert_eq!(back.response.status(), StatusCode::BAD_REQUEST);
    }
}
