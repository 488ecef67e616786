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

#[test]
fn every_missing_variable_is_named_at_once() {
    let problems =
        config::parse("gateway.yaml", SHIPPED, &|_| None, &Catalog::builtin()).unwrap_err();
    insta::assert_snapshot!(problems.to_string());
}
