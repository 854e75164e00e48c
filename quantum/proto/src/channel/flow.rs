//! Flow control: what the peer may send ([`Window`]), and what this end may send ([`Credit`]).
//!
//! Both count, since the connection began, for each message its bytes plus [`MESSAGE_COST`](super::MESSAGE_COST). Used twice: for the connection and for
//! each channel. On failure: the peer used more than was announced, FLOW_CONTROL.

use crate::{
    channel::MESSAGE_COST,
    error::{CloseCode, TransportError},
};

/// The window to announce, in bytes, when so much was configured: at least 4/3 of what the largest message costs. A new limit is only
/// announced when a quarter of the window came back (see [`Window::is_due`]); with less than this, a
/// sender could wait for credit for a large message that the receiver thinks too little to announce.
pub(crate) fn window(configured: u32, max_message: u32) -> u64 {
    let largest = u64::from(max_message) + MESSAGE_COST;
    u64::from(configured).max(largest + largest.div_ceil(3))
}

/// What the peer may send.
#[derive(Debug)]
pub(super) struct Window {
    /// Bytes that it may have under way or unread.
    size: u64,
    /// The limit it was told.
    announced: u64,
    /// What it has used.
    used: u64,
    /// What the application has taken of that.
    freed: u64,
    /// The last announcement was lost.
    lost: bool,
}

impl Window {
    /// `size` is also the limit that the transport parameters announced.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            announced: size,
            used: 0,
            freed: 0,
            lost: false,
        }
    }

    /// # Errors
    /// The peer had no credit for it.
    pub(super) fn charge(&mut self, bytes: u64) -> Result<(), TransportError> {
        if bytes > self.announced - self.used {
            return Err(TransportError::new(
                CloseCode::FLOW_CONTROL,
                "more message bytes than the limit allows",
            ));
        }
        self.used += bytes;
        Ok(())
    }

    pub(super) fn release(&mut self, bytes: u64) {
        self.freed += bytes;
        assert!(self.freed <= self.used, "more credit came back than was used");
    }

    /// A quarter of the window came back since the last announcement, or that was lost.
    pub(super) fn is_due(&self) -> bool {
        self.lost || self.freed + self.size - self.announced > self.size / 4
    }

    /// The new limit, which the caller tells the peer; `None` when there is no need.
    pub(super) fn announce(&mut self) -> Option<u64> {
        if !self.is_due() {
            return None;
        }
        self.lost = false;
        self.announced = self.freed + self.size;
        Some(self.announced)
    }

    pub(super) fn on_lost(&mut self) {
        self.lost = true;
    }
}

/// What this end may send.
#[derive(Debug, Default)]
pub(super) struct Credit {
    limit: u64,
    used: u64,
}

impl Credit {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0 }
    }

    pub(super) fn covers(&self, bytes: u64) -> bool {
        bytes <= self.limit.saturating_sub(self.used)
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        assert!(self.covers(bytes), "a message was begun without credit");
        self.used += bytes;
    }

    /// Limits only grow: an old announcement may arrive late.
    pub(super) fn raise(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Sets the limit; `false` when more than that was used already.
    pub(super) fn reset(&mut self, limit: u64) -> bool {
        self.limit = limit;
        self.used <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_limit_is_announced_after_a_quarter_of_the_window() {
        let mut window = Window::new(1000);
        window.charge(1000).unwrap();
        assert_eq!(window.charge(1).unwrap_err().code, CloseCode::FLOW_CONTROL);
        window.release(250);
        assert_eq!(window.announce(), None);
        window.release(1);
        assert_eq!(window.announce(), Some(1251));
        assert_eq!(window.announce(), None);
        window.charge(251).unwrap();
        assert!(window.charge(1).is_err());
    }

    #[test]
    fn a_lost_limit_is_announced_again_as_it_is_by_then() {
        let mut window = Window::new(1000);
        window.charge(400).unwrap();
        window.release(300);
        assert_eq!(window.announce(), Some(1300));
        window.release(100);
        window.on_lost();
        assert_eq!(window.announce(), Some(1400));
        assert_eq!(window.announce(), None);
    }

    #[test]
    fn what_was_not_announced_never_hinders_the_largest_message() {
        for (configured, max_message) in [
            (0, 0),
            (1, 1),
            (100, 1000),
            (1 << 20, 1 << 20),
            (1 << 30, 77),
            (u32::MAX, u32::MAX),
        ] {
            let size = window(configured, max_message);
            let mut window = Window::new(size);
            window.charge(size / 4).unwrap();
            window.release(size / 4);
            assert_eq!(window.announce(), None, "nothing was announced yet");
            window.charge(u64::from(max_message) + MESSAGE_COST).unwrap();
        }
    }

    #[test]
    fn credit_only_grows() {
        let mut credit = Credit::new(100);
        credit.spend(60);
        assert!(credit.covers(40) && !credit.covers(41));
        credit.raise(90);
        assert!(credit.covers(40));
        credit.raise(200);
        assert!(credit.covers(140) && !credit.covers(141));
        assert!(!credit.reset(59));
        assert!(!credit.covers(1));
    }
}
