//! What the operator may choose.

use std::time::Duration;

use aetherflow_schema::sessions::NodeId;

use crate::core::registry::Times;

/// How sessions are kept.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The name of this process among those that share the store.
    pub node: NodeId,
    /// A connection must have said what it wants by then; 30 s.
    pub introduce_within: Duration,
    /// A client of which nothing is heard for so long is idle; 60 s.
    pub idle_after: Duration,
    /// One of which nothing is heard for so long is gone; 10 minutes. Gateways notice much sooner when a connection breaks.
    pub expire_after: Duration,
    /// A client may come back for so long after its connection broke; 2 minutes. Costs a record in memory and in the store
    /// for each client that does not come back.
    pub resume_window: Duration,
    /// Cursors are stored so long after they moved; 2 s. After a crash a client has them as they were then.
    pub save_after: Duration,
    /// A store that does not answer within this is taken for unreachable; 5 s.
    pub store_timeout: Duration,
    /// Sessions of this process; 1,000,000. Each takes about a kilobyte, and its attributes and cursors.
    pub sessions_max: usize,
}

/// Options that contradict one another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Something that must take some time takes none.
    #[error("{0} must be more than nothing")]
    Zero(&'static str),
    /// A client is gone before it is idle.
    #[error("expire_after must be longer than idle_after")]
    Order,
}

impl SessionOptions {
    /// The defaults.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            introduce_within: Duration::from_secs(30),
            idle_after: Duration::from_secs(60),
            expire_after: Duration::from_secs(600),
            resume_window: Duration::from_secs(120),
            save_after: Duration::from_secs(2),
            store_timeout: Duration::from_secs(5),
            sessions_max: 1_000_000,
        }
    }

    /// # Errors
    /// When they make no sense.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let times = [
            ("introduce_within", self.introduce_within),
            ("idle_after", self.idle_after),
            ("resume_window", self.resume_window),
            ("store_timeout", self.store_timeout),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(OptionsError::Zero(name));
        }
        if self.sessions_max == 0 {
            return Err(OptionsError::Zero("sessions_max"));
        }
        if self.expire_after <= self.idle_after {
            return Err(OptionsError::Order);
        }
        Ok(())
    }

    pub(super) fn times(&self, lease: Option<Duration>) -> Times {
        Times {
            introduce: millis(self.introduce_within),
            idle: millis(self.idle_after),
            expire: millis(self.expire_after),
            resume_window: millis(self.resume_window),
            save: millis(self.save_after),
            lease: lease.map(millis),
        }
    }
}

/// A hundred years are enough, and can be added to any time.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 41)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_refused() {
        let options = SessionOptions::new(NodeId::named("n").unwrap());
        assert_eq!(options.validate(), Ok(()));
        let refused = |change: fn(&mut SessionOptions)| {
            let mut options = options.clone();
            change(&mut options);
            options.validate().unwrap_err()
        };
        assert_eq!(
            refused(|o| o.resume_window = Duration::ZERO),
            OptionsError::Zero("resume_window")
        );
        assert_eq!(refused(|o| o.sessions_max = 0), OptionsError::Zero("sessions_max"));
        assert_eq!(refused(|o| o.expire_after = o.idle_after), OptionsError::Order);
    }
}
