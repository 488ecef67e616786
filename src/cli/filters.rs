//! `mcp-gateway filters`: the list of filters, or the reference of one.

use std::io::{self, Write};

use mcp_gateway_filters::Catalog;

/// Prints every filter with one line each, or the reference of `name`. Returns whether `name` is
/// known.
///
/// # Errors
/// When nothing can be written.
pub fn run(
    catalog: &Catalog,
    name: Option<&str>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let Some(name) = name else {
        let width = catalog
            .entries()
            .iter()
            .map(|entry| entry.name.len())
            .max()
            .unwrap_or_default();
        for entry in catalog.entries() {
            writeln!(out, "{:width$}  {}", entry.name, entry.summary)?;
        }
        return Ok(true);
    };
    if let Some(entry) = catalog.find(name) {
        write!(out, "{}", entry.reference())?;
        return Ok(true);
    }
    writeln!(err, "no filter named `{name}`")?;
    let nearest = catalog
        .entries()
        .iter()
        .map(|entry| (strsim::damerau_levenshtein(entry.name, name), entry.name))
        .min();
    match nearest {
        Some((distance, nearest)) if distance <= 3 => {
            writeln!(err, "  help: did you mean `{nearest}`?")?;
        }
        _ => writeln!(err, "  help: `mcp-gateway filters` lists them all")?,
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: Option<&str>, expect: bool, says: &str) {
        let (mut out, mut err) = (vec![], vec![]);
        let known = run(&Catalog::builtin(), name, &mut out, &mut err).unwrap();
        assert_eq!(known, expect);
        let text = String::from_utf8([out, err].concat()).unwrap();
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn lists_and_explains() {
        check(None, true, "strip_query");
        check(Some("strip_query"), true, "params");
        check(Some("strip_qeury"), false, "did you mean `strip_query`?");
        check(Some("zzzzzzzzzz"), false, "lists them all");
    }
}
