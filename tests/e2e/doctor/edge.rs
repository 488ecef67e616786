//! What the doctor says of certificates, and of what answers under the public URL.

use std::{fs::Permissions, os::unix::fs::PermissionsExt};

use mcp_gateway_emulator::entra::Platform;

use super::{Company, closed};
use crate::world::send;

#[tokio::test]
async fn a_certificate_for_another_name() {
    let company = Company::start_with(&["other.test"], |world| world).await;
    let found = company.look().await;
    assert!(!found.fine);
    let wrong = found.wrong().join("\n");
    assert!(
        wrong.contains("does not carry the name `localhost`"),
        "{wrong}"
    );
    assert!(
        wrong.contains("public URL: "),
        "clients see it, too: {wrong}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_trusts() {
    let company = Company::start(|world| world).await;
    let without = |text: String| {
        let kept = text.lines().filter(|line| !line.starts_with("egress:"));
        kept.collect::<Vec<_>>().join("\n")
    };
    let found = company.examined(without, 0).await;
    let wrong = found.wrong().join("\n");
    assert!(wrong.contains("certificates: "), "{wrong}");
    assert!(wrong.contains("nobody this machine trusts"), "{wrong}");
}

#[tokio::test]
async fn a_key_that_everyone_can_read() {
    let company = Company::start(|world| world).await;
    let text = company.world.configuration();
    let (_, key) = text.split_once("key: ").unwrap();
    let key = key.split([' ', '}']).next().unwrap();
    std::fs::set_permissions(key, Permissions::from_mode(0o644)).unwrap();
    company.look().await.names("permissions", "has mode 0644");
}

#[tokio::test]
async fn a_public_url_where_nobody_or_somebody_else_answers() {
    let url = |company: &Company, other: String| {
        let own = company.world.public_url().to_owned();
        move |text: String| {
            text.replace(
                &format!("public_url: {own}"),
                &format!("public_url: {other}"),
            )
        }
    };
    let company = Company::start(|world| world).await;
    let nobody = url(
        &company,
        format!("https://localhost:{}", closed().rsplit_once(':').unwrap().1),
    );
    let found = company.examined(nobody, 0).await;
    found.names("public URL", "is not answered");
    let other = url(&company, company.world.entra.authority());
    let found = company.examined(other, 0).await;
    let wrong = found.wrong().join("\n");
    assert!(
        wrong.contains("by something else than this gateway"),
        "{wrong}"
    );
}

#[tokio::test]
async fn metadata_of_another_public_url() {
    let company = Company::start(|world| world).await;
    let own = company.world.public_url().to_owned();
    let other = own.replace("localhost", "127.0.0.1");
    let found = company
        .examined(
            |text| {
                text.replace(
                    &format!("public_url: {own}"),
                    &format!("public_url: {other}"),
                )
            },
            0,
        )
        .await;
    let wrong = found.wrong().join("\n");
    assert!(wrong.contains("metadata: "), "{wrong}");
    assert!(
        wrong.contains(&format!(
            "names the issuer `{own}`, clients expect `{other}`"
        )),
        "{wrong}"
    );
}

#[tokio::test]
async fn what_entra_refused_while_the_gateway_ran() {
    let web = vec![(Platform::Web, "http://localhost:3118/callback".to_owned())];
    let company = Company::start(|world| world.entra(|entra| entra.redirects(web))).await;
    let form = [
        ("client_id", mcp_gateway_emulator::entra::CLIENT_ID),
        ("grant_type", "authorization_code"),
        ("code", "x"),
        ("redirect_uri", "http://localhost:3118/callback"),
        ("code_verifier", &"v".repeat(43)),
    ];
    let request = company
        .world
        .client()
        .request(reqwest::Method::POST, "/oauth2/token");
    assert_eq!(send(request.form(&form)).await.status, 401);
    let wrong = company.look().await.wrong().join("\n");
    assert!(
        wrong.contains("running: since it started Entra answered AADSTS7000218 1 times"),
        "{wrong}"
    );
}
