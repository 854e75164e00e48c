//! Transport parameters. `quantum/SPEC.md` section 3.

use std::time::Duration;

use crate::{
    config::TransportConfig,
    error::TransportError,
    types::{ConnectionId, Side},
};

/// What an end says of itself in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    pub(crate) connection_id: ConnectionId,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_udp_payload: u16,
    pub(crate) max_ack_delay: Duration,
    pub(crate) initial_max_data: u64,
    pub(crate) initial_max_channel_data: u64,
    pub(crate) max_channels: u32,
    pub(crate) max_message: u32,
    pub(crate) max_datagram: u16,
    pub(crate) reset_token: Option<[u8; 16]>,
    pub(crate) fec: bool,
}

impl Params {
    /// What this end says.
    pub(crate) fn ours(_config: &TransportConfig, _id: ConnectionId, _reset_token: Option<[u8; 16]>) -> Self {
        todo!()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// Reads what the peer (on side `from`) says. Every value is checked against the specification.
    pub(crate) fn decode(_from: Side, _bytes: &[u8]) -> Result<Self, TransportError> {
        todo!()
    }
}
