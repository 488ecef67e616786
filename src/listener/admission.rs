//! Who may connect: so many in all, so many from one address, and a few more who may ask whether
//! the gateway is well.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::ingress::{ClientAddress, Limits, contains};

/// Connections beyond the limit that are taken for one health request each.
const RESERVE: usize = 256;

/// Counts the connections of all listeners that share it.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    per_address: usize,
    exempt: Vec<IpNet>,
    open: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Whatever clients do.
    Fully,
    /// Ask for health, once: the limit is reached.
    ForHealth,
}

/// A connection that is counted, for as long as this lives.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is counted for its address, for as long as this lives.
#[derive(Debug)]
pub(super) struct AddressPermit {
    /// Missing for what is not counted.
    counted: Option<(Arc<Admission>, IpAddr)>,
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let Some((admission, address)) = &self.counted else {
            return;
        };
        let mut addresses = admission.addresses.lock();
        if let Entry::Occupied(mut entry) = addresses.entry(*address) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
    }
}

impl Admission {
    /// Starts without connections. Load balancers that say who their clients are hold connections
    /// for many, and are not counted one by one.
    #[must_use]
    pub fn new(limits: &Limits, trusted: Option<&ClientAddress>) -> Arc<Self> {
        let mut exempt = limits.exempt_networks.clone();
        exempt.extend(trusted.iter().flat_map(|trusted| &trusted.from));
        Arc::new(Self {
            limit: limits.connections,
            per_address: limits.connections_per_address,
            exempt,
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Counts a connection; `None` when not even the reserve has room.
    pub(super) fn enter(self: &Arc<Self>) -> Option<(Permit, Admitted)> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        // Dropping the permit takes the count back.
        let permit = Permit {
            admission: Arc::clone(self),
        };
        match before {
            _ if before < self.limit => Some((permit, Admitted::Fully)),
            _ if before < self.limit + RESERVE => Some((permit, Admitted::ForHealth)),
            _ => None,
        }
    }

    /// Counts a connection for its address; `None` when it has too many.
    pub(super) fn enter_from(self: &Arc<Self>, address: IpAddr) -> Option<AddressPermit> {
        let address = address.to_canonical();
        if contains(&self.exempt, address) {
            return Some(AddressPermit { counted: None });
        }
        let address = counted_as(address);
        let mut addresses = self.addresses.lock();
        let open = addresses.entry(address).or_default();
        // Never 0: an entry is removed with its last connection, and the limit is at least 1.
        if *open >= self.per_address {
            return None;
        }
        *open += 1;
        Some(AddressPermit {
            counted: Some((Arc::clone(self), address)),
        })
    }
}

/// One client has 2^64 addresses of IPv6: its network is counted.
fn counted_as(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: &str) -> Arc<Admission> {
        Admission::new(&serde_yaml::from_str(limits).unwrap(), None)
    }

    #[test]
    fn beyond_the_limit_health_can_be_asked_for_and_then_nothing() {
        let admission = admission("connections: 2");
        let admitted = |n: usize| -> Vec<_> { (0..n).filter_map(|_| admission.enter()).collect() };
        let full = admitted(2);
        assert!(full.iter().all(|(_, a)| *a == Admitted::Fully));
        let reserve = admitted(RESERVE);
        assert_eq!(reserve.len(), RESERVE);
        assert!(reserve.iter().all(|(_, a)| *a == Admitted::ForHealth));
        assert!(admission.enter().is_none());
        drop(full);
        drop(reserve);
        assert_eq!(admission.enter().map(|(_, a)| a), Some(Admitted::Fully));
    }

    #[test]
    fn counts_addresses_and_forgets_them() {
        let admission = admission("{ connections_per_address: 2, exempt_networks: [10.0.0.0/8] }");
        let enter = |address: &str| admission.enter_from(address.parse().unwrap());
        let first = enter("192.0.2.1");
        let second = enter("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        assert!(enter("192.0.2.1").is_some());
        drop(second);
        let office: Vec<_> = (0..9).map(|_| enter("10.1.2.3")).collect();
        assert!(office.iter().all(Option::is_some));
        let one = [enter("2001:db8::1"), enter("2001:db8::2")];
        assert!(one.iter().all(Option::is_some));
        assert!(enter("2001:db8::3").is_none(), "one network of 64 bits");
        drop((one, office));
        assert!(admission.addresses.lock().is_empty());
    }
}
