//! Which packets are lost: independently, or in bursts (Gilbert).

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

/// A link with the same delay and loss in both directions.
#[derive(Clone, Copy, Debug)]
pub(in crate::fec) struct Link {
    pub(in crate::fec) rtt: Duration,
    pub(in crate::fec) loss: f64,
    /// Mean length of a burst; `None`: losses are independent.
    pub(in crate::fec) burst: Option<f64>,
}

/// One direction of it.
pub(super) struct Channel {
    loss: f64,
    burst: Option<f64>,
    bad: bool,
}

impl Channel {
    pub(super) fn new(link: &Link) -> Self {
        Self {
            loss: link.loss,
            burst: link.burst,
            bad: false,
        }
    }

    pub(super) fn loses(&mut self, random: &mut StdRng) -> bool {
        let Some(burst) = self.burst else {
            return random.random_bool(self.loss);
        };
        let leave = 1.0 / burst;
        let enter = self.loss * leave / (1.0 - self.loss);
        self.bad = random.random_bool(if self.bad { 1.0 - leave } else { enter });
        self.bad
    }
}
