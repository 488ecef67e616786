//! What the doctor says of the workloads.

use mcp_gateway_emulator::toolhive::{self, Oidc};

use super::{Company, check, closed};
use crate::world::Builder;

#[tokio::test]
async fn a_workload_that_is_down_ill_or_none() {
    let nobody = closed();
    let company = Company::start(|world| world).await;
    let workload = &company.world.workloads[0];
    let down = |text: String| text.replace(&workload.address().to_string(), &nobody);
    let found = company.examined(down, 0).await;
    found.names("workloads", "nothing listens there");
    workload.fault(toolhive::Fault::Degraded);
    company.look().await.names("workloads", "says `degraded`");
    workload.heal();
    workload.fault(toolhive::Fault::ManagementHealth);
    company
        .look()
        .await
        .names("workloads", "is ToolHive's management API");
}

#[tokio::test]
async fn a_workload_that_takes_everyone() {
    let open = |world: Builder| world.workloads_without_oidc();
    check(open, ("workloads", "whoever reaches it may use it")).await;
}

#[tokio::test]
async fn a_workload_that_wants_a_token_and_gets_none() {
    let company = Company::start(|world| world).await;
    let none = |text: String| {
        text.replace(
            "upstream: github, ",
            "upstream: github, upstream_token: none, ",
        )
    };
    let found = company.examined(none, 0).await;
    found.names("workloads", "wants a token");
}

#[tokio::test]
async fn a_workload_that_trusts_another_tenant() {
    let other = |world: Builder| {
        world.workloads(|workload| {
            workload.oidc(Oidc {
                issuer: "https://login.microsoftonline.com/other/v2.0".to_owned(),
                audience: None,
                jwks_url: "http://127.0.0.1:1/keys".to_owned(),
                resource_url: None,
            })
        })
    };
    let expect = "trusts tokens of `https://login.microsoftonline.com/other/v2.0`";
    check(other, ("workloads", expect)).await;
}
