//! The `mcp-gateway` program as an operator meets it: processes, exit codes, signals.

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::SocketAddr,
        path::Path,
        process::{Child, Command, Output, Stdio},
    };

    use mcp_gateway_emulator::{
        entra::Entra,
        toolhive::{Oidc, Workload},
    };
    use serde_json::{Value, json};

    const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-gateway");

    /// A gateway in a process of its own, stopped when dropped.
    struct Process {
        child: Child,
        address: SocketAddr,
        /// Kept open: a program whose standard error is closed cannot log.
        _log: std::thread::JoinHandle<()>,
    }

    impl Process {
        /// Starts and waits until it says where it listens.
        fn start(configuration: &Path) -> Self {
            let mut child = Command::new(PROGRAM)
                .args(["run", "-c"])
                .arg(configuration)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
            let address = lines
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| {
                    let (_, address) = line.split_once("listening address=")?;
                    address.trim().parse().ok()
                })
                .expect("it says where it listens");
            Self {
                child,
                address,
                _log: std::thread::spawn(move || lines.for_each(drop)),
            }
        }

        /// Asks it to stop, as the service manager does, and waits for the exit code.
        fn terminate(&mut self) -> Option<i32> {
            let pid = self.child.id().to_string();
            let asked = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            assert!(asked.success());
            self.child.wait().unwrap().code()
        }

        /// Posts a message until the gateway has the tenant's keys; returns the session and the body.
        async fn rpc(
            &self,
            token: &str,
            session: Option<&str>,
            message: &Value,
        ) -> (u16, Option<String>, String) {
            loop {
                let mut request = reqwest::Client::new()
                    .post(format!("http://{}/mcp", self.address))
                    .bearer_auth(token)
                    .header("accept", "application/json, text/event-stream")
                    .json(message);
                if let Some(session) = session {
                    request = request.header("mcp-session-id", session);
                }
                let answer = request.send().await.unwrap();
                let status = answer.status().as_u16();
                if status == 503 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                    continue;
                }
                let session = answer
                    .headers()
                    .get("mcp-session-id")
                    .map(|id| id.to_str().unwrap().to_owned());
                return (status, session, answer.text().await.unwrap());
            }
        }
    }

    impl Drop for Process {
        fn drop(&mut self) {
            // It may have ended already, as asked.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn configuration(state: &Path, entra: &Entra, workloads: &[Workload]) -> String {
        let backends: Vec<String> = workloads
            .iter()
            .map(|workload| format!("\"{}\"", workload.address()))
            .collect();
        format!(
            "public_url: http://localhost
listeners: [{{ address: 127.0.0.1:0 }}]
admin: {{ address: 127.0.0.1:0 }}
access_log: off
authorization_server:
  entra: {{ tenant: {}, client_id: {}, authority: \"{}\" }}
sessions: {{ state_directory: {} }}
upstreams: {{ github: {{ backends: [{}] }} }}
routes: [{{ path: /mcp, mcp: {{ upstream: github }} }}]
",
            entra.tenant(),
            entra.client_id(),
            entra.authority(),
            state.display(),
            backends.join(", "),
        )
    }

    fn initialize() -> Value {
        json!({
            "jsonrpc": "2.0", "id": 0, "method": "initialize",
            "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        })
    }

    fn instance() -> Value {
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "instance"}})
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_share_sessions_and_outlive_restarts() {
        let entra = Entra::builder().start().await.unwrap();
        let mut workloads = vec![];
        for replica in ["a", "b"] {
            let oidc = Oidc {
                issuer: entra.issuer(),
                audience: Some(entra.client_id().to_owned()),
                jwks_url: entra.jwks_uri(),
                resource_url: None,
            };
            let workload = Workload::builder("github").replica(replica).oidc(oidc);
            workloads.push(workload.start().await.unwrap());
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(
            &file,
            configuration(&folder.path().join("state"), &entra, &workloads),
        )
        .unwrap();
        let token = entra.token("alice").build();

        let mut first = Process::start(&file);
        let second = Process::start(&file);
        let (status, session, _) = first.rpc(&token, None, &initialize()).await;
        assert_eq!(status, 200);
        let session = session.as_deref();
        let (status, _, here) = first.rpc(&token, session, &instance()).await;
        assert_eq!(status, 200);
        for _ in 0..4 {
            let (status, _, there) = second.rpc(&token, session, &instance()).await;
            assert_eq!((status, &there), (200, &here), "one session, one replica");
        }

        assert_eq!(first.terminate(), Some(0), "a graceful stop");
        let again = Process::start(&file);
        let (status, _, there) = again.rpc(&token, session, &instance()).await;
        assert_eq!(
            (status, &there),
            (200, &here),
            "the key outlives the process"
        );
    }

    fn run(arguments: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .output()
            .unwrap()
    }

    #[test]
    fn a_broken_configuration_ends_the_program_before_it_listens() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        // Binding this address would fail, with another message.
        let address = taken.local_addr().unwrap();
        write!(
            file,
            "public_url: http://localhost\nlisteners: [{{ address: {address}, tsl: 1 }}]\nroutes: []\nport: 1\n"
        )
        .unwrap();
        let path = file.path().to_str().unwrap();
        for command in ["run", "check"] {
            let output = run(&[command, "-c", path]);
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(
                text.contains(":2:") && text.contains("unknown key `tsl`"),
                "{text}"
            );
            assert!(
                text.contains(":4:") && text.contains("unknown key `port`"),
                "{text}"
            );
            assert!(!text.contains("cannot listen"), "{text}");
        }
    }

    #[test]
    fn wrong_usage_is_told_apart_from_a_wrong_configuration() {
        assert_eq!(run(&["serve"]).status.code(), Some(2));
        assert_eq!(run(&[]).status.code(), Some(2));
        assert_eq!(run(&["filters", "strip_query"]).status.code(), Some(0));
        assert_eq!(run(&["filters", "strip_qeury"]).status.code(), Some(1));
        assert_eq!(run(&["--help"]).status.code(), Some(0));
    }
}
