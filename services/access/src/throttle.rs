//! Rate limits: how much one address, and one principal, may do.
//!
//! **Owns** a bucket for each address and principal of late (GCRA, from `governor`). **Invariant**: memory is bounded;
//! when there are too many buckets, those that are full again are forgotten, and if that is not enough newcomers have to
//! wait.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::{Identity, Principal, Throttle, TooMuch},
    network::Network,
};
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::keyed::HashMapStateStore,
};

use crate::options::Rates;

/// Buckets of one kind.
const BUCKETS: usize = 100_000;

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock>;

/// See the [module](self).
pub struct RateLimits {
    buckets: RwLock<Arc<Buckets>>,
    count_loopback: AtomicBool,
}

/// Who does something: a principal, or an address when it is nobody in particular.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    Principal(Principal),
    Network(Network),
}

struct Buckets {
    rates: Rates,
    arrivals: Option<Limiter<Network>>,
    operations: Option<Limiter<Who>>,
    bytes: Option<Limiter<Who>>,
}

impl RateLimits {
    /// These limits; those that come from this machine count only if `count_loopback`.
    pub fn new(rates: Rates, count_loopback: bool) -> Self {
        Self {
            buckets: RwLock::new(Arc::new(Buckets::new(rates))),
            count_loopback: AtomicBool::new(count_loopback),
        }
    }

    /// Other limits from now on; where rates are others, everybody starts afresh.
    pub fn set(&self, rates: Rates, count_loopback: bool) {
        self.count_loopback.store(count_loopback, Relaxed);
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.rates != rates {
            *buckets = Arc::new(Buckets::new(rates));
        }
    }

    fn buckets(&self) -> Arc<Buckets> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Buckets {
    fn new(rates: Rates) -> Self {
        Self {
            rates,
            arrivals: limiter(rates.arrivals_per_address),
            operations: limiter(rates.operations_per_principal),
            bytes: limiter(rates.bytes_per_principal),
        }
    }
}

fn limiter<K: Hash + Eq + Clone>(per_second: u32) -> Option<Limiter<K>> {
    let quota = Quota::per_second(NonZeroU32::new(per_second)?);
    Some(RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock))
}

/// Takes `cells` from a bucket, or as many as it can hold.
fn take<K: Hash + Eq + Clone>(limiter: Option<&Limiter<K>>, key: &K, cells: u32, most: u32) -> Result<(), TooMuch> {
    let (Some(limiter), Some(cells)) = (limiter, NonZeroU32::new(cells.min(most))) else {
        return Ok(());
    };
    if limiter.len() >= BUCKETS {
        limiter.retain_recent();
        if limiter.len() >= BUCKETS {
            let retry_after = Duration::from_secs(1);
            return Err(TooMuch { retry_after });
        }
    }
    match limiter.check_key_n(key, cells) {
        Ok(Ok(())) | Err(_) => Ok(()),
        Ok(Err(not_until)) => Err(TooMuch {
            retry_after: not_until.wait_time_from(MonotonicClock.now()),
        }),
    }
}

impl Throttle for RateLimits {
    fn arrival(&self, address: IpAddr) -> Result<(), TooMuch> {
        let network = Network::of(address);
        if network.is_this_machine() && !self.count_loopback.load(Relaxed) {
            return Ok(());
        }
        let buckets = self.buckets();
        take(buckets.arrivals.as_ref(), &network, 1, u32::MAX)
    }

    fn operation(&self, identity: &Identity, address: IpAddr, bytes: usize) -> Result<(), TooMuch> {
        let buckets = self.buckets();
        let who = match identity.principal.is_anonymous() {
            true => Who::Network(Network::of(address)),
            false => Who::Principal(identity.principal.clone()),
        };
        take(buckets.operations.as_ref(), &who, 1, u32::MAX)?;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let most = buckets.rates.bytes_per_principal;
        take(buckets.bytes.as_ref(), &who, bytes, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(arrivals: u32, operations: u32, bytes: u32) -> Rates {
        Rates {
            arrivals_per_address: arrivals,
            operations_per_principal: operations,
            bytes_per_principal: bytes,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How often something goes well at once, of a thousand times. More comes back every second, so it is told apart from
    /// "always" only.
    fn times(mut attempt: impl FnMut() -> Result<(), TooMuch>) -> usize {
        (0..1000).take_while(|_| attempt().is_ok()).count()
    }

    #[test]
    fn each_address_and_each_principal_has_a_share_of_its_own() {
        let limits = RateLimits::new(rates(2, 3, 0), false);
        let count = times(|| limits.arrival(ip("192.0.2.1")));
        assert!((2..1000).contains(&count), "{count}");
        let refused = limits.arrival(ip("::ffff:192.0.2.1")).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(1));
        assert!(limits.arrival(ip("192.0.2.2")).is_ok());
        for this_machine in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(times(|| limits.arrival(ip(this_machine))), 1000, "{this_machine}");
        }
        assert!((2..1000).contains(&times(|| limits.arrival(ip("2001:db8::1")))));
        let user = |name: &str| Identity::user(Principal::named(name).unwrap());
        assert!((3..1000).contains(&times(|| limits.operation(&user("ada"), ip("192.0.2.1"), 0))));
        assert!(limits.operation(&user("bob"), ip("192.0.2.1"), 1 << 30).is_ok());
        limits.set(rates(0, 0, 0), true);
        assert_eq!(times(|| limits.operation(&user("ada"), ip("192.0.2.1"), 1 << 20)), 1000);
        assert_eq!(times(|| limits.arrival(ip("192.0.2.1"))), 1000);
        limits.set(rates(2, 0, 0), true);
        assert!(times(|| limits.arrival(ip("127.0.0.1"))) < 1000);
    }

    #[test]
    fn bytes_are_counted_and_what_is_larger_than_all_of_them_is_not_refused_for_ever() {
        let limits = RateLimits::new(rates(0, 0, 1000), true);
        let user = Identity::user(Principal::named("ada").unwrap());
        assert!(limits.operation(&user, ip("192.0.2.1"), usize::MAX).is_ok());
        let refused = limits.operation(&user, ip("192.0.2.1"), 500).unwrap_err();
        assert!(refused.retry_after > Duration::ZERO);
    }
}
