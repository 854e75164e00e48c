//! Packets that are not sealed with the connection's keys: retry, version, stateless reset. `quantum/SPEC.md` section 8.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::{
    connection::Connection,
    crypto::open_stateless,
    error::ConnectionError,
    frame::{Frame, Frames},
    header::{Flags, HEADER_LEN, Header, VERSION},
    number::PacketNumber,
    time::Time,
    types::Side,
};

/// How long a client waits for a better answer than that its version is not spoken.
const VERSION_PATIENCE: Duration = Duration::from_secs(1);

impl Connection {
    /// Retry, version or stateless reset.
    pub(super) fn on_stateless(&mut self, now: Time, header: &Header, mut packet: BytesMut) {
        self.log_stateless(now, header);
        let payload = packet.split_off(HEADER_LEN);
        let (syn, psh) = (header.flags.has(Flags::SYN), header.flags.has(Flags::PSH));
        let believable = self.side == Side::Client && !self.heard;
        match (syn, psh) {
            (false, _) if payload.len() > 16 && self.ids.is_reset(&payload[payload.len() - 16..]) => {
                self.drain(now, ConnectionError::Reset);
            }
            (true, false) if believable && !payload.is_empty() && !payload.contains(&VERSION) => {
                // Anybody can send this, so a better answer is waited for.
                self.version_refused = true;
                self.timers.handshake = self.timers.handshake.min(Some(now + VERSION_PATIENCE));
            }
            (true, true) if believable && header.version == VERSION && !self.retried => {
                match retry_token(header, &packet, payload) {
                    Some(token) => self.on_retry(Bytes::copy_from_slice(&token)),
                    None => self.stats.packets_rejected += 1,
                }
            }
            _ => self.stats.packets_rejected += 1,
        }
    }
}

fn retry_token(header: &Header, head: &[u8], mut payload: BytesMut) -> Option<Bytes> {
    let len = open_stateless(header.id, head, &mut payload)?;
    payload.truncate(len);
    match Frames::new(PacketNumber::ZERO, payload.freeze()).next()?.ok()? {
        Frame::Token(token) => Some(token),
        _ => None,
    }
}
