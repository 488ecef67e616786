//! Whether a written list of steps makes sense as a whole.

use mcp_gateway_filters::Catalog;

use crate::config::{problems::Located, reader::Reader, steps::Named, tree::Node};

/// Says which steps are never reached, and whether none ever answers.
pub(super) fn check(reader: &mut Reader<'_>, items: &[Node], list: &Node, section: &str) {
    let builtin = Catalog::builtin();
    let steps: Vec<Option<Named<'_>>> = items.iter().map(Named::of).collect();
    let named = || {
        steps
            .iter()
            .enumerate()
            .filter_map(|(i, step)| Some((i, (*step)?)))
    };
    if let Some((index, end)) = named().find(|(_, step)| step.answers())
        && let Some(after) = items.get(index + 1)
    {
        let path = format!("{section}[{}]", index + 1);
        let what = format!(
            "this step is never reached: `{}` answers every request",
            end.name
        );
        reader.push(Located::at(after.at, path, what));
    }
    // Steps that are unknown are a problem of their own; those of an embedding program may answer.
    let known = |step: &Named<'_>| step.passes_on(&builtin);
    if steps.iter().all(|step| step.as_ref().is_some_and(known)) {
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
