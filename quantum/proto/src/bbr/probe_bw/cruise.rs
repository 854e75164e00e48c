//! Cruise: as fast as the path delivers, until it is time to probe.

use super::{Bbr, State};
use crate::time::Time;

impl Bbr {
    pub(in crate::bbr) fn start_cruise(&mut self) {
        self.state = State::Cruise;
    }

    pub(super) fn update_cruise(&mut self, now: Time) {
        if !self.rival.present() && self.time_to_probe(now) {
            self.start_refill();
        }
    }
}
