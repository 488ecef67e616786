//! `demo --check`: the demo tries itself, with the official SDK as a client.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    time::Duration,
};

use mcp_gateway_emulator::client::{Notification, SignedIn, Step};
use serde_json::json;

use super::system::System;

/// How long a notification may take.
const NOTIFIED: Duration = Duration::from_secs(5);
/// How often a tool is called without a session of its own, to see both replicas.
const SESSIONS: usize = 8;

/// Signs in at every workload, uses its tools, refreshes, and prints each step.
pub(super) async fn run(system: &System) -> Result<(), String> {
    for url in system.mcp_urls() {
        say(&format!("\n{url}"));
        workload(system, &url)
            .await
            .map_err(|error| format!("✗ {error}"))?;
    }
    say("\nEverything works.");
    Ok(())
}

async fn workload(system: &System, url: &str) -> Result<(), String> {
    let client = connect(system, url, true).await?;
    let tools = client
        .tools()
        .await
        .map_err(|e| explain("listing tools", &e))?;
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    done(&format!(
        "listed {} tools: {}",
        names.len(),
        names.join(", ")
    ));

    let echoed = client
        .call_text("echo", json!({ "text": "hello" }))
        .await
        .map_err(|e| explain("calling echo", &e))?;
    expect(echoed.contains("hello"), "echo answers what it was told")?;

    let here = client
        .call_text("instance", json!({}))
        .await
        .map_err(|e| explain("calling instance", &e))?;
    for _ in 0..3 {
        let again = client
            .call_text("instance", json!({}))
            .await
            .map_err(|e| explain("calling instance", &e))?;
        expect_quietly(again == here, "a session stays on its replica")?;
    }
    done(&format!("the session stays on its replica: {here}"));

    client
        .call("progress", json!({ "steps": 3, "delay_ms": 20 }))
        .await
        .map_err(|e| explain("calling progress", &e))?;
    let heard = client
        .wait_for_notification(NOTIFIED, |n| matches!(n, Notification::Progress { .. }))
        .await;
    expect(heard, "progress arrives while a tool works")?;

    client
        .call("notify", json!({}))
        .await
        .map_err(|e| explain("calling notify", &e))?;
    let heard = client
        .wait_for_notification(NOTIFIED, |n| matches!(n, Notification::ToolsChanged))
        .await;
    expect(heard, "the server's own notification arrives")?;

    let refreshed = client
        .refresh()
        .await
        .map_err(|e| explain("refreshing the token", &e))?;
    if let Step::Redeemed { expires_in, .. } = refreshed {
        done(&format!(
            "refreshed the token; the new one lives {} s",
            expires_in.unwrap_or_default()
        ));
    }
    client.close().await;
    done("ended the session");

    let mut replicas = BTreeSet::new();
    for _ in 0..SESSIONS {
        let client = connect(system, url, false).await?;
        let replica = client
            .call_text("instance", json!({}))
            .await
            .map_err(|e| explain("calling instance", &e))?;
        replicas.insert(replica);
        client.close().await;
    }
    expect(
        replicas.len() > 1,
        &format!(
            "{SESSIONS} sessions spread over {} replicas",
            replicas.len()
        ),
    )
}

async fn connect(system: &System, url: &str, aloud: bool) -> Result<SignedIn, String> {
    SignedIn::builder(url)
        .ca_pem(system.ca_pem())
        .on_step(move |step| {
            if aloud {
                done(&step.to_string());
            }
        })
        .connect()
        .await
        .map_err(|error| explain("signing in", &error))
}

fn expect(holds: bool, what: &str) -> Result<(), String> {
    expect_quietly(holds, what)?;
    done(what);
    Ok(())
}

fn expect_quietly(holds: bool, what: &str) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(format!("expected that {what}"))
    }
}

fn done(what: &str) {
    say(&format!("  ✓ {what}"));
}

/// A closed terminal does not change what is true.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Joins an error and its causes.
fn explain(doing: &str, error: &dyn std::error::Error) -> String {
    let mut text = format!("{doing}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
