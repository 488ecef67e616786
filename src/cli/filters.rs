//! `mcp-gateway filters`: what a route can be made of.

use std::io::{self, Write};

use mcp_gateway_filters::Catalog;

use crate::config::{CAPABILITIES, Capability};

/// Prints the list of steps.
///
/// # Errors
/// When nothing can be written.
pub fn list(catalog: &Catalog, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Filters look at messages and hold nothing between them:\n"
    )?;
    for entry in catalog.entries() {
        writeln!(out, "  {:<21} {}", entry.name, entry.summary)?;
    }
    writeln!(out, "\nCapabilities wait, keep state or call out:\n")?;
    for capability in &CAPABILITIES {
        writeln!(out, "  {:<21} {}", capability.name, capability.summary)?;
    }
    writeln!(
        out,
        "\n`mcp-gateway filters NAME` shows the settings and an example."
    )
}

/// Prints the reference of one step; returns whether there is such a step.
///
/// # Errors
/// When nothing can be written.
pub fn reference(
    catalog: &Catalog,
    name: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    if let Some(capability) = Capability::find(name) {
        out.write_all(capability.reference.as_bytes())?;
        return Ok(true);
    }
    if let Some(entry) = catalog.find(name) {
        out.write_all(entry.reference().as_bytes())?;
        return Ok(true);
    }
    let filters = catalog.entries().iter().map(|entry| entry.name);
    let known = filters.chain(CAPABILITIES.iter().map(|one| one.name));
    let help = crate::config::suggestion(name, "known steps", known);
    writeln!(err, "no filter named `{name}`\n  help: {help}")?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str) -> (bool, String, String) {
        let (mut out, mut err) = (vec![], vec![]);
        let found = reference(&Catalog::builtin(), name, &mut out, &mut err).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (found, text(out), text(err))
    }

    #[test]
    fn every_step_is_listed_and_has_a_reference() {
        let mut out = vec![];
        list(&Catalog::builtin(), &mut out).unwrap();
        let listed = String::from_utf8(out).unwrap();
        let builtin = Catalog::builtin();
        let filters = builtin.entries().iter().map(|entry| entry.name);
        for name in filters.chain(CAPABILITIES.iter().map(|one| one.name)) {
            assert!(listed.contains(&format!("  {name} ")), "{name}");
            let (found, out, err) = shown(name);
            assert!(found && out.starts_with(name) && err.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_near_miss_is_named() {
        let (found, out, err) = shown("strip_qery");
        assert!(!found && out.is_empty());
        assert!(err.contains("did you mean `strip_query`?"), "{err}");
    }
}
