//! `mcp-gateway explain`: a configuration without short forms, or the way of one request.

use std::{
    io::{self, Write},
    path::Path,
};

use http::{Method, Uri};
use mcp_gateway_filters::Catalog;

use crate::{
    config::{
        self, Authenticate, Environment, Gateway, Loaded, Proxy, Route, Step, UpstreamToken,
        expanded::to_yaml,
    },
    oauth,
    router::Router,
    upstream::BackendConfig,
};

/// Prints the configuration with every default and profile written out.
///
/// Returns whether there is something to print; problems go to `err`.
///
/// # Errors
/// When nothing can be written.
pub fn whole(
    file: &Path,
    env: Environment<'_>,
    catalog: &Catalog,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    match config::load(file, env, catalog) {
        Ok(loaded) => {
            out.write_all(to_yaml(&loaded.written_out).as_bytes())?;
            Ok(true)
        }
        Err(problems) => {
            write!(err, "{problems}")?;
            Ok(false)
        }
    }
}

/// Prints what happens to a request: the route, its steps, the upstream, and who may call.
///
/// `url` is a whole URL or a path; its query plays no part. Returns whether a route takes it.
///
/// # Errors
/// When nothing can be written.
pub fn request(
    file: &Path,
    env: Environment<'_>,
    catalog: &Catalog,
    (method, url): (&Method, &Uri),
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let Loaded {
        gateway,
        written_out,
        ..
    } = match config::load(file, env, catalog) {
        Ok(loaded) => loaded,
        Err(problems) => {
            write!(err, "{problems}")?;
            return Ok(false);
        }
    };
    let path = url.path();
    writeln!(out, "{method} {path}")?;
    let own = gateway.public_url.authority();
    if let Some(host) = url.authority().filter(|host| host.as_str() != own) {
        line(
            out,
            "host",
            &format!("{host} is not the public URL's, {own}"),
        )?;
    }
    let pairs = gateway.routes.iter().zip(&written_out.routes);
    let router = Router::new(pairs.map(|pair| (pair.0.path.clone(), pair)));
    let Some((route, shown)) = router.find(path) else {
        line(out, "answer", "404: no route takes this path")?;
        return Ok(false);
    };
    line(out, "route", &route.path)?;
    if !route.methods.is_empty() && !route.methods.contains(method) {
        let methods: Vec<&str> = route.methods.iter().map(Method::as_str).collect();
        line(
            out,
            "answer",
            &format!("405: the route takes {}", methods.join(", ")),
        )?;
        return Ok(false);
    }
    let allowed = way(&gateway, route, method, path, out)?;
    steps(shown, out)?;
    Ok(allowed)
}

/// Prints who may call and where the request goes; returns whether it may go there.
fn way(
    gateway: &Gateway,
    route: &Route,
    method: &Method,
    path: &str,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let gate = route.steps.iter().find_map(|step| match step {
        Step::Authenticate(gate) => Some(gate),
        _ => None,
    });
    line(out, "callers", &callers(gateway, gate))?;
    let mut allowed = true;
    for step in &route.steps {
        match step {
            Step::Proxy(proxy) => {
                line(out, "upstream", &destination(gateway, proxy))?;
                let listed = proxy.allow.iter().any(|allow| allow.matches(method, path));
                if !proxy.allow.is_empty() && !listed {
                    line(
                        out,
                        "answer",
                        "403: not in the route's list of what may be asked for",
                    )?;
                    allowed = false;
                }
            }
            Step::Exchange(exchange) => line(out, "calls", exchange.url.as_str())?,
            Step::Relay(relay) => line(out, "relays to", relay.to.as_str())?,
            _ => {}
        }
    }
    Ok(allowed)
}

fn callers(gateway: &Gateway, gate: Option<&Authenticate>) -> String {
    let (Some(gate), Some(identity)) = (gate, &gateway.identity) else {
        return "everyone, without a token".to_owned();
    };
    let audiences = identity.audiences.join(" or ");
    let users = match identity.tenants().as_slice() {
        [] => format!("users of {}", identity.issuer),
        [tenant] => format!("users of tenant {tenant}"),
        tenants => format!("users of the tenants {}", tenants.join(" and ")),
    };
    let everyone = format!("{users} with a token for {audiences}");
    if gate.groups.is_empty() {
        everyone
    } else {
        format!(
            "{everyone}, in one of the groups {}",
            gate.groups.join(", ")
        )
    }
}

fn destination(gateway: &Gateway, proxy: &Proxy) -> String {
    let backends: Vec<&str> = gateway
        .upstreams
        .iter()
        .filter(|(name, _)| *name == proxy.upstream)
        .flat_map(|(_, upstream)| upstream.backends.iter().map(BackendConfig::address))
        .collect();
    let path = proxy.path.as_deref().map_or_else(
        || "with the path as it came".to_owned(),
        |path| format!("as {path}"),
    );
    let token = match proxy.upstream_token {
        UpstreamToken::Caller => "with the caller's token",
        UpstreamToken::None => "without a token",
        UpstreamToken::Static(_) => "with a credential of its own",
        UpstreamToken::OnBehalfOf(_) => "with a token on behalf of the caller",
        UpstreamToken::Exchange(_) => "with a token in exchange for the caller's",
    };
    let sessions = if proxy.sessions {
        ", sessions stay on their backend"
    } else {
        ""
    };
    let (name, backends) = (&proxy.upstream, backends.join(", "));
    format!("{name} ({backends}) {path}, {token}{sessions}")
}

fn steps(route: &oauth::Route, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "  steps")?;
    for text in to_yaml(&route.filters).lines() {
        writeln!(out, "    {text}")?;
    }
    Ok(())
}

fn line(out: &mut dyn Write, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {name:<9} {text}")
}
