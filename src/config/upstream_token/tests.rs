//! What is completed, what is refused, and that `explain` reads back.

use mcp_gateway_filters::Catalog;

use crate::config::{self, Loaded, Problems, Step, TokenSource, UpstreamToken};

const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const API: &str = "11111111-86f1-41af-91ab-2d7cd011db47";
const SECRET: &str = "{ client_secret: { env: SECRET } }";

fn read_whole(text: &str) -> Result<Loaded, Problems> {
    let env = |name: &str| (name == "SECRET").then(|| "hush".to_owned());
    config::parse("gateway.yaml", text, &env, &Catalog::builtin())
}

fn read(entra: &str, token: &str) -> Result<Loaded, Problems> {
    read_whole(&format!(
        "public_url: http://localhost
listeners: [{{ address: 127.0.0.1:0 }}]
authorization_server: {{ entra: {{ tenant: {ID}, client_id: {ID}, {entra} }} }}
upstreams: {{ github: {{ backends: ['127.0.0.1:9100'] }} }}
routes: [{{ path: /mcp, mcp: {{ upstream: github, upstream_token: {token} }} }}]
"
    ))
}

/// Reads a configuration, and it again as `explain` prints it; both mean the same.
fn token(entra: &str, token: &str) -> (UpstreamToken, TokenSource) {
    let loaded = read(entra, token).unwrap_or_else(|problems| panic!("{problems}"));
    let of = |loaded: &Loaded| {
        let route = loaded.gateway.routes.iter().find(|one| one.path == "/mcp");
        let proxy = route.unwrap().steps.iter().find_map(|step| match step {
            Step::Proxy(proxy) => Some((proxy.upstream_token.clone(), proxy.token.clone())),
            _ => None,
        });
        proxy.unwrap()
    };
    let written = config::expanded::to_yaml(&loaded.written_out);
    assert!(!written.contains("hush"), "{written}");
    let again = read_whole(&written).unwrap_or_else(|problems| panic!("{problems}\n{written}"));
    assert_eq!(config::expanded::to_yaml(&again.written_out), written);
    assert_eq!(of(&again), of(&loaded));
    assert_eq!(again.gateway.identity, loaded.gateway.identity);
    assert_eq!(again.gateway.directory, loaded.gateway.directory);
    of(&loaded)
}

fn check(entra: &str, token: &str, path: &str, what: &str) {
    let problems = read(entra, token).map(drop).unwrap_err();
    let found = problems
        .list()
        .iter()
        .any(|one| one.path == path && one.what.contains(what));
    assert!(found && problems.list().len() == 1, "{problems}");
    assert!(!problems.to_string().contains("hush"));
}

const TOKEN: &str = "routes[0].mcp.upstream_token";
const ACCESS: &str = "bearer: access_token, api: { scopes: [tools.execute] }";

fn access(more: &str) -> String {
    format!("{ACCESS}, {more}")
}

fn obo(more: &str) -> String {
    format!("{{ on_behalf_of: {{ scopes: [x/.default]{more} }} }}")
}

#[test]
fn plain_words_stay_what_they_are() {
    assert_eq!(token("", "caller").1, TokenSource::Caller);
    assert_eq!(token("", "none").1, TokenSource::None);
}

#[test]
fn a_static_secret_is_a_bearer_unless_a_header_is_named() {
    let field = |text: &str| match token("", text).1 {
        TokenSource::Static(field) => (field.0.to_string(), field.1.reveal().clone()),
        other => panic!("{other:?}"),
    };
    let plain = field("{ static: { secret: { env: SECRET } } }");
    assert_eq!(
        plain,
        ("authorization".to_owned(), "Bearer hush".parse().unwrap())
    );
    let named = field("{ static: { header: X-Api-Key, secret: { env: SECRET } } }");
    assert_eq!(named, ("x-api-key".to_owned(), "hush".parse().unwrap()));
    for header in [
        "Host",
        "Mcp-Session-Id",
        "X-Forwarded-For",
        "Content-Length",
    ] {
        let text = format!("{{ static: {{ header: {header}, secret: {{ env: SECRET }} }} }}");
        check(
            "",
            &text,
            &format!("{TOKEN}.static.header"),
            "the gateway's to set",
        );
    }
    let text = "{ static: { secret: { env: OTHER } } }";
    check(
        "",
        text,
        &format!("{TOKEN}.static.secret.env"),
        "`OTHER` is not set",
    );
    let (written, source) = token("", "{ static: { secret: { env: SECRET } } }");
    assert!(!format!("{written:?}{source:?}").contains("hush"));
}

#[test]
fn on_behalf_of_is_completed_by_the_profile() {
    let (written, source) = token(&access(&format!("credentials: {SECRET}")), &obo(""));
    let TokenSource::Delegated(config) = source else {
        panic!("{source:?}");
    };
    assert_eq!(config.client_id.as_deref(), Some(ID));
    let url = format!("https://login.microsoftonline.com/{ID}/oauth2/v2.0/token");
    assert_eq!(config.url, url);
    assert!(config.credentials.is_some());
    let UpstreamToken::OnBehalfOf(settings) = written else {
        panic!("{written:?}");
    };
    assert_eq!(settings.client.url, Some(url));
}

#[test]
fn an_api_of_its_own_needs_credentials_of_its_own() {
    let entra = format!(
        "bearer: access_token, api: {{ application: {API}, identifier_uri: 'api://{API}', scopes: [x] }}, credentials: {SECRET}"
    );
    let at = format!("{TOKEN}.on_behalf_of");
    check(&entra, &obo(""), &at, "proves who it is");
    let (_, source) = token(&entra, &obo(&format!(", credentials: {SECRET}")));
    let TokenSource::Delegated(config) = source else {
        panic!("{source:?}");
    };
    assert_eq!(config.client_id.as_deref(), Some(API));
}

#[test]
fn on_behalf_of_needs_access_tokens_and_a_proof() {
    let at = format!("{TOKEN}.on_behalf_of");
    let secret = format!("credentials: {SECRET}");
    check(&secret, &obo(""), &at, "AADSTS240002");
    check(ACCESS, &obo(""), &at, "proves who it is");
    let none = "{ on_behalf_of: { scopes: [] } }";
    check(
        &access(&secret),
        none,
        &format!("{at}.scopes"),
        "found none",
    );
}

#[test]
fn broken_credentials_are_named_once() {
    let missing = "credentials: { client_secret: { env: OTHER } }";
    let at = "authorization_server.entra.credentials.client_secret.env";
    check(&access(missing), &obo(""), at, "not set");
}

#[test]
fn an_exchange_says_what_kind_of_token_the_callers_is() {
    let kind = |entra: &str| {
        let text = "{ exchange: { url: 'https://sts.test/token', audience: x } }";
        let TokenSource::Delegated(config) = token(entra, text).1 else {
            panic!();
        };
        match config.grant {
            crate::delegation::Grant::Exchange(exchange) => exchange.subject_token_type,
            other @ crate::delegation::Grant::OnBehalfOf { .. } => panic!("{other:?}"),
        }
    };
    assert_eq!(kind(""), "urn:ietf:params:oauth:token-type:id_token");
    assert_eq!(
        kind(ACCESS),
        "urn:ietf:params:oauth:token-type:access_token"
    );
    let at = format!("{TOKEN}.exchange");
    let plain = "{ exchange: { url: 'http://sts.test/token' } }";
    check("", plain, &format!("{at}.url"), "https");
    let nobody = format!("{{ exchange: {{ url: 'https://sts.test/t', credentials: {SECRET} }} }}");
    check("", &nobody, &at, "`client_id`");
}

#[test]
fn groups_are_completed_by_the_profile() {
    let asked = |entra: &str| {
        let loaded = read(entra, "none").unwrap_or_else(|problems| panic!("{problems}"));
        token(entra, "none");
        loaded.gateway.directory
    };
    assert_eq!(asked(""), None);
    assert_eq!(asked("groups: { overage: unresolved }"), None);
    let config = asked(&format!(
        "credentials: {SECRET}, groups: {{ overage: graph }}"
    ))
    .unwrap();
    assert_eq!(config.graph, "https://graph.microsoft.com");
    assert_eq!(config.client_id, ID);
    let at = "authorization_server.entra.groups";
    check("groups: { overage: graph }", "none", at, "proves who it is");
    let own = format!("credentials: {SECRET}, groups: {{ overage: on_behalf_of }}");
    check(&own, "none", &format!("{at}.overage"), "AADSTS240002");
    check(
        "groups: { overage: none }",
        "none",
        &format!("{at}.overage"),
        "unknown value",
    );
}

#[test]
fn what_does_not_go_together_is_said_where_it_stands() {
    let at = "authorization_server.entra";
    check(
        "cloud: china, authority: 'https://login.contoso.com'",
        "none",
        &format!("{at}.cloud"),
        "both",
    );
    check(
        &format!("tenants: [{API}]"),
        "none",
        &format!("{at}.tenants"),
        "single",
    );
    let both = "credentials: { client_secret: { env: SECRET }, certificate: /c }";
    check(both, "none", &format!("{at}.credentials"), "found both");
    let none = "credentials: { certificate: /nowhere, key: { env: SECRET } }";
    let problems = read(none, "none").map(drop).unwrap_err().to_string();
    assert!(
        problems.contains("credentials.certificate: `/nowhere` cannot be read"),
        "{problems}"
    );
    assert!(
        problems.contains("credentials.key: there is no private key"),
        "{problems}"
    );
}

#[test]
fn every_key_of_a_token_endpoint_is_known_wherever_it_stands() {
    let client = format!("url: 'https://sts.test/t', client_id: c, credentials: {SECRET}");
    token(ACCESS, &obo(&format!(", {client}")));
    let exchange =
        "audience: a, resource: r, scopes: [s], subject_token_type: t, requested_token_type: q";
    token("", &format!("{{ exchange: {{ {exchange}, {client} }} }}"));
    let groups = "overage: graph, graph: 'https://graph.test'";
    token(&format!("groups: {{ {groups}, {client} }}"), "none");
}

#[test]
fn a_mistake_at_a_token_endpoint_is_named_where_it_stands() {
    let at = |entra: &str, token: &str, path: &str, what: &str, help: &str| {
        check(entra, token, path, what);
        let problems = read(entra, token).map(drop).unwrap_err();
        let found = problems.list()[0].help.clone().unwrap_or_default();
        assert!(found.contains(help), "{problems}");
    };
    let places = [
        ("on_behalf_of", "{ on_behalf_of: { scopes: [x], "),
        ("exchange", "{ exchange: { url: 'https://sts.test/t', "),
    ];
    for (name, open) in places {
        let (base, token) = (format!("{TOKEN}.{name}"), |rest| {
            format!("{open}{rest} }} }}")
        });
        let typo = "unknown key `client_ids`";
        at(
            ACCESS,
            &token("client_ids: c"),
            &base,
            typo,
            "did you mean `client_id`",
        );
        let id = format!("{base}.client_id");
        at(ACCESS, &token("client_id: []"), &id, "expected a text", "");
    }
    let base = "authorization_server.entra.groups";
    at(
        "groups: { urls: u }",
        "none",
        base,
        "unknown key `urls`",
        "did you mean `url`",
    );
    let (id, list) = (format!("{base}.client_id"), "groups: { client_id: [] }");
    at(list, "none", &id, "expected a text", "");
    let nothing = "{ exchange: { audience: a } }";
    at(
        "",
        nothing,
        &format!("{TOKEN}.exchange"),
        "missing key `url`",
        "",
    );
}
