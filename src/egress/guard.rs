//! Which addresses may be called for a URL that a stranger chose (server-side request forgery).
//!
//! Public unicast addresses, and the networks that the operator named. The check is made on the
//! addresses that a name was just resolved to, and the connection goes to one of those, so that a
//! name that answers differently the second time leads nowhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 that is not public unicast (IANA special-purpose registry), and Azure's wire server, which is
/// public by its number only.
const NOT_PUBLIC_V4: [Ipv4Net; 17] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([168, 63, 129, 16], 32),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved and broadcast.
    v4([224, 0, 0, 0], 3),
];

/// All of IPv6 that is given out for public unicast.
const PUBLIC_V6: Ipv6Net = v6([0x2000, 0], 3);

/// What of it is not: protocol assignments with Teredo, documentation, 6to4.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0], 23),
    v6([0x2001, 0x0db8], 32),
    v6([0x2002, 0], 16),
    v6([0x3fff, 0], 20),
];

/// Where a translator puts the IPv4 internet (RFC 6052 §2.1).
const TRANSLATED: Ipv6Net = v6([0x0064, 0xff9b], 96);

const fn v4(octets: [u8; 4], prefix: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 2], prefix: u8) -> Ipv6Net {
    let [a, b] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), prefix)
}

/// Decides about addresses.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allowed: Vec<IpNet>,
}

impl Guard {
    /// Lets public addresses through, and these networks.
    #[must_use]
    pub const fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Tells whether an address may be called.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed
            .iter()
            .any(|network| network.contains(&address))
            || is_public(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) if TRANSLATED.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => {
            PUBLIC_V6.contains(&address) && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&address))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(address: &str, public: bool) {
        let guard = Guard::default();
        assert_eq!(guard.admits(address.parse().unwrap()), public, "{address}");
    }

    #[test]
    fn addresses_of_the_internet_are_admitted() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "223.255.255.254",
            "2606:4700::1111",
            "2a00:1450:4001::5e",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
        ] {
            check(address, true);
        }
    }

    #[test]
    fn addresses_of_the_house_are_not() {
        for address in [
            "127.0.0.1",
            "127.255.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
        ] {
            check(address, false);
        }
    }

    #[test]
    fn named_networks_are_admitted_as_well() {
        let guard = Guard::new(vec!["10.9.0.0/16".parse().unwrap()]);
        let admits = |text: &str| guard.admits(text.parse().unwrap());
        assert!(admits("10.9.1.1"));
        assert!(admits("::ffff:10.9.1.1"));
        assert!(!admits("10.8.1.1"));
    }

    proptest! {
        #[test]
        fn an_address_is_the_same_in_either_notation(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            let guard = Guard::default();
            let mapped = IpAddr::V6(plain.to_ipv6_mapped());
            prop_assert_eq!(guard.admits(IpAddr::V4(plain)), guard.admits(mapped));
            let narrow = plain.is_private() || plain.is_loopback() || plain.is_link_local()
                || plain.is_multicast() || plain.is_broadcast() || plain.is_documentation()
                || plain.is_unspecified();
            prop_assert!(!(narrow && guard.admits(IpAddr::V4(plain))));
        }
    }
}
