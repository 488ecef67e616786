//! What a request costs in instructions, held against what it cost when that was last recorded.
//!
//! `cargo bench --bench instructions` runs the `mcp-gateway` binary under callgrind and fails when a
//! kind of request has grown by more than 3 %; with `-- --record` it writes `instructions.json`
//! instead, which belongs into the commit of the change that is worth it. With `-- --keep DIRECTORY`
//! the counts of each round stay there, for `callgrind_annotate` to say where they went.
//!
//! Counted is user space alone, between the start and the end of some hundred requests. One client
//! waits for each answer, so nothing depends on how many requests are ready at once. What else
//! happens meanwhile only adds, so the least of some rounds counts.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot run has failed"
)]

mod bed;

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use bed::{Client, field, get, post};
use mcp_gateway_emulator::entra::Entra;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Requests of one round.
const REQUESTS: u32 = 300;
/// Rounds of each scenario.
const ROUNDS: usize = 5;
/// How much more a request may cost than was recorded. Counts repeat within 0.5 %.
const ALLOWED: f64 = 0.03;
/// How long the gateway may take to start; under callgrind it is fifty times as slow.
const START: Duration = Duration::from_secs(180);

/// What is recorded.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    /// What the figures depend on beside the code.
    circumstances: String,
    /// Instructions of one request, by scenario.
    instructions: BTreeMap<String, u64>,
}

/// One kind of request.
struct Scenario {
    name: &'static str,
    request: String,
    /// How its answers begin.
    answer: &'static str,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    for tool in ["valgrind", "vgdb"] {
        if Command::new(tool).arg("--help").output().is_err() {
            eprintln!("error: `{tool}` is not on this machine: install the package `valgrind`");
            return ExitCode::FAILURE;
        }
    }
    let temporary = tempfile::tempdir().unwrap();
    let kept = argument_after("--keep").map(PathBuf::from);
    let directory = kept.as_deref().unwrap_or(temporary.path());
    let counted = Record {
        circumstances: circumstances(),
        instructions: count(directory),
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.json");
    let recorded = fs::read_to_string(&file)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok());
    print(&counted, recorded.as_ref());
    if std::env::args().any(|argument| argument == "--record") {
        let text = serde_json::to_string_pretty(&counted).unwrap();
        fs::write(&file, text + "\n").unwrap();
        println!("\nrecorded in {}", file.display());
        return ExitCode::SUCCESS;
    }
    judge(&counted, recorded.as_ref())
}

/// What follows an option on the command line.
fn argument_after(option: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != option);
    arguments.next()?;
    Some(arguments.next().expect("a directory"))
}

/// What the figures depend on beside the code: who compiles, and what the library copies with.
fn circumstances() -> String {
    let first_line = |program: &str, argument: &str| {
        let told = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8(told.stdout).ok()?;
        Some(text.lines().next()?.to_owned())
    };
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let rustc = first_line(&rustc, "--version").unwrap_or_default();
    let rustc = rustc.split(" (").next().unwrap_or_default();
    let library = first_line("getconf", "GNU_LIBC_VERSION").unwrap_or("another libc".to_owned());
    format!("{rustc}, {library}, {}", processor())
}

#[cfg(target_arch = "x86_64")]
fn processor() -> &'static str {
    if std::arch::is_x86_feature_detected!("avx2") {
        "x86_64 with AVX2"
    } else {
        "x86_64 without AVX2"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> &'static str {
    std::env::consts::ARCH
}

fn print(counted: &Record, recorded: Option<&Record>) {
    println!(
        "instructions of one request, {}\n\n{:<28} {:>10} {:>10} {:>9}",
        counted.circumstances, "", "recorded", "counted", "change"
    );
    for (name, now) in &counted.instructions {
        match recorded.and_then(|recorded| recorded.instructions.get(name)) {
            Some(before) => println!(
                "{name:<28} {before:>10} {now:>10} {:>+7.1} %",
                growth(*before, *now) * 100.0
            ),
            None => println!("{name:<28} {:>10} {now:>10}", ""),
        }
    }
}

fn judge(counted: &Record, recorded: Option<&Record>) -> ExitCode {
    const RECORD: &str =
        "`cargo bench --bench instructions -- --record`, and commit `benches/instructions.json`";
    let Some(recorded) = recorded else {
        eprintln!("\nerror: no figures are recorded: run {RECORD}");
        return ExitCode::FAILURE;
    };
    if recorded.circumstances != counted.circumstances {
        println!(
            "\nnot judged: recorded was with {}, which compares with nothing here\n  help: to move the record to this toolchain, run {RECORD}",
            recorded.circumstances
        );
        return ExitCode::SUCCESS;
    }
    let mut passed = true;
    for (name, now) in &counted.instructions {
        let Some(before) = recorded.instructions.get(name) else {
            eprintln!("\nerror: `{name}` is not recorded: run {RECORD}");
            passed = false;
            continue;
        };
        let growth = growth(*before, *now);
        if growth > ALLOWED {
            eprintln!(
                "\nerror: `{name}` grew by {:.1} %, and {:.0} % are allowed\n  help: make it cheaper; or, when what it buys is worth it, run {RECORD} together with the change",
                growth * 100.0,
                ALLOWED * 100.0
            );
            passed = false;
        } else if growth < -ALLOWED {
            println!("\n`{name}` became cheaper: to hold the gain, run {RECORD}");
        }
    }
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn growth(before: u64, now: u64) -> f64 {
    now as f64 / before as f64 - 1.0
}

/// Counts every scenario; callgrind writes into `directory`.
fn count(directory: &Path) -> BTreeMap<String, u64> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entra = runtime.block_on(Entra::builder().start()).unwrap();
    let token = entra.token("alice").build();
    fs::create_dir_all(directory).unwrap();
    let mut gateway = Gateway::start(&entra, &token, directory);
    gateway
        .scenarios(&entra, &token)
        .iter()
        .map(|scenario| (scenario.name.to_owned(), gateway.least(scenario)))
        .collect()
}

/// The gateway under callgrind, and a client.
struct Gateway {
    process: Child,
    counts: PathBuf,
    /// How often counts were written: callgrind numbers them.
    written: usize,
    client: Client,
}

impl Gateway {
    fn start(entra: &Entra, token: &str, state: &Path) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = state.join("gateway.yaml");
        fs::write(&file, configuration(address, entra, token, state)).unwrap();
        let counts = state.join("counts");
        let mut process = Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .arg(env!("CARGO_BIN_EXE_mcp-gateway"))
            .args(["run", "-c"])
            .arg(&file)
            .env("TOKIO_WORKER_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(fs::File::create(state.join("log")).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + START;
        let log = || fs::read_to_string(state.join("log")).unwrap_or_default();
        while std::net::TcpStream::connect(address).is_err() {
            assert!(process.try_wait().unwrap().is_none(), "ended: {}", log());
            assert!(Instant::now() < until, "does not listen: {}", log());
            thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            counts,
            written: 0,
            client: Client::connect(address),
        }
    }

    fn scenarios(&mut self, entra: &Entra, token: &str) -> Vec<Scenario> {
        let opened = loop {
            let head = self.client.exchange(&post(token, None));
            // 503 until the keys are there.
            if head.starts_with("HTTP/1.1 200") {
                break head;
            }
            thread::sleep(Duration::from_millis(20));
        };
        let session = field(&opened, "mcp-session-id").unwrap();
        vec![
            Scenario {
                name: "metadata",
                request: get("/.well-known/oauth-protected-resource/mcp", None),
                answer: "HTTP/1.1 200",
            },
            Scenario {
                name: "authenticated MCP POST",
                request: post(token, Some(session)),
                answer: "HTTP/1.1 200",
            },
            Scenario {
                name: "authorize redirect",
                request: get(&authorize(entra.client_id()), None),
                answer: "HTTP/1.1 30",
            },
            Scenario {
                name: "token exchange",
                request: exchange(entra.client_id()),
                answer: "HTTP/1.1 200",
            },
        ]
    }

    /// Counts a scenario in some rounds; returns the least.
    fn least(&mut self, scenario: &Scenario) -> u64 {
        // Caches, pools and buffers fill first.
        self.send(scenario);
        let rounds = (0..ROUNDS).map(|_| {
            self.monitor("zero");
            self.send(scenario);
            self.monitor("dump");
            self.written += 1;
            let dump = self.counts.with_extension(self.written.to_string());
            let named = dump.with_file_name(format!("{}.{}", scenario.name, self.written));
            fs::rename(dump, &named).unwrap();
            total(&fs::read_to_string(named).unwrap()) / u64::from(REQUESTS)
        });
        rounds.min().unwrap()
    }

    fn send(&mut self, scenario: &Scenario) {
        for _ in 0..REQUESTS {
            let head = self.client.exchange(&scenario.request);
            assert!(head.starts_with(scenario.answer), "{head}");
        }
    }

    /// Tells callgrind to begin anew, or to write down what it has.
    fn monitor(&self, command: &str) {
        let told = Command::new("vgdb")
            .arg(format!("--pid={}", self.process.id()))
            .arg(command)
            .output()
            .unwrap();
        assert!(told.status.success(), "{told:?}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Already gone is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The total of what callgrind has written.
fn total(counts: &str) -> u64 {
    counts
        .lines()
        .find_map(|line| line.strip_prefix("summary: "))
        .and_then(|total| total.trim().parse().ok())
        .expect("callgrind writes a total")
}

fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().port()
}

/// The bed's configuration, and the steps of `/oauth2/token`, at another path, in front of a provider that is ours.
fn configuration(address: SocketAddr, entra: &Entra, token: &str, state: &Path) -> String {
    let provider = bed::token_endpoint(&json!({
        "token_type": "Bearer",
        "scope": "openid profile email",
        "expires_in": 3599,
        "access_token": "for.another.audience".to_owned() + &"x".repeat(1200),
        "refresh_token": "1.A".to_owned() + &"r".repeat(700),
        "id_token": token,
    }));
    let steps = json!([
        { "cors": { "origins": "any", "methods": ["POST"] } },
        { "check_token_request": { "client_id": entra.client_id() } },
        { "strip_form": { "params": ["resource", "prompt"] } },
        { "repair_scope": {
            "in": "form", "scopes": ["openid", "offline_access"],
            "default": ["openid", "profile", "email", "offline_access"],
        } },
        { "remove_headers": { "request": ["origin", "cookie"] } },
        { "swap_token": { "scopes": ["openid", "profile", "email", "offline_access"] } },
        { "exchange": { "url": format!("http://{provider}/token") } },
    ]);
    let text = bed::configuration(
        &format!("  - address: {address}"),
        "http://localhost",
        entra,
        bed::upstream(),
        state,
    );
    format!("{text}  - path: /exchange\n    filters: {steps}\n")
}

fn authorize(client_id: &str) -> String {
    format!(
        "/oauth2/authorize?client_id={client_id}&response_type=code&redirect_uri=http%3A%2F%2Flocalhost%3A33418%2Fcallback&scope=openid+profile+email+offline_access&state=2f6a4e579a830d1c&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&resource=http%3A%2F%2Flocalhost%2Fmcp&prompt=select_account"
    )
}

fn exchange(client_id: &str) -> String {
    let form = format!(
        "grant_type=authorization_code&code=1.A{}&redirect_uri=http%3A%2F%2Flocalhost%3A33418%2Fcallback&client_id={client_id}&code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk&scope=openid+profile+email+offline_access&resource=http%3A%2F%2Flocalhost%2Fmcp",
        "c".repeat(700)
    );
    format!(
        "POST /exchange HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}
