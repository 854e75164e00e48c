//! The client's last flight, which goes out several times.
//!
//! Without it the server opens none of the messages that follow it, and a retransmission takes most of a second where nothing is known of the path.
//!
//! Owns when it went out. Inputs: the time, whether a message may go. Effects: its bytes wait to be sent once more.
//! Invariants: it is repeated at most [`AGAIN`] times, each at another time and along with messages, and only within a round trip of the first time.
//! On failure: once its answer is due retransmission sees to it, and a server that was restarted resets what does not begin with a handshake.

use std::time::Duration;

use crate::{
    connection::Connection,
    time::Time,
    types::{Level, Side},
};

const AGAIN: u8 = 3;

#[derive(Default)]
pub(super) struct LastFlight {
    /// When it went out first.
    first: Option<Time>,
    /// When it was repeated last.
    repeated: Option<Time>,
    /// Of [`AGAIN`], those that went out.
    again: u8,
}

impl LastFlight {
    /// It is about to go out because it never did, or was lost.
    fn on_sent(&mut self, now: Time) {
        self.first.get_or_insert(now);
    }

    fn may_repeat(&self, now: Time, rtt: Duration) -> bool {
        let awaited = self.first.is_some_and(|at| now < at + rtt);
        awaited && self.again < AGAIN && self.repeated != Some(now)
    }

    fn on_repeated(&mut self, now: Time) {
        self.repeated = Some(now);
        self.again += 1;
    }
}

impl Connection {
    /// The last flight goes out once more if a message goes out now, in a datagram of at most `limit` bytes.
    pub(super) fn repeat_last_flight(&mut self, now: Time, limit: usize) {
        if self.side != Side::Client || !self.handshake.is_complete() {
            return;
        }
        if self.handshake.wants_to_send(Level::Handshake) {
            return self.last_flight.on_sent(now);
        }
        let rtt = self.recovery.rtt().smoothed;
        // Window and pacer count that they were asked, so they come last.
        if self.last_flight.may_repeat(now, rtt) && self.message_goes(now, limit) {
            self.handshake.repeat(Level::Handshake);
            self.last_flight.on_repeated(now);
        }
    }
}
