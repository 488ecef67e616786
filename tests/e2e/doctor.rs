//! `mcp-gateway doctor` before a healthy system, and before each thing that can be wrong with one.
//!
//! A case changes the tenant, the workloads or the gateway's configuration, or what the doctor is
//! told; the doctor has to name it, and to say what to do.

use std::time::SystemTime;

use base64::{Engine, engine::general_purpose::STANDARD};
use mcp_gateway::cli::doctor::{self, Form};
use mcp_gateway_filters::Catalog;
use serde_json::Value;

use crate::world::{Authority, Builder, World, reserve};

mod edge;
mod published;
mod registration;
mod workloads;

/// What the doctor said.
struct Diagnosis {
    fine: bool,
    findings: Vec<Value>,
}

impl Diagnosis {
    /// What is wrong, as `check: what`.
    fn wrong(&self) -> Vec<String> {
        self.of("wrong")
    }

    fn of(&self, verdict: &str) -> Vec<String> {
        let same = |one: &&Value| one["verdict"] == verdict;
        let text = |one: &Value| {
            let member = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
            format!("{}: {}", member("check"), member("what"))
        };
        self.findings.iter().filter(same).map(text).collect()
    }

    /// Asserts that this, and nothing else, is wrong.
    #[track_caller]
    fn names(&self, check: &str, expect: &str) {
        let wrong = self.wrong();
        assert!(wrong.iter().all(|one| one.starts_with(check)), "{wrong:#?}");
        self.names_first(check, expect);
    }

    /// Asserts that this is the first thing that is wrong, since others follow from it, and that
    /// each has a remedy.
    #[track_caller]
    fn names_first(&self, check: &str, expect: &str) {
        assert!(!self.fine, "expected `{expect}`");
        let wrong = self.wrong();
        let mut first = wrong.iter().take_while(|one| one.starts_with(check));
        assert!(
            first.any(|one| one.contains(expect)),
            "expected `{expect}`: {wrong:#?}"
        );
        for one in &self.findings {
            let told = one["fix"].as_str().is_some_and(|fix| !fix.is_empty());
            assert!(one["verdict"] != "wrong" || told, "{one}");
        }
    }
}

/// A company whose doctor trusts its own authority.
struct Company {
    world: World,
    folder: tempfile::TempDir,
}

impl Company {
    async fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::start_with(&["localhost", "127.0.0.1"], change).await
    }

    /// The same with plain HTTP on loopback, where Entra ignores the port of the public URL.
    async fn plain(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::start_with(&[], change).await
    }

    async fn start_with(names: &[&str], change: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        std::fs::write(&ca, Authority::shared().pem()).unwrap();
        let world = World::builder()
            .workload("github")
            .route("/mcp")
            .section(&format!("egress: {{ ca_file: {} }}", ca.display()))
            .section("limits: { connections: 500 }");
        let world = match names {
            [] => world,
            names => world.certificate(names),
        };
        let world = change(world).start().await;
        Self { world, folder }
    }

    /// Lets the doctor look, with a changed configuration and a clock that is wrong by `seconds`.
    async fn examined(&self, change: impl FnOnce(String) -> String, seconds: i64) -> Diagnosis {
        let file = self.folder.path().join("gateway.yaml");
        std::fs::write(&file, change(self.world.configuration())).unwrap();
        let env = |name: &str| (name == "SESSION_KEY").then(|| STANDARD.encode([7; 32]));
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = i64::try_from(since.unwrap().as_secs()).unwrap() + seconds;
        let (mut out, mut err) = (vec![], vec![]);
        let catalog = Catalog::builtin();
        let fine = doctor::run(&file, &env, &catalog, now, Form::Json, &mut out, &mut err);
        let fine = fine.await.unwrap();
        let report: Value = serde_json::from_slice(&out).unwrap();
        let progress = String::from_utf8(err).unwrap();
        assert!(
            progress.starts_with("checking the configuration\n"),
            "{progress}"
        );
        Diagnosis {
            fine,
            findings: report["findings"].as_array().unwrap().clone(),
        }
    }

    async fn look(&self) -> Diagnosis {
        self.examined(|text| text, 0).await
    }
}

/// Starts a company that differs in one thing, and asserts that the doctor names it.
async fn check(change: impl FnOnce(Builder) -> Builder, (check, expect): (&str, &str)) {
    let company = Company::start(change).await;
    company.look().await.names(check, expect);
}

/// Hands the doctor of a healthy company another configuration.
async fn check_text(change: impl FnOnce(String) -> String, (check, expect): (&str, &str)) {
    let company = Company::start(|world| world).await;
    company.examined(change, 0).await.names(check, expect);
}

/// The same, where other things follow from the one.
async fn check_first(change: impl FnOnce(String) -> String, (check, expect): (&str, &str)) {
    let company = Company::start(|world| world).await;
    let found = company.examined(change, 0).await;
    found.names_first(check, expect);
}

fn closed() -> String {
    reserve().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn a_healthy_company_has_nothing() {
    let found = Company::start(|world| world).await.look().await;
    assert_eq!(found.wrong(), [""; 0]);
    assert!(found.fine);
    assert_eq!(found.of("skipped"), [""; 0]);
    let ok = found.of("ok").join("\n");
    for check in [
        "configuration",
        "permissions",
        "dns",
        "discovery",
        "clock",
        "keys",
        "redirect URIs",
        "client",
        "scopes",
        "prompt",
        "resource",
        "running",
        "open files",
        "certificates",
        "public URL",
        "metadata",
        "challenge",
        "workloads",
    ] {
        assert!(ok.contains(&format!("{check}: ")), "{check}: {ok}");
    }
    // Clients that nobody here may use are only mentioned.
    assert!(
        found
            .of("note")
            .iter()
            .any(|note| note.contains("claude.ai"))
    );
}

#[tokio::test]
async fn the_doctor_leaves_no_trace() {
    let company = Company::start(|world| world).await;
    let before = company.world.workloads[0].sessions();
    let found = company.look().await;
    assert_eq!(company.world.workloads[0].sessions(), before);
    let text = format!("{:?}", found.findings);
    for secret in [
        "code=1.",
        "doctor&",
        "client_secret",
        &STANDARD.encode([7; 32]),
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn a_broken_configuration_is_all_there_is_to_say() {
    let company = Company::start(|world| world).await;
    let found = company
        .examined(|text| format!("{text}\nnonsense: 1\n"), 0)
        .await;
    found.names("configuration", "unknown key `nonsense`");
    assert_eq!(found.of("skipped").len(), 1);
}
