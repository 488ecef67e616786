//! What the doctor says of the way to Entra, and of the documents there.

use mcp_gateway_emulator::entra::{Endpoint, Fault};

use super::{Company, check_first, check_text, closed};

#[tokio::test]
async fn a_wrong_tenant() {
    let other = "11111111-2222-3333-4444-555555555555";
    let change = |text: String| text.replace(mcp_gateway_emulator::entra::TENANT, other);
    // The workload is told of the right one.
    check_first(change, ("discovery", "AADSTS90002")).await;
}

#[tokio::test]
async fn a_wrong_client_id() {
    let other = "11111111-2222-3333-4444-555555555555";
    let change = |text: String| text.replace(mcp_gateway_emulator::entra::CLIENT_ID, other);
    check_text(change, ("client", "AADSTS700016")).await;
}

#[tokio::test]
async fn a_wrong_cloud_with_another_issuer() {
    let company = Company::start(|world| {
        world.entra(|entra| entra.issuer_authority("https://login.microsoftonline.us"))
    })
    .await;
    company
        .look()
        .await
        .names_first("discovery", "tokens must name");
}

#[tokio::test]
async fn entra_that_cannot_be_reached() {
    let company = Company::start(|world| world).await;
    company.world.entra.stop().await;
    company.look().await.names("discovery", "is not answered");
}

#[tokio::test]
async fn a_page_of_a_proxy_in_the_place_of_the_documents() {
    let company = Company::start(|world| world).await;
    let entra = &company.world.entra;
    entra.fail_always(Endpoint::Discovery, Fault::NotJson);
    let found = company.look().await;
    found.names("discovery", "not answered with a discovery document");
    entra.heal();
    entra.fail_always(Endpoint::Keys, Fault::NotJson);
    company.look().await.names("keys", "is no key set");
}

#[tokio::test]
async fn a_name_that_nobody_knows() {
    let change = |text: String| {
        let authority = text.find("authority: \"").unwrap() + "authority: \"".len();
        let end = authority + text[authority..].find('"').unwrap();
        format!(
            "{}https://login.invalid{}",
            &text[..authority],
            &text[end..]
        )
    };
    check_first(change, ("dns", "`login.invalid`, cannot be looked up")).await;
}

#[tokio::test]
async fn an_egress_proxy_that_is_not_there() {
    let proxy = closed();
    let change = |text: String| {
        let authority = text.find("authority: \"").unwrap() + "authority: \"".len();
        let end = authority + text[authority..].find('"').unwrap();
        let text = format!("{}https://login.test{}", &text[..authority], &text[end..]);
        text.replace(
            "egress: {",
            &format!("egress: {{ https_proxy: \"http://{proxy}\","),
        )
    };
    check_first(change, ("egress proxy", "cannot be reached")).await;
}

#[tokio::test]
async fn a_clock_that_is_wrong() {
    let company = Company::start(|world| world).await;
    let found = company.examined(|text| text, 600).await;
    found.names("clock", "ahead of that of Entra");
    let found = company.examined(|text| text, -600).await;
    found.names("clock", "behind that of Entra");
}
