//! Names and the corporate proxy: whether the other side can be found at all.

use std::{io, net::IpAddr, time::Duration};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use url::Url;

use super::{ask::Ask, finding::Finding};

const DNS: &str = "dns";
const PROXY: &str = "egress proxy";

/// How long a name or a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks up the host of a URL; `whose` says in a sentence what it is for.
pub(super) async fn name(url: &str, whose: &str) -> Finding {
    let parsed = Url::parse(url).ok();
    let Some(host) = parsed.as_ref().and_then(Url::host_str) else {
        return Finding::skipped(DNS, format!("{whose} has no host"));
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Finding::ok(DNS, format!("{whose} is at the address {host}"));
    }
    let found = match timeout(PATIENCE, lookup_host((host, 0))).await {
        Ok(found) => found.map(|found| found.map(|one| one.ip()).collect()),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    judge_name(host, whose, &found)
}

fn judge_name(host: &str, whose: &str, found: &io::Result<Vec<IpAddr>>) -> Finding {
    let fix = format!(
        "ask the resolver with `getent ahosts {host}`; publish the name, or correct its spelling"
    );
    match found {
        Ok(addresses) if addresses.is_empty() => {
            Finding::wrong(DNS, format!("{whose}, `{host}`, has no address"), fix)
        }
        Ok(addresses) => {
            let mut shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            shown.sort();
            shown.dedup();
            Finding::ok(DNS, format!("{whose}, `{host}`, is {}", shown.join(", ")))
        }
        Err(error) => Finding::wrong(
            DNS,
            format!("{whose}, `{host}`, cannot be looked up: {error}"),
            fix,
        ),
    }
}

/// Connects to the proxy that a URL is asked through; nothing when it is asked directly.
pub(super) async fn proxy(ask: &Ask, url: &str) -> Option<Finding> {
    let proxy = ask.proxy_for(url)?;
    let connected = match timeout(PATIENCE, TcpStream::connect(&proxy)).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    Some(match connected {
        Ok(()) => Finding::ok(PROXY, format!("`{proxy}` takes connections")),
        Err(error) => Finding::wrong(
            PROXY,
            format!("`{proxy}` cannot be reached: {error}"),
            "correct `egress.https_proxy`, or name the host in `egress.no_proxy` when it is reached directly",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_address_is_wrong() {
        let ip: IpAddr = "192.0.2.7".parse().unwrap();
        let found = judge_name("mcp.test", "the public URL", &Ok(vec![ip, ip]));
        assert_eq!(found.what, "the public URL, `mcp.test`, is 192.0.2.7");
        assert!(judge_name("mcp.test", "it", &Ok(vec![])).is_wrong());
        let failed = Err(io::Error::from(io::ErrorKind::TimedOut));
        assert!(judge_name("mcp.test", "it", &failed).is_wrong());
    }

    #[tokio::test]
    async fn an_address_needs_no_name() {
        let found = name("http://[::1]:80/", "the gateway").await;
        assert_eq!(found.what, "the gateway is at the address [::1]");
    }
}
