//! What the documents say, held against what is there: links, metrics, filters, variables, policies.
//!
//! It reads text only. Whether the prose is true is for people.

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    const DOCUMENTS: [&str; 11] = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "authz/README.md",
        "docs/configuration.md",
        "docs/operations.md",
        "docs/performance.md",
        "docs/providers.md",
        "docs/troubles.md",
        "benches/side-by-side/README.md",
    ];

    #[test]
    fn every_link_leads_somewhere() {
        for document in DOCUMENTS {
            let here = Path::new(document);
            for link in between(&read(document), "](", ")") {
                let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
                if file.contains("://") {
                    continue;
                }
                let target = match file {
                    "" => here.to_owned(),
                    file => here.parent().unwrap().join(file),
                };
                assert!(target.exists(), "{document} links to `{link}`");
                let anchors = || anchors(&read(target.to_str().unwrap()));
                assert!(
                    anchor.is_empty() || anchors().contains(anchor),
                    "{document} links to `{link}`, which has no such heading"
                );
            }
        }
    }

    #[test]
    fn every_metric_is_described() {
        let known = between(&read("src/telemetry/names.rs"), "\"gateway_", "\"");
        let described = read("docs/operations.md");
        assert!(!known.is_empty());
        for name in &known {
            assert!(
                described.contains(&format!("| `gateway_{name}` |")),
                "{name}"
            );
        }
        for name in between(&described, "| `gateway_", "`") {
            assert!(known.contains(&name), "`gateway_{name}` is no metric");
        }
    }

    #[test]
    fn every_reason_is_described() {
        let described = read("docs/operations.md");
        let mut sources = files("src/ingress", "rs");
        for file in ["src/listener/connection.rs", "src/oidc/denied.rs"] {
            sources.push(file.to_owned());
        }
        let mut known = BTreeSet::new();
        for file in sources {
            let text = read(&file);
            let code = text.split("#[cfg(test)]").next().unwrap();
            for mark in ["bad(", "Refused::new(", "refuse(", "reason: ", "=> "] {
                known.extend(code.split(mark).skip(1).filter_map(reason));
            }
        }
        assert!(known.len() > 30, "{known:?}");
        for reason in known {
            assert!(described.contains(&format!("`{reason}`")), "{reason}");
        }
    }

    #[test]
    fn every_filter_is_listed() {
        let listed = read("docs/configuration.md");
        for file in files("filters/src", "rs") {
            for name in between(&read(&file), "const NAME: &'static str = \"", "\"") {
                assert!(listed.contains(&format!("`{name}`")), "{name} of {file}");
            }
        }
    }

    #[test]
    fn every_variable_of_the_example_is_explained() {
        let variables = between(&without_comments(&read("gateway.yaml")), "${", "}");
        assert!(variables.contains("ENTRA_TENANT_ID"));
        let (readme, example) = (read("README.md"), read("systemd/gateway.env.example"));
        for variable in variables {
            let name = variable.split(":-").next().unwrap();
            assert!(readme.contains(&format!("`{name}`")), "{name} in README.md");
            assert!(
                example.contains(&format!("{name}=")),
                "{name} in gateway.env.example"
            );
        }
    }

    /// `ToolHive` denies a call when any policy fails to evaluate, and reading a missing claim fails.
    #[test]
    fn policies_ask_whether_a_claim_is_there_before_they_read_it() {
        let policies = files("authz", "yaml");
        assert!(!policies.is_empty());
        for file in policies {
            for policy in read(&file).split("\n    - |\n").skip(1) {
                for claim in between(policy, "principal.", ".") {
                    let guard = format!("principal has {claim} &&");
                    let read_at = policy.find(&format!("principal.{claim}")).unwrap();
                    let guarded = policy.find(&guard).is_some_and(|at| at < read_at);
                    assert!(guarded, "{file}: {policy}");
                }
            }
        }
    }

    /// `ToolHive` ignores what stands behind the first statement of an item.
    #[test]
    fn policies_are_one_statement_each() {
        for file in files("authz", "yaml") {
            for policy in without_comments(&read(&file)).split("\n    - |\n").skip(1) {
                let policy = policy.split("\n  entities_json").next().unwrap();
                assert_eq!(policy.matches(';').count(), 1, "{file}: {policy}");
                assert!(policy.trim_end().ends_with(';'), "{file}: {policy}");
            }
        }
    }

    fn read(path: &str) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn files(folder: &str, extension: &str) -> Vec<String> {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == extension))
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    /// Returns every text that stands between two marks on one line.
    fn between(text: &str, start: &str, end: &str) -> BTreeSet<String> {
        text.lines()
            .flat_map(|line| line.split(start).skip(1))
            .filter_map(|rest| rest.split_once(end))
            .map(|(found, _)| found.to_owned())
            .collect()
    }

    /// Returns the first text in quotes, when it is a name such as `head_too_large`.
    fn reason(code: &str) -> Option<String> {
        let text = code.split('"').nth(1)?;
        let before = code.split('"').next()?;
        let name = !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        // Before it stands at most a status.
        let near = before.len() < 80 && !before.contains([';', '}']);
        (name && near).then(|| text.to_owned())
    }

    fn without_comments(yaml: &str) -> String {
        let kept = |line: &&str| !line.trim_start().starts_with('#');
        yaml.lines().filter(kept).collect::<Vec<_>>().join("\n")
    }

    /// Returns the anchors of a document's headings, as the usual renderers make them.
    fn anchors(markdown: &str) -> BTreeSet<String> {
        let headings = markdown.lines().filter(|line| line.starts_with('#'));
        headings
            .map(|line| line.trim_start_matches('#').trim().to_lowercase())
            .map(|heading| {
                let kept = heading
                    .chars()
                    .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
                kept.map(|c| if c == ' ' { '-' } else { c }).collect()
            })
            .collect()
    }
}
