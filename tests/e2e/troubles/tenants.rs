//! Issuers that are not what a client was told, and documents that speak for another server.

use mcp_gateway_emulator::toolhive::Oidc;
use reqwest::Method;
use serde_json::json;

use super::signs_in;
use crate::{
    oauth::flow::Flow,
    world::{World, send},
};

/// Always: the metadata of a workload is not the gateway's, which describes the address that clients
/// know.
#[tokio::test]
async fn trouble_12_a_server_that_publishes_the_metadata_of_another_address() {
    let elsewhere = "https://mcp.dev.contoso.example/org";
    let world = World::builder()
        .workloads(move |workload| {
            workload.oidc(Oidc {
                issuer: "https://login.example/v2.0".to_owned(),
                audience: None,
                jwks_url: "http://127.0.0.1:9/keys".to_owned(),
                resource_url: Some(elsewhere.to_owned()),
            })
        })
        .workload("github")
        .route_with("/mcp", "upstream_token: none")
        .start()
        .await;
    let path = "/.well-known/oauth-protected-resource";
    let workload = format!("http://{}{path}", world.workloads[0].address());
    let theirs = send(world.client().elsewhere(Method::GET, &workload)).await;
    assert_eq!(theirs.json()["resource"], elsewhere);
    // A client that believes it asks Entra for a resource that belongs to no scope of its.
    let changes = [("resource", elsewhere)];
    let refused = Flow::straight(&world).code(&changes).await.unwrap_err();
    assert!(
        super::told(&refused).contains("AADSTS9010010"),
        "{refused:?}"
    );
    let ours = world.get(path).await.json();
    assert_eq!(
        ours["resource"],
        json!(format!("{}/mcp", world.public_url()))
    );
    Flow::through_gateway(&world).code(&changes).await.unwrap();
}

/// `tenant: organizations`, `tenants: […]`: the issuer that clients compare is the gateway's, and the
/// gateway compares Entra's tenant by tenant.
#[tokio::test]
async fn trouble_36_an_issuer_that_stands_for_every_tenant() {
    let world = World::builder()
        .identity(
            "authorization_server: { entra: { tenant: organizations, tenants: [{tenant}], \
             client_id: {client_id}, authority: '{authority}' } }",
        )
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let base = format!("{}/organizations/v2.0", world.entra.authority());
    let document = format!("{base}/.well-known/openid-configuration");
    let theirs = send(world.client().elsewhere(Method::GET, &document)).await;
    // A client that compares it with where it asked (RFC 8414 §3.3) gives up.
    let issuer = theirs.json()["issuer"].as_str().unwrap().to_owned();
    assert!(issuer.contains("{tenantid}") && issuer != base, "{issuer}");
    is_consistent(&world).await;
    signs_in(&world, &[]).await;
}

/// Always: nothing of the cloud's own metadata is passed on.
#[tokio::test]
async fn trouble_37_metadata_that_keeps_the_issuer_of_the_cloud() {
    let cloud = "https://login.partner.microsoftonline.cn";
    let world = World::builder()
        .entra(|entra| entra.issuer_authority(cloud))
        .identity(&format!(
            "authorization_server: {{ entra: {{ tenant: {{tenant}}, client_id: {{client_id}}, \
             authority: '{{authority}}', issuer: '{cloud}/{}/v2.0' }} }}",
            mcp_gateway_emulator::entra::TENANT
        ))
        .workload("github")
        .route("/mcp")
        .start()
        .await;
    let base = format!("{}/{}/v2.0", world.entra.authority(), world.entra.tenant());
    let document = format!("{base}/.well-known/openid-configuration");
    let theirs = send(world.client().elsewhere(Method::GET, &document)).await;
    // Passed on, this issuer is neither the gateway nor where the document was found.
    let issuer = theirs.json()["issuer"].as_str().unwrap().to_owned();
    assert!(issuer.starts_with(cloud), "{issuer}");
    is_consistent(&world).await;
    signs_in(&world, &[]).await;
}

/// Whether the gateway's documents name the gateway as issuer, byte for byte, wherever they stand.
async fn is_consistent(world: &World) {
    let resource = world.get("/.well-known/oauth-protected-resource/mcp").await;
    let server = resource.json()["authorization_servers"][0].clone();
    assert_eq!(server, world.public_url());
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
    ] {
        assert_eq!(world.get(path).await.json()["issuer"], server, "{path}");
    }
}
