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

use http::StatusCode;
use ipnet::IpNet;
use parking_lot::Mutex;

use crate::ingress::{ClientAddress, Limits, NO_MEMORY, Pressure, Refused, contains};

/// Connections that are taken for one health request each when there is room for no others.
pub const RESERVE: usize = 256;

/// Nobody more is taken.
const TOO_MANY: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "too_many_connections",
    "the gateway has too many connections",
);

/// Counts the connections of all listeners that share it.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    per_address: usize,
    exempt: Vec<IpNet>,
    pressure: Arc<Pressure>,
    open: AtomicUsize,
    reserved: AtomicUsize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Whatever clients do.
    Fully,
    /// Ask for health, once; everything else is refused like this.
    ForHealth(Refused),
}

/// A connection that is counted, for as long as this lives.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    admitted: Admitted,
}

impl Permit {
    /// What the connection may do.
    pub(super) const fn admitted(&self) -> Admitted {
        self.admitted
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = match self.admitted {
            Admitted::Fully => &self.admission.open,
            Admitted::ForHealth(_) => &self.admission.reserved,
        };
        count.fetch_sub(1, Ordering::Relaxed);
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
    /// Starts without connections, and takes `connections` of them while the pressure is not
    /// high. Load balancers that say who their clients are hold connections for many, and are not
    /// counted one by one.
    #[must_use]
    pub fn new(
        connections: usize,
        limits: &Limits,
        trusted: Option<&ClientAddress>,
        pressure: Arc<Pressure>,
    ) -> Arc<Self> {
        let mut exempt = limits.exempt_networks.clone();
        exempt.extend(trusted.iter().flat_map(|trusted| &trusted.from));
        Arc::new(Self {
            limit: connections,
            per_address: limits.connections_per_address,
            exempt,
            pressure,
            open: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            addresses: Mutex::default(),
        })
    }

    /// Counts a connection.
    ///
    /// # Errors
    /// Why nobody is taken, when not even the reserve has room.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Permit, Refused> {
        let refused = if self.pressure.is_high() {
            NO_MEMORY
        } else if take(&self.open, self.limit) {
            return Ok(self.permit(Admitted::Fully));
        } else {
            TOO_MANY
        };
        if take(&self.reserved, RESERVE) {
            Ok(self.permit(Admitted::ForHealth(refused)))
        } else {
            Err(refused)
        }
    }

    fn permit(self: &Arc<Self>, admitted: Admitted) -> Permit {
        Permit {
            admission: Arc::clone(self),
            admitted,
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

/// Counts one more, if there is room.
fn take(count: &AtomicUsize, limit: usize) -> bool {
    let room = count.fetch_add(1, Ordering::Relaxed) < limit;
    if !room {
        count.fetch_sub(1, Ordering::Relaxed);
    }
    room
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
    use std::time::Instant;

    use super::*;
    use crate::ingress::Watermark;

    fn admission(connections: usize, limits: &str) -> Arc<Admission> {
        let limits = serde_yaml::from_str(limits).unwrap();
        Admission::new(connections, &limits, None, Arc::default())
    }

    #[test]
    fn beyond_the_limit_health_can_be_asked_for_and_then_nothing() {
        let admission = admission(2, "{}");
        let enter = |n: usize| -> Vec<Permit> {
            let permits = (0..n).map(|_| admission.enter().unwrap());
            permits.collect()
        };
        let full = enter(2);
        assert!(full.iter().all(|p| p.admitted() == Admitted::Fully));
        let reserve = enter(RESERVE);
        let health = Admitted::ForHealth(TOO_MANY);
        assert!(reserve.iter().all(|p| p.admitted() == health));
        assert_eq!(admission.enter().unwrap_err(), TOO_MANY);
        drop(full);
        assert_eq!(admission.enter().unwrap().admitted(), Admitted::Fully);
        drop(reserve);
        assert_eq!(enter(2).len(), 2);
        assert_eq!(admission.open.load(Ordering::Relaxed), 0);
        assert_eq!(admission.reserved.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_memory_health_can_be_asked_for_and_then_nothing() {
        let pressure = Arc::new(Pressure::default());
        let admission = Admission::new(9999, &Limits::default(), None, Arc::clone(&pressure));
        let before = admission.enter().unwrap();
        let mut watermark = Watermark::new(100, pressure);
        watermark.sample(200, Instant::now());
        let reserve: Vec<_> = (0..RESERVE).map(|_| admission.enter().unwrap()).collect();
        let health = Admitted::ForHealth(NO_MEMORY);
        assert!(reserve.iter().all(|p| p.admitted() == health));
        assert_eq!(admission.enter().unwrap_err(), NO_MEMORY);
        watermark.sample(50, Instant::now());
        assert_eq!(admission.enter().unwrap().admitted(), Admitted::Fully);
        assert_eq!(before.admitted(), Admitted::Fully);
    }

    #[test]
    fn counts_addresses_and_forgets_them() {
        let admission = admission(
            100,
            "{ connections_per_address: 2, exempt_networks: [10.0.0.0/8] }",
        );
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
