//! Whether a written list of steps makes sense as a whole.

use mcp_gateway_filters::Catalog;

use crate::config::{problems::Located, reader::Reader, steps::Named, tree::Node};

/// Says which steps are never reached, and whether none ever answers.
pub(super) fn check(
    reader: &mut Reader<'_>,
    catalog: &Catalog,
    items: &[Node],
    list: &Node,
    section: &str,
) {
    let steps: Vec<Option<Named<'_>>> = items.iter().map(Named::of).collect();
    let named = || {
        steps
            .iter()
            .enumerate()
            .filter_map(|(i, step)| Some((i, (*step)?)))
    };
    if let Some((index, end)) = named().find(|(_, step)| step.answers(catalog) == Some(true))
        && let Some(after) = items.get(index + 1)
    {
        let path = format!("{section}[{}]", index + 1);
        let what = format!(
            "this step is never reached: `{}` answers every request",
            end.name
        );
        reader.push(Located::at(after.at, path, what));
    }
    // Steps that are unknown are a problem of their own.
    let passes_on = |step: &Option<Named<'_>>| {
        step.as_ref()
            .is_some_and(|step| step.answers(catalog) == Some(false))
    };
    if steps.iter().all(passes_on) {
        let what = if items.is_empty() {
            "expected at least one step, found none"
        } else {
            "no step of this route ever answers"
        };
        let help = "end it with `proxy`, `respond`, `redirect` or another step that answers";
        reader.push(Located::at(list.at, section, what).help(help));
    }
    let opens = named().any(|(_, step)| step.name == "open_grant");
    let with_secret = named()
        .find(|(_, step)| step.name == "exchange" && step.settings.find("credentials").is_some());
    if let (Some((index, _)), false) = (with_secret, opens) {
        let what =
            "whoever steals a refresh token elsewhere redeems it here, with the gateway's secret";
        let help = "put `resolve_client` and `open_grant` before it";
        reader.problem_help(&format!("{section}[{index}]"), what, help);
    }
    let asks = named().find(|(_, step)| {
        let at = step.settings.find("at").and_then(Node::text);
        step.name == "relay" && at == Some("authorize")
    });
    let gate = named().find(|(_, step)| step.name == "check_authorize");
    if let Some((index, _)) = asks
        && gate.is_none_or(|(at, _)| at > index)
    {
        let what = "codes go wherever a request says: no `check_authorize` stands before `relay`";
        reader.problem(&format!("{section}[{index}]"), what);
    }
    let mut authenticated = named().filter(|(_, step)| step.name == "authenticate");
    let first = authenticated.next();
    if let Some((index, _)) = authenticated.next() {
        reader.problem(&format!("{section}[{index}]"), "a route authenticates once");
    }
    let proxy = named().find(|(_, step)| step.name == "proxy");
    if let (Some((index, _)), None) = (proxy, first) {
        let what = "everyone reaches this upstream: no `authenticate` stands before `proxy`";
        reader.note(&format!("{section}[{index}]"), what);
    }
}

#[cfg(test)]
mod tests {
    use mcp_gateway_filters::{Catalog, Filter, FilterConfig, Problem};
    use schemars::JsonSchema;
    use serde::Deserialize;

    use crate::config;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Own<const ANSWERS: bool> {}

    impl<const ANSWERS: bool> FilterConfig for Own<ANSWERS> {
        const NAME: &'static str = if ANSWERS { "greet" } else { "nod" };
        const SUMMARY: &'static str = "is the embedding program's own";
        const SOURCE: &'static str = "";
        const ANSWERS: bool = ANSWERS;

        fn build(self) -> Result<Box<dyn Filter>, Vec<Problem>> {
            Ok(Box::new(self))
        }
    }

    impl<const ANSWERS: bool> Filter for Own<ANSWERS> {}

    fn check(steps: &str, expect: &[&str]) {
        let mut catalog = Catalog::builtin();
        catalog.register::<Own<true>>();
        catalog.register::<Own<false>>();
        let text = format!(
            "public_url: http://localhost
listeners: [{{ address: 127.0.0.1:0 }}]
routes: [{{ path: /x, filters: [{steps}] }}]
"
        );
        let found = match config::parse("gateway.yaml", &text, &|_| None, &catalog) {
            Ok(_) => vec![],
            Err(problems) => problems.list().iter().map(|one| one.what.clone()).collect(),
        };
        assert_eq!(found, expect, "{steps}");
    }

    #[test]
    fn a_route_ends_with_what_says_that_it_answers() {
        check("{ nod: {} }, { greet: {} }", &[]);
        check("{ nod: {} }", &["no step of this route ever answers"]);
        let beyond = "this step is never reached: `greet` answers every request";
        check("{ greet: {} }, { nod: {} }", &[beyond]);
        check("{ nod: {} }, { gret: {} }", &["unknown step `gret`"]);
    }
}
