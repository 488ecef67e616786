//! Whom Graph is asked about, what is kept, and what a failure means.

use serde_json::{Value, json};

use super::*;
use crate::{
    egress::testing::{Act, Server, reply},
    oauth::CredentialSource,
    secret::{Secret, SecretSource},
};

const NOW: u64 = 1_800_000_000;
const TENANT: &str = "11111111-2222-3333-4444-555555555555";

fn answer(status: u16, body: &Value) -> Act {
    let json = "content-type: application/json\r\n";
    Act::Reply(reply(status, json, body.to_string().as_bytes()))
}

fn identity(object: &str, groups: Groups) -> Arc<Identity> {
    Arc::new(Identity {
        issuer: "https://i.test".to_owned(),
        subject: "s".to_owned(),
        tenant: Some(TENANT.to_owned()),
        object: Some(object.to_owned()),
        expires_at: NOW + 60,
        groups,
        roles: vec![],
        claims: serde_json::Map::new(),
    })
}

fn known(groups: &[&str]) -> Groups {
    let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
    Groups::Known(groups.into())
}

/// Answers token requests, and what is asked of Graph as `graph` says.
async fn world(
    asker: Asker,
    graph: impl Fn(usize, &str) -> Act + Send + Sync + 'static,
) -> (Directory, Server) {
    let server = Server::start(move |number, request| {
        let token = json!({"access_token": "app", "expires_in": 3600});
        if request.starts_with("POST /t/token ") {
            let obo = request.contains("assertion=theirs") && request.contains("on_behalf_of");
            let own = request.contains("grant_type=client_credentials");
            assert!(
                obo != own && request.contains("client_secret=hush"),
                "{request}"
            );
            return answer(200, &token);
        }
        assert!(
            request
                .to_lowercase()
                .contains("authorization: bearer app\r\n"),
            "{request}"
        );
        graph(number, request)
    })
    .await;
    let source = CredentialSource::ClientSecret(SecretSource::Env("S".to_owned()));
    let config = Config {
        asker,
        graph: server.url("/graph"),
        url: server.url("/t/token"),
        client_id: "c1".to_owned(),
        credentials: ClientCredentials::load(source, Secret::new("hush".to_owned())).unwrap(),
    };
    let egress = Arc::new(Egress::build(&crate::egress::Config::default()).unwrap());
    let built = Directory::build(&config, &[TENANT.to_owned()], &egress, &Metrics::new());
    (built.unwrap(), server)
}

async fn groups(directory: &Directory, object: &str, now: u64) -> Result<Groups, Unknown> {
    let identity = identity(object, Groups::Unresolved);
    let resolved = directory.resolve(&identity, "theirs", now).await?;
    Ok(resolved.groups.clone())
}

#[tokio::test]
async fn the_application_asks_about_the_user_of_the_token() {
    let (directory, server) = world(Asker::Application, |_, request| {
        let path = "POST /graph/v1.0/users/aa-01/getMemberObjects HTTP/1.1\r\n";
        assert!(request.starts_with(path), "{request}");
        assert!(
            request.ends_with("{\"securityEnabledOnly\":true}"),
            "{request}"
        );
        answer(200, &json!({"value": ["g1", "g2"]}))
    })
    .await;
    for later in [0, 1, FRESH - 1] {
        assert_eq!(
            groups(&directory, "aa-01", NOW + later).await,
            Ok(known(&["g1", "g2"]))
        );
    }
    assert_eq!(server.requests(), 2, "a token and a lookup, then memory");
    groups(&directory, "aa-01", NOW + FRESH).await.unwrap();
    assert_eq!(server.requests(), 3, "the token is still good");
}

#[tokio::test]
async fn the_user_asks_about_himself() {
    let (directory, _) = world(Asker::User, |_, request| {
        assert!(
            request.starts_with("POST /graph/v1.0/me/getMemberObjects "),
            "{request}"
        );
        answer(200, &json!({"value": []}))
    })
    .await;
    assert_eq!(groups(&directory, "aa-01", NOW).await, Ok(known(&[])));
}

#[tokio::test]
async fn who_is_known_is_not_asked_about() {
    let (directory, server) = world(Asker::Application, |_, _| Act::Hang).await;
    let listed = identity("aa-01", known(&["g"]));
    let resolved = directory.resolve(&listed, "theirs", NOW).await.unwrap();
    assert!(Arc::ptr_eq(&resolved, &listed));
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn only_ids_become_part_of_an_address() {
    let (directory, server) = world(Asker::Application, |_, _| Act::Hang).await;
    for object in ["", "../me", "a/b", "x?y", &"a".repeat(65)] {
        assert_eq!(
            groups(&directory, object, NOW).await,
            Err(Unknown::NoUser),
            "{object}"
        );
    }
    assert_eq!(server.requests(), 0);
}

async fn check_failure(status: u16, body: Value, expect: Unknown) {
    let (directory, server) = world(Asker::Application, move |_, _| answer(status, &body)).await;
    for _ in 0..3 {
        assert_eq!(
            groups(&directory, "aa-01", NOW).await,
            Err(expect),
            "{status}"
        );
    }
    assert_eq!(server.requests(), 2, "a failure stands for a moment");
    assert!(groups(&directory, "aa-01", NOW + FAILED).await.is_err());
    assert!(server.requests() > 2);
}

#[tokio::test]
async fn a_failure_is_never_an_empty_list() {
    let later = Unknown::Unavailable {
        retry_after: FAILED,
    };
    check_failure(503, json!({}), later).await;
    check_failure(429, json!({}), later).await;
    check_failure(403, json!({}), Unknown::Refused).await;
    check_failure(404, json!({}), Unknown::Refused).await;
    check_failure(200, json!({}), later).await;
    check_failure(200, json!({"value": [7]}), later).await;
    check_failure(200, json!({"value": ["g".repeat(257)]}), Unknown::Refused).await;
}

#[tokio::test]
async fn a_token_that_graph_refuses_is_asked_for_anew() {
    let (directory, _) = world(Asker::Application, |number, _| match number {
        1 => answer(401, &json!({})),
        _ => answer(200, &json!({"value": ["g"]})),
    })
    .await;
    assert_eq!(
        groups(&directory, "aa-01", NOW).await,
        Err(Unknown::Refused)
    );
    assert_eq!(
        groups(&directory, "aa-01", NOW + FAILED).await,
        Ok(known(&["g"]))
    );
}
