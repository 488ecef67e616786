//! `mcp-gateway doctor` as a program: what it prints where, and its exit codes.

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use serde_json::Value;

    fn doctor(arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mcp-gateway"))
            .arg("doctor")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// A configuration that needs nothing outside this machine, on ports that nobody listens on.
    fn write(folder: &std::path::Path) -> String {
        let state = folder.join("state");
        let file = folder.join("gateway.yaml");
        let configuration = format!(
            "public_url: http://127.0.0.1:9\n\
             listeners: [{{ address: 127.0.0.1:0 }}]\n\
             admin: {{ address: \"127.0.0.1:0\" }}\n\
             sessions: {{ state_directory: {} }}\n\
             routes:\n  - {{ path: /hello, filters: [{{ respond: {{ status: 200 }} }}] }}\n",
            state.display()
        );
        std::fs::write(&file, configuration).unwrap();
        file.display().to_string()
    }

    #[test]
    fn findings_are_results_and_progress_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let found = doctor(&["-c", &write(folder.path())]);
        assert_eq!(found.status.code(), Some(1));
        let (out, err) = (text(&found.stdout), text(&found.stderr));
        assert!(out.contains("WRONG    public URL "), "{out}");
        assert!(out.contains("do: start the gateway"), "{out}");
        assert!(
            out.ends_with("1 thing is wrong, 5 checks were skipped\n"),
            "{out}"
        );
        assert!(err.contains("checking the public URL"), "{err}");
        assert!(!out.contains("checking"), "{out}");
        assert!(!folder.path().join("state").exists(), "nothing is made");
    }

    #[test]
    fn json_is_all_that_is_printed() {
        let found = doctor(&["--json", "-c", "/nonexistent/gateway.yaml"]);
        assert_eq!(found.status.code(), Some(1));
        let report: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(report["wrong"], 1);
        assert_eq!(report["findings"][0]["check"], "configuration");
        assert_eq!(report["findings"][1]["verdict"], "skipped");
    }

    #[test]
    fn wrong_usage_is_no_diagnosis() {
        assert_eq!(doctor(&["--jsn"]).status.code(), Some(2));
    }
}
