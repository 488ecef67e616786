//! The shipped configuration, and what operators read when theirs is broken.

use std::{fs, path::Path};

use mcp_gateway::config::{self, Loaded, Problems, Step};
use mcp_gateway_filters::Catalog;

const SHIPPED: &str = include_str!("../gateway.yaml");
const ID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";

/// Reads a configuration in which the variables of the shipped one are set.
fn read(text: &str) -> Result<Loaded, Problems> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tls.pem");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap().to_owned();
    let env = move |name: &str| match name {
        "GATEWAY_DOMAIN" => Some("mcp.example.com".to_owned()),
        "TLS_CERT_PATH" | "TLS_KEY_PATH" => Some(file.clone()),
        "ENTRA_TENANT_ID" | "ENTRA_CLIENT_ID" => Some(ID.to_owned()),
        "HTTPS_PROXY" => Some(String::new()),
        _ => None,
    };
    config::parse("gateway.yaml", text, &env, &Catalog::builtin())
}

#[test]
fn the_shipped_configuration_is_valid() {
    let loaded = read(SHIPPED).unwrap();
    let gateway = loaded.gateway;
    println!("{}", loaded.notes);
    assert_eq!(gateway.public_url.as_str(), "https://mcp.example.com");
    assert_eq!(gateway.egress.https_proxy, "");
    let backends: Vec<_> = gateway
        .upstreams
        .iter()
        .map(|(name, upstream)| (name.as_str(), upstream.backends[0].address()))
        .collect();
    assert_eq!(
        backends,
        [
            ("github", "127.0.0.1:9100"),
            ("atlassian", "127.0.0.1:9101")
        ]
    );
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
fn problems_of_a_profile_are_shown_where_its_settings_stand() {
    check_broken("profile");
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
