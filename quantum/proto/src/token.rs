//! Tokens that let a server recognise addresses and connections without keeping state.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;

use crate::{time::Time, types::ConnectionId};

/// Keys everything that the server wants to recognise later. The keys of address tokens rotate.
pub(crate) struct Tokens {}

/// What a token proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The address answered a retry just now.
    Retry,
    /// It had a connection not long ago.
    Visited,
}

impl Tokens {
    pub(crate) const RETRY_LIFETIME: Duration = Duration::from_secs(10);
    pub(crate) const VISIT_LIFETIME: Duration = Duration::from_secs(24 * 3600);

    pub(crate) fn new(_secret: &[u8; 32]) -> Self {
        todo!()
    }

    /// For a retry: bound to address, port and connection id.
    pub(crate) fn retry(&self, _now: Time, _remote: SocketAddr, _id: ConnectionId) -> Bytes {
        todo!()
    }

    /// For a later connection: bound to the address without port.
    pub(crate) fn visit(&self, _now: Time, _remote: SocketAddr) -> Bytes {
        todo!()
    }

    pub(crate) fn check(&self, _now: Time, _remote: SocketAddr, _id: ConnectionId, _token: &[u8]) -> Option<Proof> {
        todo!()
    }

    /// The stateless reset token of a connection id.
    pub(crate) fn reset(&self, _id: ConnectionId) -> [u8; 16] {
        todo!()
    }
}
