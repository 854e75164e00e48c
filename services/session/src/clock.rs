//! The time: milliseconds since 1970 that never go back.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::{Duration, Instant};

/// The wall clock as it was at the start, and what has passed since by a clock that is never set.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started_ms: u64,
    started: Instant,
}

impl Clock {
    /// Starts at the wall clock's time.
    pub fn new() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_ms: since_1970.as_millis().try_into().unwrap_or(u64::MAX),
            started: Instant::now(),
        }
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.started_ms + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When that will be.
    pub(crate) fn instant(&self, at_ms: u64) -> Instant {
        self.started + Duration::from_millis(at_ms.saturating_sub(self.started_ms).min(1 << 42))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
