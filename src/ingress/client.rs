//! Whose request it is, when load balancers stand before the gateway. The `client_address` section.
//!
//! A header is only as good as whoever wrote it. It is read from its end, and no further than the
//! last address that a trusted hop has added.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most addresses that are looked at; a longer way has no trusted hops.
const HOPS: usize = 32;

/// The hops that say who their client is, and where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientAddress {
    /// The networks of the hops.
    pub from: Vec<IpNet>,
    /// The header that each hop adds the address of its client to; a comma-separated list.
    #[serde(
        default = "x_forwarded_for",
        deserialize_with = "header_name",
        serialize_with = "as_text"
    )]
    pub header: HeaderName,
}

impl ClientAddress {
    /// Returns the client of a request that came from `peer`: the nearest address that is no
    /// trusted hop. What cannot be read as an address ends the way there.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap<HeaderValue>) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&HeaderValue> = headers.get_all(&self.header).iter().collect();
        let hops = lines
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
        for hop in hops.take(HOPS) {
            if !contains(&self.from, client) {
                break;
            }
            let Some(address) = std::str::from_utf8(hop)
                .ok()
                .and_then(|hop| hop.trim().parse::<IpAddr>().ok())
            else {
                break;
            };
            client = address.to_canonical();
        }
        client
    }
}

/// Whether an address is in one of the networks.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

const fn x_forwarded_for() -> HeaderName {
    HeaderName::from_static("x-forwarded-for")
}

fn header_name<'de, D: Deserializer<'de>>(de: D) -> Result<HeaderName, D::Error> {
    let text = String::deserialize(de)?;
    match text.parse::<HeaderName>() {
        // Its values are no bare addresses.
        Ok(name) if name != http::header::FORWARDED => Ok(name),
        _ => Err(de::Error::custom(format!(
            "expected a header with a list of addresses, such as `x-forwarded-for`, found `{text}`"
        ))),
    }
}

fn as_text<S: Serializer>(name: &HeaderName, ser: S) -> Result<S::Ok, S::Error> {
    ser.serialize_str(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, lines: &[&str], expect: &str) {
        let trusted: ClientAddress =
            serde_yaml::from_str("{ from: [10.0.0.0/8, \"2001:db8::/32\"] }").unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let client = trusted.client(peer.parse().unwrap(), &headers);
        assert_eq!(client.to_string(), expect, "{peer} {lines:?}");
    }

    #[test]
    fn strangers_cannot_say_who_they_are() {
        check("192.0.2.1", &["10.0.0.9"], "192.0.2.1");
        check("192.0.2.1", &[], "192.0.2.1");
    }

    #[test]
    fn the_nearest_stranger_is_the_client() {
        check("10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("::ffff:10.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("10.0.0.1", &["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7");
        check(
            "10.0.0.1",
            &["1.1.1.1", "192.0.2.7", "2001:db8::2"],
            "192.0.2.7",
        );
        check("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3");
    }

    #[test]
    fn nonsense_ends_the_way() {
        check("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1");
        check("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2");
        check("10.0.0.1", &[""], "10.0.0.1");
        check("10.0.0.1", &["192.0.2.7:443"], "10.0.0.1");
    }

    #[test]
    fn forwarded_is_another_grammar() {
        let read: Result<ClientAddress, _> =
            serde_yaml::from_str("{ from: [], header: forwarded }");
        assert!(read.is_err());
    }
}
