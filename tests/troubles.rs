//! `docs/troubles.md`, made of `tests/e2e/troubles.yaml` and of the tests that are named after it.
//!
//! `UPDATE=1 cargo test --test troubles` writes the document anew. Whether the tests pass is for
//! the tests; here it counts that they are there.

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fmt::Write,
        fs,
        path::{Path, PathBuf},
    };

    use serde::Deserialize;

    const LIST: &str = "tests/e2e/troubles.yaml";
    const DOCUMENT: &str = "docs/troubles.md";
    /// As many as were found.
    const TROUBLES: u8 = 52;

    /// One entry of the list, which says what each field is.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Trouble {
        number: u8,
        reported: Vec<String>,
        clients: String,
        symptom: String,
        cause: String,
        cure: Option<String>,
        not_ours: Option<String>,
    }

    /// A function `trouble_NN_words`.
    struct Shown {
        file: PathBuf,
        words: String,
        /// Whether the line above says what cures the trouble.
        explained: bool,
    }

    #[test]
    fn every_trouble_is_listed_once() {
        let numbers: Vec<u8> = troubles().iter().map(|it| it.number).collect();
        assert_eq!(numbers, (1..=TROUBLES).collect::<Vec<_>>());
    }

    #[test]
    fn every_trouble_is_cured_or_says_why_not() {
        let shown = shown();
        for trouble in troubles() {
            let number = trouble.number;
            match (trouble.cure, trouble.not_ours) {
                (Some(_), None) => assert!(
                    shown.contains_key(&number),
                    "no test shows the cure: expected `fn trouble_{number:02}_…`"
                ),
                (None, Some(_)) => {}
                _ => panic!("{number}: expected either `cure` or `not_ours`"),
            }
        }
    }

    #[test]
    fn every_test_of_a_trouble_says_what_cures_it() {
        for (number, tests) in shown() {
            assert!((1..=TROUBLES).contains(&number), "trouble {number}");
            for test in tests {
                let Shown { file, words, .. } = &test;
                assert!(test.explained, "{number}: {words} in {}", file.display());
            }
        }
    }

    #[test]
    fn the_document_says_what_the_list_and_the_tests_say() {
        let expected = document();
        if std::env::var_os("UPDATE").is_some() {
            fs::write(DOCUMENT, &expected).unwrap();
        }
        assert!(
            fs::read_to_string(DOCUMENT).unwrap() == expected,
            "{DOCUMENT} is out of date: run `UPDATE=1 cargo test --test troubles`"
        );
    }

    fn troubles() -> Vec<Trouble> {
        serde_yaml::from_str(&fs::read_to_string(LIST).unwrap()).unwrap()
    }

    /// The tests of each trouble, in the order of their files.
    fn shown() -> BTreeMap<u8, Vec<Shown>> {
        let mut found: BTreeMap<u8, Vec<Shown>> = BTreeMap::new();
        let mut files = vec![];
        rust_files(Path::new("tests/e2e"), &mut files);
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            let mut above = ["", ""];
            for line in text.lines() {
                if let Some((_, name)) = line.split_once("fn trouble_") {
                    let (number, rest) = name.split_once('_').unwrap();
                    let words = rest.split('(').next().unwrap().replace('_', " ");
                    found
                        .entry(number.parse().unwrap())
                        .or_default()
                        .push(Shown {
                            file: file.clone(),
                            words,
                            explained: above[0].starts_with("///"),
                        });
                }
                above = [above[1], line];
            }
        }
        found
    }

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|it| it == "rs") {
                found.push(path);
            }
        }
    }

    fn document() -> String {
        let (troubles, shown) = (troubles(), shown());
        let (cured, rest): (Vec<_>, Vec<_>) = troubles.iter().partition(|it| it.cure.is_some());
        let mut text = format!(
            "# Troubles with Entra ID\n\n\
             <!-- Made by tests/troubles.rs from {LIST}; do not edit. -->\n\n\
             What people report about MCP clients that sign in with Entra ID: {} troubles, {} of which end at\n\
             the gateway. *Always* means without a setting; the settings are those of\n\
             [`authorization_server`](configuration.md#authorization_server). Where \
             Entra or the\nclient can be made to fail, a test shows first that it does, without the gateway \
             or without the\nsetting, and then the cure. It is called `trouble_NN_…`, with the number and the \
             words below;\n`cargo test --test e2e trouble_NN` runs it. What to do about a message on a screen is in the \
             [README](../README.md#when-something-does-not-work).\n\n\
             | | reported by users of | what they see | why | what ends it | shown by | reports |\n\
             |--:|---|---|---|---|---|---|\n",
            troubles.len(),
            cured.len(),
        );
        for trouble in &cured {
            let tests = shown.get(&trouble.number).map_or(&[][..], Vec::as_slice);
            let tests: Vec<String> = tests.iter().map(link_of_test).collect();
            row(
                &mut text,
                trouble,
                &[trouble.cure.as_deref().unwrap(), &tests.join("<br>")],
            );
        }
        text.push_str(
            "\n## Not the gateway's to cure\n\n\
             | | reported by users of | what they see | why | what ends it | reports |\n\
             |--:|---|---|---|---|---|\n",
        );
        for trouble in &rest {
            row(&mut text, trouble, &[trouble.not_ours.as_deref().unwrap()]);
        }
        text
    }

    fn row(text: &mut String, trouble: &Trouble, cells: &[&str]) {
        let Trouble {
            number,
            clients,
            symptom,
            cause,
            ..
        } = trouble;
        write!(text, "| {number} | {clients} | {symptom} | {cause} |").unwrap();
        for cell in cells {
            write!(text, " {cell} |").unwrap();
        }
        let reports: Vec<String> = trouble
            .reported
            .iter()
            .map(|it| link_of_report(it))
            .collect();
        writeln!(text, " {} |", reports.join(", ")).unwrap();
    }

    fn link_of_test(test: &Shown) -> String {
        format!("[{}](../{})", test.words, test.file.display())
    }

    /// Links `owner/repository#number`.
    fn link_of_report(report: &str) -> String {
        let (repository, number) = report.split_once('#').unwrap();
        let (_, name) = repository.split_once('/').unwrap();
        number.parse::<u32>().unwrap();
        format!("[{name}#{number}](https://github.com/{repository}/issues/{number})")
    }
}
