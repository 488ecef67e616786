//! The shipped configuration, and what operators read when theirs is broken.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail their test")]

use std::{fs, path::Path};

use mcp_gateway::{
    cli::{check, explain},
    config::{self, Loaded, Problems, Step},
};
use mcp_gateway_filters::{Catalog, Problem};
use proptest::prelude::*;

const SHIPPED: &str = include_str!("../gateway.yaml");
const API: &str = "22222222-86f1-41af-91ab-2d7cd011db47";
const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// Reads a configuration in which the variables of the shipped one are set.
fn read(text: &str) -> Result<Loaded, Problems> {
    let env = |name: &str| match name {
        "GATEWAY_DOMAIN" => Some("mcp.example.com".to_owned()),
        // Certificates are only opened here, so any file will do.
        "TLS_CERT_PATH" | "TLS_KEY_PATH" => Some(file!().to_owned()),
        "ENTRA_TENANT_ID" | "ENTRA_CLIENT_ID" => Some(ID.to_owned()),
        "HTTPS_PROXY" => Some(String::new()),
        "CLIENT_SECRET" => Some("secret".to_owned()),
        _ => None,
    };
    config::parse("gateway.yaml", text, &env, &Catalog::builtin())
}

#[test]
fn the_shipped_configuration_is_valid() {
    let Loaded { gateway, .. } = read(SHIPPED).unwrap();
    assert_eq!(gateway.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(gateway.egress.https_proxy, "", "an empty variable is unset");
    let backends = gateway.upstreams.iter();
    let backends: Vec<_> = backends
        .map(|(name, upstream)| (name.as_str(), upstream.backends[0].address()))
        .collect();
    assert_eq!(
        backends,
        [
            ("github", "127.0.0.1:9100"),
            ("atlassian", "127.0.0.1:9101")
        ]
    );
    let identity = gateway.identity.unwrap();
    assert_eq!(
        identity.issuer,
        format!("https://login.microsoftonline.com/{ID}/v2.0")
    );
    assert_eq!(identity.audiences, [ID]);
    assert_eq!(identity.scopes, ["openid", "profile", "email"]);
}

#[test]
fn an_mcp_route_authenticates_before_it_proxies() {
    let Loaded { gateway, .. } = read(SHIPPED).unwrap();
    let routes = gateway.routes.iter();
    let mcp: Vec<_> = routes
        .filter(|route| matches!(route.path.as_str(), "/mcp" | "/mcp/atlassian"))
        .collect();
    assert_eq!(mcp.len(), 2);
    for route in mcp {
        let names: Vec<_> = route.steps.iter().map(Step::name).collect();
        assert_eq!(names, ["cors", "authenticate", "proxy"]);
        let [_, Step::Authenticate(gate), Step::Proxy(proxy)] = route.steps.as_slice() else {
            panic!("{:?}", route.steps);
        };
        assert_eq!(
            gate.resource_metadata,
            format!(
                "https://mcp.example.com/.well-known/oauth-protected-resource{}",
                route.path
            )
        );
        assert!(proxy.sessions);
        assert_eq!(proxy.path.as_deref(), Some("/mcp"));
    }
}

#[test]
fn metadata_that_nobody_publishes_is_worth_a_note() {
    let check = |route: &str, expect: bool| {
        let text = format!(
            "public_url: https://mcp.example.com
listeners: [{{ address: '127.0.0.1:8080' }}]
sessions: {{ state_directory: /tmp }}
identity:
  issuer: https://id.example.com
  audiences: [a]
  tenant: t
  jwks_uri: https://id.example.com/keys
  scopes: [openid]
upstreams: {{ github: {{ backends: ['127.0.0.1:9100'] }} }}
routes:
  - {{ path: /mcp, mcp: {{ upstream: github }} }}
{route}"
        );
        let notes = read(&text).unwrap().notes.to_string();
        let note = "are sent to `https://mcp.example.com/.well-known/oauth-protected-resource/mcp`";
        assert_eq!(notes.contains(note), expect, "{route}: {notes}");
    };
    check("", true);
    let respond = "filters: [{ respond: { status: 200 } }]";
    let path = "/.well-known/oauth-protected-resource";
    check(&format!("  - {{ path: {path}/mcp, {respond} }}"), false);
    check(&format!("  - {{ path: {path}/*, {respond} }}"), false);
    check(&format!("  - {{ path: {path}, {respond} }}"), true);
    assert!(
        !read(SHIPPED)
            .unwrap()
            .notes
            .to_string()
            .contains("are sent to")
    );
}

#[test]
fn the_management_api_is_off_in_the_shipped_configuration() {
    let Loaded { gateway, .. } = read(SHIPPED).unwrap();
    assert!(gateway.routes.iter().all(|route| route.prefix().is_none()));
}

/// Returns a configuration with every short form written out.
fn written_out(text: &str) -> String {
    serde_yaml::to_string(&read(text).unwrap().written_out).unwrap()
}

/// The shipped configuration with a relay, and a secret in any file.
fn relayed(more: &str) -> String {
    SHIPPED.replace(
        "bearer: id_token",
        &format!("bearer: id_token\n    authorize: relay{more}"),
    )
}

const CREDENTIALS: &str = "\n    credentials: { client_secret: { env: CLIENT_SECRET } }";

#[test]
fn a_relay_has_a_callback_and_the_secret_goes_with_what_it_opened() {
    let Loaded { gateway, notes, .. } = read(&relayed(CREDENTIALS)).unwrap();
    let steps = |path: &str| -> Vec<&str> {
        let route = gateway.routes.iter().find(|route| route.path == path);
        route.unwrap().steps.iter().map(Step::name).collect()
    };
    assert_eq!(steps("/oauth2/callback"), ["relay"]);
    assert_eq!(steps("/oauth2/consent"), ["relay"]);
    assert_eq!(steps("/register"), ["cors", "issue_client"]);
    let token = steps("/oauth2/token");
    let place = |name| token.iter().position(|step| *step == name).unwrap();
    assert!(place("resolve_client") < place("check_token_request"));
    assert!(place("check_token_request") < place("open_grant"));
    assert!(place("open_grant") < place("exchange"));
    assert!(notes.to_string().contains("platform `Web`"));
    let notes = read(&relayed("")).unwrap().notes.to_string();
    assert!(notes.contains("platform `Mobile and desktop applications`"));
}

#[test]
fn a_secret_without_a_relay_is_a_problem() {
    let check = |text: &str, says: &str| {
        let problems = read(text).unwrap_err().to_string();
        assert!(problems.contains(says), "{problems}");
    };
    let credentials = format!("bearer: id_token{CREDENTIALS}");
    check(
        &SHIPPED.replace("bearer: id_token", &credentials),
        "authorization_server.entra.credentials: a confidential client needs `authorize: relay`",
    );
    let route = |filters: &str| {
        let added = format!("\nroutes:\n  - {{ path: /x, filters: [{filters}] }}\n");
        SHIPPED.replace("\nroutes:\n", &added)
    };
    check(
        &route(
            "exchange: { url: 'https://a.test/', client_id: c, credentials: { client_secret: { env: CLIENT_SECRET } } }",
        ),
        "whoever steals a refresh token elsewhere redeems it here",
    );
    check(
        &route(
            "relay: { at: authorize, to: 'https://a.test/', callback: 'https://b.test/c', \
             consent: 'https://b.test/d', issuer: 'https://b.test' }",
        ),
        "no `check_authorize` stands before `relay`",
    );
}

#[test]
fn what_is_written_out_reads_back_as_the_same() {
    let api =
        "toolhive_api: { upstream: github, groups: [g], allow: [GET /api/v1beta/workloads/*] }";
    let with_bearer = |bearer: &str| {
        let settings = format!(
            "bearer: {bearer}\n    api: {{ application: {API}, identifier_uri: 'https://mcp.example.com/mcp', \
             scopes: [tools.execute] }}\n    prompt: {{ keep: [login, none] }}\n    step_up: {{ mfa: '{{\"a\":1}}' }}"
        );
        SHIPPED.replace("bearer: id_token", &settings)
    };
    for text in [
        SHIPPED.to_owned(),
        format!("{SHIPPED}\n{api}"),
        with_bearer("id_token"),
        with_bearer("access_token"),
        with_bearer("native"),
        relayed(CREDENTIALS),
    ] {
        let first = written_out(&text);
        assert_eq!(written_out(&first), first);
    }
}

#[test]
fn a_bearer_that_lacks_its_api_is_one_problem_with_the_way_to_it() {
    let problems = read(&SHIPPED.replace("bearer: id_token", "bearer: access_token"));
    let shown = problems.unwrap_err().to_string();
    assert_eq!(shown.matches("gateway.yaml:").count(), 1, "{shown}");
    assert!(
        shown.contains("authorization_server.entra.bearer: bearer `access_token` needs an `api`"),
        "{shown}"
    );
    for step in [
        "requestedAccessTokenVersion",
        "Expose an API",
        "admin consent",
    ] {
        assert!(shown.contains(step), "{shown}");
    }
}

#[test]
fn the_audience_of_tokens_follows_the_bearer() {
    let api =
        format!("bearer: access_token\n    api: {{ application: {API}, scopes: [tools.execute] }}");
    let Loaded { gateway, notes, .. } = read(&SHIPPED.replace("bearer: id_token", &api)).unwrap();
    let identity = gateway.identity.unwrap();
    assert_eq!(identity.audiences, [API]);
    assert_eq!(identity.scopes, ["tools.execute"]);
    let shown = notes.to_string();
    assert!(
        shown.contains(&format!("App ID URI `api://{API}`")),
        "{shown}"
    );
}

#[test]
fn every_provider_is_written_out_and_reads_back_as_the_same() {
    let issuer = "issuer: https://id.example.com, audience: https://mcp.example.com";
    let pool = "issuer: https://pool.example.com, domain: https://sign-in.example.com";
    let endpoints = "authorization_endpoint: https://id.example.com/a, token_endpoint: \
         https://id.example.com/t, jwks_uri: https://id.example.com/k";
    for (name, settings) in [
        ("okta", issuer.to_owned()),
        ("auth0", issuer.to_owned()),
        ("keycloak", issuer.to_owned()),
        ("google", String::new()),
        ("cognito", pool.to_owned()),
        ("ping", issuer.to_owned()),
        (
            "oidc",
            format!("{issuer}, {endpoints}, audience_claim: azp, claims: {{ typ: Bearer }}"),
        ),
    ] {
        let text = format!(
            "public_url: https://mcp.example.com
listeners: [{{ address: 127.0.0.1:8080 }}]
authorization_server: {{ {name}: {{ client_id: client, {settings} }} }}
upstreams: {{ github: {{ backends: ['127.0.0.1:9100'] }} }}
routes: [{{ path: /mcp, mcp: {{ upstream: github }} }}]
"
        );
        let first = written_out(&text);
        assert_eq!(written_out(&first), first, "{name}");
    }
}

#[test]
fn documents_behind_a_proxy_need_hosts_that_are_listed() {
    let noted = |documents: &str| {
        let text = format!(
            "public_url: https://mcp.example.com
listeners: [{{ address: 127.0.0.1:8080 }}]
egress: {{ https_proxy: 'http://proxy.example.com:3128' }}
authorization_server: {{ google: {{ client_id: c, client_id_metadata: {documents} }} }}
upstreams: {{ github: {{ backends: ['127.0.0.1:9100'] }} }}
routes: [{{ path: /mcp, mcp: {{ upstream: github }} }}]
"
        );
        let first = written_out(&text);
        assert_eq!(written_out(&first), first);
        let notes = read(&text).unwrap().notes;
        let path = "authorization_server.google.client_id_metadata";
        notes.list().iter().any(|note| note.path == path)
    };
    assert!(noted("true"));
    assert!(noted("{ networks: [10.0.0.0/8] }"));
    assert!(!noted("{ hosts: [claude.ai] }"));
    assert!(!noted("false"));
}

#[test]
fn every_short_form_is_written_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let text = "public_url: https://mcp.example.com
listeners: [{ address: 127.0.0.1:8080 }]
egress: { https_proxy: 'http://user:secret@proxy.example.com:3128' }
authorization_server:
  entra: { tenant: 72f988bf-86f1-41af-91ab-2d7cd011db47, client_id: 72f988bf-86f1-41af-91ab-2d7cd011db47 }
upstreams: { github: { backends: ['127.0.0.1:9100'] } }
routes:
  - { path: /mcp, mcp: { upstream: github, groups: [engineers], name: GitHub } }
  - path: /api/*
    methods: [GET]
    filters:
      - authenticate
      - set_headers: { request: { x-api-key: '${GATEWAY_DOMAIN}' } }
      - proxy: { upstream: github, upstream_token: none }
";
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("written-out", written_out(text)));
}

#[test]
fn notes_say_what_deserves_a_second_thought() {
    let Loaded { notes, .. } = read(SHIPPED).unwrap();
    let paths: Vec<_> = notes.list().iter().map(|note| note.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "sessions",
            "authorization_server.entra",
            "routes[0].mcp",
            "routes[1].mcp"
        ]
    );
}

#[test]
fn late_problems_are_shown_where_the_section_stands() {
    let Loaded { source, .. } = read(SHIPPED).unwrap();
    let problem = Problem::new(
        "tls.certificates[0].key",
        "does not belong to the certificate",
    );
    let shown = source.problems([("listeners[0]", problem)]).to_string();
    assert_eq!(
        shown,
        "gateway.yaml:20:16: listeners[0].tls.certificates[0].key: does not belong to the certificate\n"
    );
}

#[test]
fn session_keys_come_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let keys = |sources: &str| {
        let read = read(&format!("{SHIPPED}\nsessions: {{ keys: [{sources}] }}"));
        read.map(|loaded| loaded.gateway.sessions.keys.len())
            .map_err(|problems| problems.list()[0].what.clone())
    };
    let from_file = format!("{{ file: {} }}", file.display());
    assert_eq!(keys(&from_file), Ok(1));
    assert_eq!(
        keys(&format!("{from_file}, {from_file}")),
        Err("the same key stands here twice".to_owned())
    );
    assert_eq!(
        keys("{ env: SESSION_KEY }"),
        Err("variable `SESSION_KEY` is not set".to_owned())
    );
    let short = keys("{ env: GATEWAY_DOMAIN }").unwrap_err();
    assert!(!short.contains("mcp.example.com"), "{short}");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in "[-a-z:{}\\[\\]\"'$*&!#\n ]{0,80}") {
        let _ = read(&text);
    }

    #[test]
    fn no_change_of_the_shipped_file_makes_the_reader_panic(
        at in 0..SHIPPED.len(),
        insert in "[-a-z:{}\\[\\]\"'$*&!\n ]{0,4}",
    ) {
        let mut text = SHIPPED.to_owned();
        if text.is_char_boundary(at) {
            text.insert_str(at, &insert);
            let _ = read(&text);
        }
    }
}

/// Compares all that is said about `tests/config/NAME.yaml` with `tests/config/NAME.snap`.
fn check_broken(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let problems = read(&text).map(|loaded| loaded.gateway).unwrap_err();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, problems.to_string()));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    check_broken("broken");
}

#[test]
fn a_file_that_is_no_yaml_is_refused() {
    check_broken("not-yaml");
    check_broken("twice");
}

#[test]
fn empty_sections_are_at_their_defaults_where_they_have_some() {
    check_broken("empty-sections");
}

#[test]
fn nobody_is_let_in_without_an_authorization_server() {
    check_broken("no-server");
}

#[test]
fn a_protected_route_has_metadata_with_a_path() {
    check_broken("only-everything");
}

#[test]
fn problems_of_a_profile_are_shown_where_its_settings_stand() {
    check_broken("profile");
    check_broken("provider");
    check_broken("providers");
    check_broken("documents");
}

#[test]
fn every_missing_variable_is_named_at_once() {
    let problems =
        config::parse("gateway.yaml", SHIPPED, &|_| None, &Catalog::builtin()).unwrap_err();
    let named: Vec<_> = problems
        .list()
        .iter()
        .map(|problem| problem.what.as_str())
        .collect();
    assert_eq!(
        named,
        [
            "variable `GATEWAY_DOMAIN` is not set",
            "variable `TLS_CERT_PATH` is not set",
            "variable `TLS_KEY_PATH` is not set",
            "variable `ENTRA_TENANT_ID` is not set",
            "variable `ENTRA_CLIENT_ID` is not set",
        ]
    );
}

/// Writes a configuration that names no file and no variable.
fn small() -> tempfile::TempPath {
    let text = format!(
        "public_url: https://mcp.example.com
listeners: [{{ address: 127.0.0.1:8080 }}]
authorization_server: {{ entra: {{ tenant: {ID}, client_id: {ID} }} }}
upstreams:
  github: {{ backends: ['127.0.0.1:9100', '127.0.0.1:9200'] }}
  toolhive: {{ backends: ['127.0.0.1:8080'] }}
routes: [{{ path: /mcp, mcp: {{ upstream: github }} }}]
toolhive_api: {{ upstream: toolhive, groups: [ops], allow: [GET /api/v1beta/workloads] }}
"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file.into_temp_path()
}

fn check_explained(method: &str, url: &str, expect: bool, lines: &[&str]) {
    let (mut out, mut err) = (vec![], vec![]);
    let request = (&method.parse().unwrap(), &url.parse().unwrap());
    let answered = explain::request(
        &small(),
        &|_| None,
        &Catalog::builtin(),
        request,
        &mut out,
        &mut err,
    );
    let out = String::from_utf8(out).unwrap();
    assert_eq!(answered.unwrap(), expect, "{out}");
    for line in lines {
        assert!(out.lines().any(|one| one == *line), "{line}\n in:\n{out}");
    }
    assert!(err.is_empty());
}

#[test]
fn a_request_is_explained() {
    let callers = format!("  callers   users of tenant {ID} with a token for {ID}");
    check_explained(
        "POST",
        "https://mcp.example.com/mcp?secret=1",
        true,
        &[
            "POST /mcp",
            "  route     /mcp",
            &callers,
            "  upstream  github (127.0.0.1:9100, 127.0.0.1:9200) as /mcp, with the caller's token, sessions stay on their backend",
        ],
    );
    check_explained(
        "GET",
        "/api/v1beta/workloads",
        true,
        &[
            &format!("{callers}, in one of the groups ops"),
            "  upstream  toolhive (127.0.0.1:8080) with the path as it came, without a token",
        ],
    );
}

#[test]
fn a_request_that_is_refused_is_explained_too() {
    let not_listed = "  answer    403: not in the route's list of what may be asked for";
    check_explained("DELETE", "/api/v1beta/workloads/x", false, &[not_listed]);
    let wrong_method = "  answer    405: the route takes GET, POST, DELETE, OPTIONS";
    check_explained("PUT", "/mcp", false, &[wrong_method]);
}

#[test]
fn everyone_reaches_the_metadata() {
    check_explained(
        "GET",
        "/.well-known/oauth-authorization-server",
        true,
        &["  callers   everyone, without a token"],
    );
}

#[test]
fn check_says_how_it_went() {
    let run = |file: &Path| {
        let (mut out, mut err) = (vec![], vec![]);
        let valid = check::run(file, &|_| None, &Catalog::builtin(), 0, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (valid.unwrap(), text(out), text(err))
    };
    let file = small();
    let (valid, out, err) = run(&file);
    assert!(valid && err.is_empty(), "{err}");
    let verdict = format!(
        "{} is valid: 1 listener, 2 upstreams, 17 routes",
        file.display()
    );
    assert_eq!(out.lines().last(), Some(verdict.as_str()));
    assert!(out.contains("note: routes[0].mcp:"), "{out}");

    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("upstream: github", "upstream: githb")).unwrap();
    let (valid, out, err) = run(&file);
    assert!(!valid && out.is_empty(), "{out}");
    assert!(err.contains(":7:"), "{err}");
    assert!(err.ends_with("1 problem found\n"), "{err}");

    let (valid, _, err) = run(Path::new("/nowhere/gateway.yaml"));
    assert!(!valid);
    assert!(err.contains("cannot be read: No such file"), "{err}");
}
