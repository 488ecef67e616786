//! What the gateway does between a client and Entra ID.

use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_signed_in_client_calls_a_tool() {
    let world = World::usual().await;
    let token = world.token("alice");
    let session = world.session("/mcp", &token).await;
    let arguments = json!({"text": "hi"});
    let text = world
        .call_tool("/mcp", &token, &session, "echo", &arguments)
        .await;
    assert_eq!(text, "hi");
}
