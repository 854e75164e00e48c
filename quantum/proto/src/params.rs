//! Transport parameters. `quantum/SPEC.md` section 3.
//!
//! Owns their layout, defaults and limits. Values that are larger than this crate can use are taken as the largest that it can: the peer
//! allows more than is needed.
//! On failure: the connection is closed (PARAMETERS).

use std::time::Duration;

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::{
    channel::window,
    config::TransportConfig,
    error::{CloseCode, TransportError},
    pmtu::Pmtu,
    types::{ConnectionId, Side},
    varint,
};

/// The smallest datagram that every end takes.
const MIN_UDP_PAYLOAD: u16 = 1200;
/// A longer delay is not believed: timers are computed from it. RFC 9000 section 18.2 has the same limit.
const LONGEST_ACK_DELAY: Duration = Duration::from_millis((1 << 14) - 1);

/// The parameters' ids.
mod id {
    pub(super) const CONNECTION_ID: u64 = 0x01;
    pub(super) const IDLE_TIMEOUT: u64 = 0x02;
    pub(super) const MAX_UDP_PAYLOAD: u64 = 0x03;
    pub(super) const MAX_ACK_DELAY: u64 = 0x04;
    pub(super) const INITIAL_MAX_DATA: u64 = 0x05;
    pub(super) const INITIAL_MAX_CHANNEL_DATA: u64 = 0x06;
    pub(super) const MAX_CHANNELS: u64 = 0x07;
    pub(super) const MAX_MESSAGE: u64 = 0x08;
    pub(super) const MAX_DATAGRAM: u64 = 0x09;
    pub(super) const RESET_TOKEN: u64 = 0x0a;
    pub(super) const FEC: u64 = 0x0b;
}

/// What an end says of itself in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Params {
    /// The id of the first SYN. Whether it is the right one is for the connection to compare.
    pub(crate) connection_id: ConnectionId,
    /// Whole milliseconds on the wire. Zero: none.
    pub(crate) idle_timeout: Duration,
    /// At least 1,200.
    pub(crate) max_udp_payload: u16,
    /// Whole microseconds on the wire.
    pub(crate) max_ack_delay: Duration,
    pub(crate) initial_max_data: u64,
    pub(crate) initial_max_channel_data: u64,
    pub(crate) max_channels: u32,
    pub(crate) max_message: u32,
    /// Zero: it takes none.
    pub(crate) max_datagram: u16,
    /// Of the first id. From servers only.
    pub(crate) reset_token: Option<[u8; 16]>,
    pub(crate) fec: bool,
}

impl Params {
    /// What this end says.
    pub(crate) fn ours(config: &TransportConfig, id: ConnectionId, reset_token: Option<[u8; 16]>) -> Self {
        Self {
            connection_id: id,
            idle_timeout: config.idle_timeout,
            max_udp_payload: config.max_udp_payload.clamp(MIN_UDP_PAYLOAD, Pmtu::MOST),
            max_ack_delay: config.max_ack_delay.min(LONGEST_ACK_DELAY),
            initial_max_data: window(config.receive_window, config.max_message),
            initial_max_channel_data: window(config.channel_window, config.max_message),
            max_channels: config.max_channels,
            max_message: config.max_message,
            max_datagram: config.max_datagram,
            reset_token,
            fec: config.protection,
        }
    }

    /// What an end says that says nothing but its id.
    fn defaults(connection_id: ConnectionId) -> Self {
        Self {
            connection_id,
            idle_timeout: Duration::from_secs(30),
            max_udp_payload: 1472,
            max_ack_delay: Duration::from_millis(5),
            initial_max_data: 0,
            initial_max_channel_data: 0,
            max_channels: 0,
            max_message: 0,
            max_datagram: 0,
            reset_token: None,
            fec: true,
        }
    }

    /// After how long without a packet the connection is dropped: the smaller of both sides'. `None`: never.
    pub(crate) fn common_idle_timeout(ours: Duration, theirs: Duration) -> Option<Duration> {
        [ours, theirs].into_iter().filter(|timeout| !timeout.is_zero()).min()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        write_bytes(id::CONNECTION_ID, self.connection_id.0.as_bytes(), &mut out);
        // Rounded up: what is shorter than the unit must not become "none".
        let idle_timeout = self.idle_timeout.as_micros().div_ceil(1000);
        write_number(
            id::IDLE_TIMEOUT,
            u64::try_from(idle_timeout).unwrap_or(u64::MAX),
            &mut out,
        );
        write_number(id::MAX_UDP_PAYLOAD, u64::from(self.max_udp_payload), &mut out);
        let max_ack_delay = self.max_ack_delay.as_nanos().div_ceil(1000);
        write_number(
            id::MAX_ACK_DELAY,
            u64::try_from(max_ack_delay).unwrap_or(u64::MAX),
            &mut out,
        );
        write_number(id::INITIAL_MAX_DATA, self.initial_max_data, &mut out);
        write_number(id::INITIAL_MAX_CHANNEL_DATA, self.initial_max_channel_data, &mut out);
        write_number(id::MAX_CHANNELS, u64::from(self.max_channels), &mut out);
        write_number(id::MAX_MESSAGE, u64::from(self.max_message), &mut out);
        write_number(id::MAX_DATAGRAM, u64::from(self.max_datagram), &mut out);
        if let Some(token) = &self.reset_token {
            write_bytes(id::RESET_TOKEN, token, &mut out);
        }
        write_number(id::FEC, u64::from(self.fec), &mut out);
        out
    }

    /// Reads what the peer (on side `from`) says. Every value is checked against the specification, but for the connection id, which
    /// is not known here.
    pub(crate) fn decode(from: Side, mut bytes: &[u8]) -> Result<Self, TransportError> {
        let mut params = Self::defaults(ConnectionId(Uuid::nil()));
        let mut ids = Vec::new();
        while !bytes.is_empty() {
            let (id, value) = read_parameter(&mut bytes).ok_or_else(|| wrong("truncated transport parameter"))?;
            params.set(id, value)?;
            ids.push(id);
        }
        // Sorted, since unknown ids count too and a peer may send thousands.
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(wrong("repeated transport parameter"));
        }
        if ids.binary_search(&id::CONNECTION_ID).is_err() {
            return Err(wrong("no connection_id"));
        }
        if params.max_udp_payload < MIN_UDP_PAYLOAD {
            return Err(wrong("max_udp_payload below 1200"));
        }
        if from == Side::Client && params.reset_token.is_some() {
            return Err(wrong("reset_token from a client"));
        }
        Ok(params)
    }

    /// Takes one parameter; unknown ones are skipped.
    fn set(&mut self, id: u64, value: &[u8]) -> Result<(), TransportError> {
        match id {
            id::CONNECTION_ID => self.connection_id = ConnectionId(Uuid::from_bytes(array(value)?)),
            id::IDLE_TIMEOUT => self.idle_timeout = Duration::from_millis(number(value)?),
            id::MAX_UDP_PAYLOAD => self.max_udp_payload = number_u16(value)?,
            id::MAX_ACK_DELAY => self.max_ack_delay = Duration::from_micros(number(value)?).min(LONGEST_ACK_DELAY),
            id::INITIAL_MAX_DATA => self.initial_max_data = number(value)?,
            id::INITIAL_MAX_CHANNEL_DATA => self.initial_max_channel_data = number(value)?,
            id::MAX_CHANNELS => self.max_channels = number_u32(value)?,
            id::MAX_MESSAGE => self.max_message = number_u32(value)?,
            id::MAX_DATAGRAM => self.max_datagram = number_u16(value)?,
            id::RESET_TOKEN => self.reset_token = Some(array(value)?),
            id::FEC => {
                self.fec = match number(value)? {
                    0 => false,
                    1 => true,
                    _ => return Err(wrong("fec is neither 0 nor 1")),
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn wrong(reason: &'static str) -> TransportError {
    TransportError::new(CloseCode::PARAMETERS, reason)
}

fn write_bytes(id: u64, value: &[u8], out: &mut Vec<u8>) {
    varint::write(id, out);
    varint::write(value.len() as u64, out);
    out.put_slice(value);
}

/// Writes the number, or the largest that there is.
fn write_number(id: u64, value: u64, out: &mut Vec<u8>) {
    let value = value.min(varint::MAX);
    varint::write(id, out);
    varint::write(varint::len(value) as u64, out);
    varint::write(value, out);
}

fn read_parameter<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let id = varint::read(bytes)?;
    let len = usize::try_from(varint::read(bytes)?).ok()?;
    let (value, behind) = bytes.split_at_checked(len)?;
    *bytes = behind;
    Some((id, value))
}

/// The value is one varint, and nothing else.
fn number(mut value: &[u8]) -> Result<u64, TransportError> {
    match varint::read(&mut value) {
        Some(number) if !value.has_remaining() => Ok(number),
        _ => Err(wrong("transport parameter that is not a varint")),
    }
}

fn number_u16(value: &[u8]) -> Result<u16, TransportError> {
    Ok(u16::try_from(number(value)?).unwrap_or(u16::MAX))
}

fn number_u32(value: &[u8]) -> Result<u32, TransportError> {
    Ok(u32::try_from(number(value)?).unwrap_or(u32::MAX))
}

fn array(value: &[u8]) -> Result<[u8; 16], TransportError> {
    value
        .try_into()
        .map_err(|_| wrong("transport parameter that has not 16 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::vectors::{Kind, Vector, vectors};

    const ID: ConnectionId = ConnectionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    const TOKEN: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    /// Who says what the names in `vectors/params.txt` stand for.
    fn named(name: &str) -> (Side, Params) {
        let ours = |token| Params::ours(&TransportConfig::default(), ID, token);
        match name {
            "client" => (Side::Client, ours(None)),
            "server" => (Side::Server, ours(Some(TOKEN))),
            "server_plain" => {
                let idle_timeout = Duration::ZERO;
                (
                    Side::Server,
                    Params {
                        idle_timeout,
                        reset_token: None,
                        fec: false,
                        ..ours(None)
                    },
                )
            }
            "defaults" | "unknown_skipped" => (Side::Client, Params::defaults(ID)),
            "large" => {
                let large = Params {
                    max_udp_payload: u16::MAX,
                    max_ack_delay: LONGEST_ACK_DELAY,
                    initial_max_data: varint::MAX,
                    max_channels: u32::MAX,
                    max_message: u32::MAX,
                    max_datagram: u16::MAX,
                    ..Params::defaults(ID)
                };
                (Side::Client, large)
            }
            other => panic!("no parameters are named {other}"),
        }
    }

    #[test]
    fn golden_vectors() {
        let mut good = 0;
        for Vector { kind, name, bytes } in vectors(include_str!("../vectors/params.txt")) {
            if kind == Kind::Bad {
                let error = Params::decode(Side::Client, &bytes).expect_err(name);
                assert_eq!(error.code, CloseCode::PARAMETERS, "{name}");
                continue;
            }
            let (side, params) = named(name);
            assert_eq!(
                hex::encode(params.encode()) == hex::encode(&bytes),
                kind == Kind::Both,
                "{name}"
            );
            assert_eq!(Params::decode(side, &bytes), Ok(params), "{name}");
            good += 1;
        }
        assert_eq!(good, 6);
    }

    #[test]
    fn a_client_has_no_reset_token() {
        let params = Params::ours(&TransportConfig::default(), ID, Some(TOKEN)).encode();
        assert!(Params::decode(Side::Server, &params).is_ok());
        assert_eq!(
            Params::decode(Side::Client, &params),
            Err(wrong("reset_token from a client"))
        );
    }

    #[test]
    fn a_config_cannot_break_the_rules() {
        let config = TransportConfig {
            idle_timeout: Duration::from_nanos(1500),
            max_udp_payload: 100,
            max_ack_delay: Duration::MAX,
            ..TransportConfig::default()
        };
        let params = Params::ours(&config, ID, None).encode();
        let read = Params::decode(Side::Client, &params).unwrap();
        assert_eq!(read.max_udp_payload, MIN_UDP_PAYLOAD);
        let config = TransportConfig {
            max_udp_payload: u16::MAX,
            ..TransportConfig::default()
        };
        assert_eq!(Params::ours(&config, ID, None).max_udp_payload, Pmtu::MOST);
        assert_eq!(read.max_ack_delay, LONGEST_ACK_DELAY);
        assert_eq!(read.idle_timeout, Duration::from_millis(1), "not none");
    }

    #[test]
    fn the_smaller_idle_timeout_holds() {
        let seconds = Duration::from_secs;
        let common = |ours, theirs| Params::common_idle_timeout(seconds(ours), seconds(theirs));
        assert_eq!(common(30, 20), Some(Duration::from_secs(20)));
        assert_eq!(common(20, 30), Some(Duration::from_secs(20)));
        assert_eq!(common(0, 30), Some(Duration::from_secs(30)));
        assert_eq!(common(30, 0), Some(Duration::from_secs(30)));
        assert_eq!(common(0, 0), None);
    }

    fn any_params() -> impl Strategy<Value = Params> {
        let limits = (0..varint::MAX, 0..varint::MAX, any::<u32>(), any::<u32>(), any::<u16>());
        let times = (0..1u64 << 50, 0..16_383_000u64);
        (
            any::<u128>(),
            times,
            MIN_UDP_PAYLOAD..,
            limits,
            any::<Option<[u8; 16]>>(),
            any::<bool>(),
        )
            .prop_map(
                |(id, (idle_ms, delay_us), max_udp_payload, limits, reset_token, fec)| Params {
                    connection_id: ConnectionId(Uuid::from_u128(id)),
                    idle_timeout: Duration::from_millis(idle_ms),
                    max_udp_payload,
                    max_ack_delay: Duration::from_micros(delay_us),
                    initial_max_data: limits.0,
                    initial_max_channel_data: limits.1,
                    max_channels: limits.2,
                    max_message: limits.3,
                    max_datagram: limits.4,
                    reset_token,
                    fec,
                },
            )
    }

    proptest! {
        #[test]
        fn round_trip(params in any_params()) {
            prop_assert_eq!(Params::decode(Side::Server, &params.encode()), Ok(params));
        }

        /// Whatever is read is within the rules, and survives being written.
        #[test]
        fn damaged(params in any_params(), cut: prop::sample::Index, at: prop::sample::Index, byte: u8) {
            let mut bytes = params.encode();
            bytes.truncate(cut.index(bytes.len()) + 1);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = Params::decode(Side::Server, &bytes) {
                prop_assert!(read.max_udp_payload >= MIN_UDP_PAYLOAD);
                prop_assert_eq!(Params::decode(Side::Server, &read.encode()), Ok(read));
            }
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Params::decode(Side::Client, &bytes);
        }
    }
}
