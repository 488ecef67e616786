//! What each provider's section becomes, one rule a case.

use super::*;

fn read(name: &str, yaml: &str) -> Result<Provider, Vec<String>> {
    let settings: Settings = serde_yaml::from_str(yaml).unwrap();
    settings.provider(name).map_err(|problems| {
        let shown = |problem: Problem| format!("{}: {}", problem.at, problem.what);
        problems.into_iter().map(shown).collect()
    })
}

fn steps(provider: &Provider, path: &str) -> String {
    let public = Origin::parse("https://mcp.test").unwrap();
    let protected = [Protected {
        path: "/mcp".to_owned(),
        name: None,
    }];
    let routes = provider.routes(&public, &protected);
    let route = routes.iter().find(|route| route.path == path).unwrap();
    serde_yaml::to_string(&route.filters).unwrap()
}

/// The section as short as it can be, and where that leads.
fn check(name: &str, yaml: &str, expect: [&str; 4]) -> Provider {
    let provider = read(name, yaml).unwrap();
    let Endpoints {
        issuer,
        authorize,
        token,
        jwks,
    } = &provider.endpoints;
    assert_eq!([&**issuer, authorize, token, jwks], expect);
    provider
}

fn check_refused(name: &str, yaml: &str, expect: &[&str]) {
    assert_eq!(read(name, yaml).unwrap_err(), expect, "{name}: {yaml}");
}

#[test]
fn okta_needs_an_authorization_server_with_an_audience() {
    let okta = check(
        "okta",
        "{client_id: c, issuer: 'https://acme.okta.com/oauth2/default/', audience: 'api://default'}",
        [
            "https://acme.okta.com/oauth2/default",
            "https://acme.okta.com/oauth2/default/v1/authorize",
            "https://acme.okta.com/oauth2/default/v1/token",
            "https://acme.okta.com/oauth2/default/v1/keys",
        ],
    );
    assert_eq!(okta.audiences, ["api://default"]);
    check_refused(
        "okta",
        "{client_id: c, issuer: 'https://acme.okta.com/oauth2/default'}",
        &[": missing key `audience`"],
    );
}

#[test]
fn auth0_is_told_the_audience_and_ends_its_issuer_in_a_slash() {
    let auth0 = check(
        "auth0",
        "{client_id: c, issuer: 'https://acme.eu.auth0.com', audience: 'https://mcp.test'}",
        [
            "https://acme.eu.auth0.com/",
            "https://acme.eu.auth0.com/authorize",
            "https://acme.eu.auth0.com/oauth/token",
            "https://acme.eu.auth0.com/.well-known/jwks.json",
        ],
    );
    assert!(steps(&auth0, "/authorize").contains("audience: https://mcp.test"));
    let with_id_token = "{client_id: c, issuer: 'https://a.test', bearer: id_token}";
    let auth0 = read("auth0", with_id_token).unwrap();
    assert_eq!(auth0.audiences, ["c"]);
    assert!(!steps(&auth0, "/authorize").contains("set_query"));
}

#[test]
fn keycloak_tells_access_tokens_from_id_tokens() {
    let keycloak = check(
        "keycloak",
        "{client_id: c, issuer: 'https://id.test/realms/acme'}",
        [
            "https://id.test/realms/acme",
            "https://id.test/realms/acme/protocol/openid-connect/auth",
            "https://id.test/realms/acme/protocol/openid-connect/token",
            "https://id.test/realms/acme/protocol/openid-connect/certs",
        ],
    );
    assert_eq!(keycloak.claims["typ"], "Bearer");
    assert_eq!(keycloak.audiences, ["c"]);
}

#[test]
fn google_swaps_the_token_and_asks_for_a_refresh_token() {
    let google = check(
        "google",
        "{client_id: c.apps.googleusercontent.com}",
        [
            "https://accounts.google.com",
            "https://accounts.google.com/o/oauth2/v2/auth",
            "https://oauth2.googleapis.com/token",
            "https://www.googleapis.com/oauth2/v3/certs",
        ],
    );
    let authorize = steps(&google, "/oauth2/authorize");
    for part in ["access_type: offline", "prompt: consent", "others: drop"] {
        assert!(authorize.contains(part), "{authorize}");
    }
    let token = steps(&google, "/oauth2/token");
    assert!(token.contains("- swap_token:"), "{token}");
    assert!(token.contains("- scope\n"), "{token}");
    check_refused(
        "google",
        "{client_id: c, bearer: access_token, audience: x, scopes: [openid, offline_access]}",
        &[
            "audience: `google` has no `audience`",
            "bearer: the access tokens of google are not JWTs",
            "scopes[1]: google refuses the scope `offline_access`",
        ],
    );
}

#[test]
fn cognito_says_for_which_client_a_token_is() {
    let pool = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x";
    let cognito = check(
        "cognito",
        &format!("{{client_id: c, issuer: '{pool}', domain: 'https://acme.test'}}"),
        [
            pool,
            "https://acme.test/oauth2/authorize",
            "https://acme.test/oauth2/token",
            &format!("{pool}/.well-known/jwks.json"),
        ],
    );
    assert_eq!(cognito.audience_claim, "client_id");
    assert_eq!(cognito.claims["token_use"], "access");
    let with_id_token =
        format!("{{client_id: c, issuer: '{pool}', domain: 'https://a.test', bearer: id_token}}");
    let cognito = read("cognito", &with_id_token).unwrap();
    assert_eq!(cognito.audience_claim, "aud");
    assert_eq!(cognito.claims["token_use"], "id");
    let without = format!("{{client_id: c, issuer: '{pool}'}}");
    check_refused("cognito", &without, &[": missing key `domain`"]);
}

#[test]
fn ping_has_two_products() {
    check(
        "ping",
        "{client_id: c, issuer: 'https://auth.pingone.eu/env/as', audience: a}",
        [
            "https://auth.pingone.eu/env/as",
            "https://auth.pingone.eu/env/as/authorize",
            "https://auth.pingone.eu/env/as/token",
            "https://auth.pingone.eu/env/as/jwks",
        ],
    );
    check(
        "ping",
        "{client_id: c, issuer: 'https://sso.test:9031', audience: a}",
        [
            "https://sso.test:9031",
            "https://sso.test:9031/as/authorization.oauth2",
            "https://sso.test:9031/as/token.oauth2",
            "https://sso.test:9031/pf/JWKS",
        ],
    );
}

#[test]
fn any_other_provider_is_described_in_full() {
    let oidc = check(
        "oidc",
        "{client_id: c, issuer: 'https://id.test/', audience: a, audience_claim: azp, \
          claims: {typ: Bearer}, parameters: {acr_values: mfa}, \
          authorization_endpoint: 'https://id.test/a', token_endpoint: 'https://id.test/t', \
          jwks_uri: 'https://id.test/k'}",
        [
            "https://id.test/",
            "https://id.test/a",
            "https://id.test/t",
            "https://id.test/k",
        ],
    );
    assert_eq!(oidc.audience_claim, "azp");
    assert!(steps(&oidc, "/authorize").contains("acr_values: mfa"));
    check_refused(
        "oidc",
        "{client_id: '', issuer: 'https://id.test'}",
        &[
            "client_id: expected a value, found nothing",
            ": missing key `authorization_endpoint`",
            ": missing key `token_endpoint`",
            ": missing key `jwks_uri`",
            ": missing key `audience`",
        ],
    );
    check_refused(
        "okta",
        "{client_id: c, issuer: 'http://id.test', audience: a, audience_claim: azp, \
          claims: {a: b}, domain: 'https://x.test'}",
        &[
            "domain: `okta` has no `domain`",
            "audience_claim: `okta` has no `audience_claim`",
            "claims: `okta` has no `claims`",
            "issuer: plain `http://` is accepted for loopback hosts only, expected `https://`, \
             found `http://id.test`",
        ],
    );
}

#[test]
fn no_token_of_a_provider_leaves_unswapped_where_the_id_token_is_the_bearer() {
    for table in TABLES {
        let yaml = "{client_id: c, issuer: 'https://id.test', bearer: id_token, \
             authorization_endpoint: 'https://id.test/a', token_endpoint: 'https://id.test/t', \
             jwks_uri: 'https://id.test/k'}";
        let mut settings: Settings = serde_yaml::from_str(yaml).unwrap();
        settings.domain = table
            .domain
            .then(|| Origin::parse("https://d.test").unwrap());
        let provider = settings.provider(table.name).unwrap();
        for path in ["/oauth2/token", "/token"] {
            let steps = steps(&provider, path);
            assert!(steps.contains("- swap_token:"), "{}: {steps}", table.name);
        }
        assert!(steps(&provider, "/authorize").contains("- check_authorize:"));
        assert_eq!(provider.audiences, ["c"]);
    }
}
