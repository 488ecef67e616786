//! What a check found, and how it is shown.

use std::io::{self, Write};

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Nothing is broken, and it is worth knowing.
    Note,
    /// Something has to be done.
    Wrong,
    /// It could not be looked at, because something before it failed or is not configured.
    Skipped,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub check: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, as a sentence.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Ok, what)
    }

    pub(super) fn note(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(check, Verdict::Note, what)
    }

    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self::new(check, Verdict::Skipped, why)
    }

    pub(super) fn wrong(
        check: &'static str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, Verdict::Wrong, what).fix(fix)
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    fn new(check: &'static str, verdict: Verdict, what: impl Into<String>) -> Self {
        Self {
            check,
            verdict,
            what: what.into(),
            fix: None,
        }
    }

    pub(super) fn is_wrong(&self) -> bool {
        self.verdict == Verdict::Wrong
    }
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people, each as soon as it is known.
    Lines,
    /// One JSON object at the end.
    Json,
}

/// Takes findings and shows them.
pub(super) struct Report<'a> {
    form: Form,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    findings: Vec<Finding>,
}

impl<'a> Report<'a> {
    pub(super) fn new(form: Form, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Self {
        Self {
            form,
            out,
            err,
            findings: vec![],
        }
    }

    /// Says what is being looked at, since that may take seconds.
    pub(super) fn begin(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.err, "checking {what}")?;
        self.err.flush()
    }

    /// Takes findings; returns whether none of them is wrong.
    pub(super) fn take(&mut self, found: impl IntoIterator<Item = Finding>) -> io::Result<bool> {
        let mut fine = true;
        for finding in found {
            fine &= !finding.is_wrong();
            if self.form == Form::Lines {
                line(self.out, &finding)?;
            }
            self.findings.push(finding);
        }
        self.out.flush()?;
        Ok(fine)
    }

    /// Says how many are wrong; returns whether none is.
    pub(super) fn finish(self) -> io::Result<bool> {
        let count = |verdict| {
            let same = |one: &&Finding| one.verdict == verdict;
            self.findings.iter().filter(same).count()
        };
        let (wrong, skipped) = (count(Verdict::Wrong), count(Verdict::Skipped));
        match self.form {
            Form::Json => {
                let report = serde_json::json!({
                    "findings": self.findings,
                    "wrong": wrong,
                    "skipped": skipped,
                });
                writeln!(self.out, "{report:#}")?;
            }
            Form::Lines if wrong == 0 => {
                writeln!(self.out, "nothing is wrong{}", skipped_too(skipped))?;
            }
            Form::Lines => {
                let things = if wrong == 1 { "thing is" } else { "things are" };
                writeln!(self.out, "{wrong} {things} wrong{}", skipped_too(skipped))?;
            }
        }
        Ok(wrong == 0)
    }
}

fn skipped_too(skipped: usize) -> String {
    match skipped {
        0 => String::new(),
        1 => ", 1 check was skipped".to_owned(),
        more => format!(", {more} checks were skipped"),
    }
}

fn line(out: &mut dyn Write, finding: &Finding) -> io::Result<()> {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Note => "note",
        Verdict::Wrong => "WRONG",
        Verdict::Skipped => "skipped",
    };
    writeln!(out, "{verdict:<8} {:<14} {}", finding.check, finding.what)?;
    match &finding.fix {
        Some(fix) => writeln!(out, "{:<23} do: {fix}", ""),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, findings: Vec<Finding>) -> (bool, String) {
        let (mut out, mut err) = (vec![], vec![]);
        let mut report = Report::new(form, &mut out, &mut err);
        report.take(findings).unwrap();
        let fine = report.finish().unwrap();
        (fine, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_finding_says_what_and_what_to_do() {
        let (fine, text) = shown(
            Form::Lines,
            vec![
                Finding::ok("keys", "6 keys"),
                Finding::wrong("clock", "it is 90 s slow", "start chrony"),
                Finding::skipped("scopes", "no sign-in could be begun"),
            ],
        );
        assert!(!fine);
        insta::assert_snapshot!(text, @r"
        ok       keys           6 keys
        WRONG    clock          it is 90 s slow
                                do: start chrony
        skipped  scopes         no sign-in could be begun
        1 thing is wrong, 1 check was skipped
        ");
    }

    #[test]
    fn json_is_one_object() {
        let (fine, text) = shown(Form::Json, vec![Finding::note("keys", "few")]);
        assert!(fine);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["findings"][0]["verdict"], "note");
        assert_eq!(json["wrong"], 0);
        assert!(json["findings"][0].get("fix").is_none());
    }
}
