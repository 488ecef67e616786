//! `mcp-gateway doctor` before a healthy system, and before each thing that can be wrong with one.
//!
//! A case changes the tenant, the workloads or the gateway's configuration, or what the doctor is
//! told; the doctor has to name it, and to say what to do.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, time::SystemTime};

use base64::{Engine, engine::general_purpose::STANDARD};
use mcp_gateway::cli::doctor::{self, Form};
use mcp_gateway_emulator::{
    entra::{API_SCOPE, App, CLIENT_ID, Endpoint, Fault, Grant, Platform, ResourceMode},
    toolhive::{self, Oidc},
};
use mcp_gateway_filters::Catalog;
use serde_json::Value;

use crate::world::{Authority, Builder, World, reserve, send};

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

#[tokio::test]
async fn an_application_without_redirect_uris() {
    let none = |world: Builder| world.entra(|entra| entra.redirects(vec![]));
    check(none, ("redirect URIs", "AADSTS900971")).await;
}

#[tokio::test]
async fn a_redirect_uri_that_is_allowed_and_not_registered() {
    let named = |world: Builder| world.provider("redirect_uris: { presets: [claude_ai] }");
    let expect = "https://claude.ai/api/mcp/auth_callback` (claude.ai, Claude Desktop) is not registered (AADSTS50011)";
    check(named, ("redirect URIs", expect)).await;
    let listed = |world: Builder| {
        world.provider("redirect_uris: { presets: [], allow: [\"https://tools.test/cb\"] }")
    };
    check(listed, ("redirect URIs", "`https://tools.test/cb`")).await;
}

#[tokio::test]
async fn a_callback_of_the_gateways_own_that_is_not_registered() {
    let relay = |world: Builder| world.provider("authorize: relay");
    let expect = "/oauth2/callback` (the gateway's own callback) is not registered (AADSTS50011)";
    check(relay, ("redirect URIs", expect)).await;
}

#[tokio::test]
async fn loopback_addresses_of_no_client_at_all() {
    let vscode = "https://vscode.dev/redirect".to_owned();
    let only =
        |world: Builder| world.entra(|entra| entra.redirects(vec![(Platform::Native, vscode)]));
    check(only, ("redirect URIs", "http://localhost:3118/callback")).await;
}

#[tokio::test]
async fn a_registration_of_the_wrong_platform() {
    let on = |platform| {
        let uri = "http://localhost:3118/callback".to_owned();
        move |world: Builder| world.entra(|entra| entra.redirects(vec![(platform, uri)]))
    };
    check(on(Platform::Web), ("client", "AADSTS7000218")).await;
    check(on(Platform::Spa), ("client", "AADSTS9002327")).await;
}

/// A company whose gateway is a confidential client with that secret, on that platform.
async fn confidential(platform: Platform, secret: &str) -> Diagnosis {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, secret).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let settings = format!(
        "authorize: relay, credentials: {{ client_secret: {{ file: {} }} }}",
        file.display()
    );
    let callback = (platform, "http://127.0.0.1/oauth2/callback".to_owned());
    let entra = |entra: mcp_gateway_emulator::entra::Builder| {
        entra.redirects(vec![callback]).secret(SECRET)
    };
    let company = Company::plain(|world| world.entra(entra).provider(&settings)).await;
    let found = company.look().await;
    assert!(!format!("{:?}", found.findings).contains(secret));
    found
}

const SECRET: &str = "s3cr3t-of-the-gateway";

#[tokio::test]
async fn a_confidential_gateway_is_fine() {
    let found = confidential(Platform::Web, SECRET).await;
    assert_eq!(found.wrong(), [""; 0]);
    let ok = found.of("ok").join("\n");
    assert!(ok.contains("redirect URIs: 1 of 1"), "{ok}");
    assert!(ok.contains("credentials: Entra accepts"), "{ok}");
}

#[tokio::test]
async fn a_wrong_secret_or_one_for_a_public_client() {
    let found = confidential(Platform::Web, "another-one").await;
    found.names("credentials", "AADSTS7000215");
    let found = confidential(Platform::Native, SECRET).await;
    found.names("credentials", "AADSTS700025");
}

#[tokio::test]
async fn scopes_that_entra_does_not_know() {
    for (scopes, expect) in [
        ("openid, offline_access, nothing.read", "AADSTS650053"),
        (
            "openid, offline_access, \"https://elsewhere.test/x\"",
            "AADSTS500011",
        ),
        (
            "openid, offline_access, User.Read, \"https://graph.microsoft.com/.default\"",
            "AADSTS70011",
        ),
        ("openid, offline_access, Mail.Read", "AADSTS65"),
    ] {
        let settings = format!("scopes: [{scopes}]");
        check(|world| world.provider(&settings), ("scopes", expect)).await;
    }
}

/// A company with a registration of its own for the API, and a gateway that hands out its tokens.
async fn with_api(bearer: &str, uri: &str, scope: &str) -> Diagnosis {
    const API: &str = "6f0a2b1c-77aa-4c1e-9b6d-3e2f1a0b9c8d";
    let settings = format!(
        "bearer: {bearer}, api: {{ application: {API}, identifier_uri: '{uri}', scopes: [{scope}] }}"
    );
    let grant = Grant {
        client: CLIENT_ID.to_owned(),
        resource: API.to_owned(),
        scopes: vec![API_SCOPE.to_owned()],
        principal: None,
    };
    let app = App::new(API, "MCP API").exposes(API_URI, &[API_SCOPE]);
    let company = Company::start(|world| {
        world
            .entra(|entra| entra.app(app).grant(grant))
            .provider(&settings)
            .audience(API)
    })
    .await;
    company.look().await
}

const API_URI: &str = "https://mcp.contoso.example/mcp";

#[tokio::test]
async fn every_bearer_is_asked_about_as_the_gateway_asks() {
    for bearer in ["access_token", "native"] {
        let found = with_api(bearer, API_URI, API_SCOPE).await;
        assert_eq!(found.wrong(), [""; 0], "{bearer}");
        let ok = found.of("ok").join("\n");
        assert!(ok.contains(&format!("{API_URI}/{API_SCOPE}")), "{ok}");
        let taken = ok.contains(&format!("Entra takes `resource={API_URI}`"));
        assert_eq!(taken, bearer == "native", "{ok}");
    }
    let found = with_api("access_token", API_URI, "tools.write").await;
    found.names("scopes", "AADSTS650053");
    let found = with_api(
        "access_token",
        "https://mcp.contoso.example/other",
        API_SCOPE,
    )
    .await;
    found.names("scopes", "AADSTS500011");
}

#[tokio::test]
async fn a_prompt_that_passes() {
    let strip = |world: Builder| world.provider("strip: [resource]");
    check(strip, ("prompt", "AADSTS90094")).await;
}

#[tokio::test]
async fn a_resource_that_passes_and_is_refused() {
    let strip = |world: Builder| world.provider("strip: [prompt]");
    check(strip, ("resource", "AADSTS9010010")).await;
    let legacy = |world: Builder| {
        world
            .provider("strip: [prompt]")
            .entra(|entra| entra.resource_mode(ResourceMode::Legacy))
    };
    check(legacy, ("resource", "AADSTS901002")).await;
}

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
