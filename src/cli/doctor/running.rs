//! The gateway that runs on this machine, by its own account: what Entra refused, its keys, its limits.

use std::net::SocketAddr;

use serde_json::Value;

use super::{ask::Ask, finding::Finding, host};
use crate::{ingress::Limits, server::Machine};

const RUNNING: &str = "running";

/// Asks the admin listener.
pub(super) async fn look(ask: &Ask, admin: SocketAddr, limits: &Limits) -> Vec<Finding> {
    let own = || host::judge_limit(&Machine::read(), host::Of::Shell, limits);
    if !admin.ip().is_loopback() || admin.port() == 0 {
        let why = format!("the admin listener `{admin}` is not on a port of loopback");
        return vec![Finding::skipped(RUNNING, why), own()];
    }
    let url = format!("http://{admin}/status");
    let status = ask.get(&url).await.ok();
    let status = status.and_then(|answer| serde_json::from_slice::<Value>(answer.body()).ok());
    match status {
        Some(status) if status.get("version").is_some() => judge(&status, limits),
        _ => vec![
            Finding::skipped(RUNNING, format!("no gateway answers on `{url}`")),
            own(),
        ],
    }
}

fn judge(status: &Value, limits: &Limits) -> Vec<Finding> {
    let version = status["version"].as_str().unwrap_or_default();
    let server = &status["authorization_server"];
    let mut found = vec![];
    if version == env!("CARGO_PKG_VERSION") {
        found.push(Finding::ok(
            RUNNING,
            format!("a gateway of version {version} serves"),
        ));
    } else {
        let what = format!(
            "a gateway of version {version} serves, this is {}",
            env!("CARGO_PKG_VERSION")
        );
        found.push(Finding::note(RUNNING, what).fix("restart it"));
    }
    let errors = server["errors"].as_array().map(Vec::as_slice);
    for error in errors.unwrap_or_default() {
        let text = |member: &str| error[member].as_str().unwrap_or_default().to_owned();
        if error["must_act"] == true {
            let what = format!(
                "since it started Entra answered {} {} times, last at {}: {}",
                text("code"),
                error["count"],
                text("last"),
                text("means")
            );
            found.push(Finding::wrong(RUNNING, what, text("remedy")));
        }
    }
    let files = status["open_files_limit"].as_u64();
    let machine = Machine {
        files: files.map(|files| usize::try_from(files).unwrap_or(usize::MAX)),
        memory: None,
    };
    found.push(host::judge_limit(&machine, host::Of::Gateway, limits));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::finding::Verdict, *};

    #[test]
    fn what_users_cause_is_nobodys_fault() {
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "open_files_limit": 10_000,
            "authorization_server": { "errors": [
                { "code": "AADSTS70008", "count": 7, "must_act": false },
                { "code": "AADSTS90009", "count": 2, "must_act": true, "means": "m", "remedy": "r", "last": "t" },
                { "code": "other", "count": 1 },
            ]},
        });
        let found = judge(&status, &Limits::default());
        let wrong: Vec<_> = found.iter().filter(|one| one.is_wrong()).collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!(
            wrong[0].what,
            "since it started Entra answered AADSTS90009 2 times, last at t: m"
        );
        assert_eq!(wrong[0].fix.as_deref(), Some("r"));
        assert_eq!(
            judge(&json!({"version": "0"}), &Limits::default())[0].verdict,
            Verdict::Note
        );
    }
}
