use super::*;

const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const API: &str = "22222222-86f1-41af-91ab-2d7cd011db47";

fn settings(more: &str) -> Settings {
    serde_yaml::from_str(&format!("tenant: {ID}\nclient_id: {ID}\n{more}")).unwrap()
}

/// The same with the usual API.
fn with_api(bearer: &str, more: &str) -> Settings {
    let api = format!("application: {API}, scopes: [tools.execute, tools.read]{more}");
    settings(&format!("bearer: {bearer}\napi: {{ {api} }}"))
}

fn names(steps: &[Step]) -> Vec<&str> {
    steps.iter().map(|step| step.name.as_str()).collect()
}

fn written(steps: &[Step], name: &str) -> String {
    let step = steps.iter().find(|step| step.name == name).unwrap();
    serde_yaml::to_string(step).unwrap()
}

fn check_problem(more: &str, at: &str, expect: &str) {
    let problems = settings(more).bearer_problems(None);
    let found = problems
        .iter()
        .any(|one| one.at == at && one.what.contains(expect));
    assert!(found, "{more}: {problems:?}");
}

fn check_refused(more: &str, expect: &str) {
    let read: Result<Settings, _> =
        serde_yaml::from_str(&format!("tenant: {ID}\nclient_id: {ID}\n{more}"));
    let text = read.unwrap_err().to_string();
    assert!(text.contains(expect), "{text}");
}

#[test]
fn each_bearer_has_its_audience() {
    assert_eq!(settings("").audiences(), [ID]);
    let uri = ", identifier_uri: https://gw.test/mcp";
    for bearer in ["access_token", "native"] {
        assert_eq!(with_api(bearer, uri).audiences(), [API]);
    }
    let own = "bearer: access_token\napi: { scopes: [x] }";
    assert_eq!(settings(own).audiences(), [ID]);
    let v1 = format!("{own}\nv1_tokens: true");
    assert_eq!(
        settings(&v1).audiences(),
        [ID.to_owned(), format!("api://{ID}")]
    );
}

#[test]
fn only_access_tokens_are_asked_for_their_scopes() {
    assert!(settings("").token_scopes().is_empty());
    let api = with_api("native", ", identifier_uri: https://gw.test/mcp");
    assert_eq!(api.token_scopes(), ["tools.execute", "tools.read"]);
    assert!(with_api("id_token", "").token_scopes().is_empty());
}

#[test]
fn clients_see_short_names() {
    let all = ["openid", "profile", "email", "offline_access"];
    assert_eq!(settings("").published_scopes(), all);
    assert_eq!(settings("").challenge_scopes(), all[..3]);
    let api = with_api("access_token", "");
    assert_eq!(api.published_scopes(), ["tools.execute", "tools.read"]);
    assert_eq!(api.challenge_scopes(), ["tools.execute", "tools.read"]);
    let more = "bearer: access_token\napi: { scopes: [x] }\nscopes: [openid, offline_access]";
    assert_eq!(
        settings(more).published_scopes(),
        ["x", "openid", "offline_access"]
    );
    assert_eq!(settings(more).challenge_scopes(), ["x", "openid"]);
}

#[test]
fn without_new_settings_nothing_new_happens_to_a_request() {
    let id = settings("");
    assert_eq!(
        names(&id.authorization_steps()),
        ["strip_query", "repair_scope"]
    );
    assert_eq!(
        names(&id.token_request_steps()),
        ["strip_form", "repair_scope"]
    );
    assert_eq!(
        names(&id.token_answer_steps()),
        ["swap_token", "restart_sign_in"]
    );
    let scope = written(&id.authorization_steps(), "repair_scope");
    assert!(!scope.contains("others"), "{scope}");
    let strip = written(&id.authorization_steps(), "strip_query");
    assert!(
        strip.contains("resource") && strip.contains("prompt"),
        "{strip}"
    );
}

#[test]
fn access_tokens_are_asked_for_by_a_name_that_lives_through_a_refresh() {
    let prefix = |settings: &Settings| {
        let text = written(&settings.token_request_steps(), "repair_scope");
        let line = text.lines().find(|line| line.contains("prefix:")).unwrap();
        line.trim().trim_start_matches("prefix: ").to_owned()
    };
    let uri = ", identifier_uri: https://gw.test/mcp";
    assert_eq!(
        prefix(&with_api("access_token", uri)),
        "https://gw.test/mcp"
    );
    assert_eq!(prefix(&with_api("access_token", "")), API);
    let own = format!("bearer: native\napi: {{ scopes: [x]{uri} }}");
    assert_eq!(prefix(&settings(&own)), ID, "AADSTS90009");
}

#[test]
fn a_native_bearer_passes_the_resource_that_is_registered() {
    let native = with_api("native", ", identifier_uri: https://gw.test/mcp");
    let steps = native.authorization_steps();
    assert_eq!(
        names(&steps),
        [
            "strip_query",
            "map_resource",
            "scope_to_claims",
            "repair_scope"
        ]
    );
    assert!(!written(&steps, "strip_query").contains("resource"));
    assert!(written(&steps, "map_resource").contains("to: https://gw.test/mcp"));
    assert_eq!(
        names(&native.token_request_steps()),
        ["strip_form", "map_resource", "repair_scope"]
    );
    // A registration that asks for a token for itself may not name itself by a URI.
    let own = settings("bearer: native\napi: { scopes: [x], identifier_uri: 'api://x' }");
    assert_eq!(
        names(&own.token_request_steps()),
        ["strip_form", "repair_scope"]
    );
    assert!(written(&own.token_request_steps(), "strip_form").contains("resource"));
}

#[test]
fn prompts_are_kept_as_configured() {
    let kept = settings("prompt: { keep: [login, select_account] }").authorization_steps();
    assert_eq!(
        names(&kept),
        ["prompt_policy", "strip_query", "repair_scope"]
    );
    assert!(!written(&kept, "strip_query").contains("prompt"));
    check_problem(
        "prompt: { keep: [login] }\nstrip: [resource, prompt]",
        "strip[1]",
        "dropped here",
    );
    check_refused("prompt: { keep: [consent] }", "unknown variant `consent`");
}

#[test]
fn step_up_scopes_are_published_and_mean_claims() {
    let steps = settings("step_up: { mfa: '{\"id_token\":{}}' }").authorization_steps();
    assert_eq!(
        names(&steps),
        ["strip_query", "scope_to_claims", "repair_scope"]
    );
    check_problem(
        "step_up: { email: '{}' }",
        "step_up.email",
        "a scope already",
    );
}

#[test]
fn mistakes_are_named() {
    check_problem("bearer: access_token", "bearer", "needs an `api`");
    check_problem("bearer: native", "bearer", "`native` needs an `api`");
    check_problem("bearer: native\napi: { scopes: [x] }", "api", "App ID URI");
    check_problem(
        "bearer: access_token\napi: { scopes: [] }",
        "api.scopes",
        "at least one",
    );
    for scope in ["api://x/y", ".default", "openid", ""] {
        let text = format!("bearer: access_token\napi: {{ scopes: [x, '{scope}'] }}");
        check_problem(&text, "api.scopes[1]", "short name");
    }
    check_problem("scopes: [profile]", "scopes", "`openid`");
    check_problem(
        "bearer: access_token\napi: { scopes: [x] }\nscopes: [openid, User.Read]",
        "scopes[1]",
        "one API",
    );
    check_refused("bearer: graph", "unknown variant `graph`");
    for uri in [
        "https://gw.test/",
        "http://gw.test/mcp",
        "api:x",
        "https://gw.test/a?b",
    ] {
        check_refused(
            &format!("api: {{ scopes: [x], identifier_uri: '{uri}' }}"),
            "expected an App ID URI",
        );
    }
}

#[test]
fn each_bearer_says_which_registration_it_needs() {
    let notes = |settings: &Settings| format!("{:?}", settings.bearer_notes());
    assert!(notes(&settings("")).contains("one app registration is enough"));
    let api = notes(&with_api("access_token", ""));
    for part in [
        "requestedAccessTokenVersion",
        &format!("api://{API}"),
        "tools.execute, tools.read",
        "admin consent",
    ] {
        assert!(api.contains(part), "{api}");
    }
    let own = "bearer: access_token\napi: { scopes: [x] }";
    assert!(notes(&settings(own)).contains("one registration is client and API"));
    let unused = notes(&with_api("id_token", ""));
    assert!(unused.contains("not the bearer"), "{unused}");
}
