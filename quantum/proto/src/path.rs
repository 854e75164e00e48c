//! One network path: its address, whether the peer was seen there, and how much may be sent until it was.

use std::net::SocketAddr;

use crate::time::Time;

pub(crate) struct Path {}

impl Path {
    pub(crate) fn new(_remote: SocketAddr, _validated: bool) -> Self {
        todo!()
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        todo!()
    }

    pub(crate) fn is_validated(&self) -> bool {
        todo!()
    }

    pub(crate) fn validate(&mut self) {
        todo!()
    }

    pub(crate) fn on_received(&mut self, _bytes: usize) {
        todo!()
    }

    pub(crate) fn on_sent(&mut self, _bytes: usize) {
        todo!()
    }

    /// Bytes that may still be sent before the address is validated: three times those received. RFC 9000 section 8.1.
    pub(crate) fn allowance(&self) -> usize {
        todo!()
    }

    /// Begins validation with a challenge, which is to be sent now and again at `retry_at` until `give_up_at`.
    pub(crate) fn challenge(&mut self, _data: [u8; 8], _now: Time, _give_up_at: Time) {
        todo!()
    }

    /// A challenge to put into a packet now.
    pub(crate) fn pending_challenge(&mut self) -> Option<[u8; 8]> {
        todo!()
    }

    pub(crate) fn has_pending_challenge(&self) -> bool {
        todo!()
    }

    /// The challenge was not answered in time: it is pending again.
    pub(crate) fn resend_challenge(&mut self) {
        todo!()
    }

    /// Stops asking.
    pub(crate) fn give_up(&mut self) {
        todo!()
    }

    /// `true` when it answers a challenge sent on this path.
    pub(crate) fn on_response(&mut self, _data: [u8; 8]) -> bool {
        todo!()
    }

    /// When validation fails.
    pub(crate) fn gives_up_at(&self) -> Option<Time> {
        todo!()
    }
}
