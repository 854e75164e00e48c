//! Time, as the core wants it.

use std::time::Instant;

use quantum_proto::Time;

/// Counts from when the endpoint was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        let nanos = self.origin.elapsed().as_nanos();
        Time::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.origin + std::time::Duration::from_nanos(time.as_nanos())
    }
}
