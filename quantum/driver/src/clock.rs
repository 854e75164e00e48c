//! Time, as the core wants it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use quantum_proto::Time;

/// Counts from the Unix epoch, so that tokens of an earlier process have their true age, but never goes back: the wall clock is only
/// asked once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// What the wall clock said then.
    wall: Time,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            start: Instant::now(),
            wall: Time::ZERO + wall,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.wall + self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_counts_from_the_epoch_and_goes_on() {
        let clock = Clock::start();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = clock.now();
        let apart = now.since(Time::ZERO + wall).max((Time::ZERO + wall).since(now));
        assert!(apart < Duration::from_secs(60), "{apart:?}");
        assert!(clock.now() >= now);
    }
}
