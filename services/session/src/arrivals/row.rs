//! The rows of the book. What is written here may be read by every later version.
//!
//! ```text
//! key    0  session, a UUID 16 bytes     value  0  version = 1   u8
//!       16  when, milliseconds since            1  how it came   u8
//!           1970            u64                 2  address, IPv6 or mapped IPv4, 16 bytes
//!                                              18  port         u16
//!                                              20  length of the client's name u16, the name, what is left: the agent
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aetherflow_schema::{
    history::{Arrival, Via},
    id::SessionId,
};
use uuid::Uuid;

const VERSION: u8 = 1;

/// Bytes of a value before the client's name.
const FIXED: usize = 22;

pub(super) fn key(session: SessionId, at_ms: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(session.0.as_bytes());
    key[16..].copy_from_slice(&at_ms.to_be_bytes());
    key
}

/// A key before those of all sessions made at this time or later, and after those of all that were made before.
pub(super) fn first_of(at_ms: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..6].copy_from_slice(&at_ms.to_be_bytes()[2..]);
    key
}

pub(super) fn encode(arrival: &Arrival) -> Vec<u8> {
    let address = match arrival.address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let client = &arrival.client.as_bytes()[..arrival.client.len().min(usize::from(u16::MAX))];
    let mut row = Vec::with_capacity(FIXED + client.len() + arrival.agent.len());
    row.extend_from_slice(&[VERSION, arrival.via as u8]);
    row.extend_from_slice(&address.octets());
    row.extend_from_slice(&arrival.address.port().to_be_bytes());
    row.extend_from_slice(&(client.len() as u16).to_be_bytes());
    row.extend_from_slice(client);
    row.extend_from_slice(arrival.agent.as_bytes());
    row
}

/// `None` for what [`encode`] did not make.
pub(super) fn decode(key: &[u8], row: &[u8]) -> Option<Arrival> {
    let (session, at_ms) = key.split_first_chunk::<16>()?;
    let ([VERSION, via], rest) = row.split_first_chunk()? else {
        return None;
    };
    let (address, rest) = rest.split_first_chunk::<16>()?;
    let (port, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (client, agent) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    let ip = Ipv6Addr::from(*address).to_canonical();
    Some(Arrival {
        session: SessionId(Uuid::from_bytes(*session)),
        at_ms: u64::from_be_bytes(at_ms.try_into().ok()?),
        address: SocketAddr::new(ip, u16::from_be_bytes(*port)),
        via: Via::from_u8(*via)?,
        client: String::from_utf8(client.to_vec()).ok()?,
        agent: String::from_utf8(agent.to_vec()).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_arrival() -> impl Strategy<Value = Arrival> {
        let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = any::<[u8; 16]>().prop_map(|octets| Ipv6Addr::from(octets).to_canonical());
        let address = (prop_oneof![v4, v6], any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
        let texts = ("\\PC{0,64}", "\\PC{0,64}");
        (any::<u128>(), any::<u64>(), address, 0..Via::ALL.len(), texts).prop_map(
            |(session, at_ms, address, via, (client, agent))| Arrival {
                session: SessionId(Uuid::from_u128(session)),
                at_ms,
                address,
                via: Via::ALL[via],
                client,
                agent,
            },
        )
    }

    proptest! {
        #[test]
        fn a_row_gives_back_what_was_put_in(arrival in any_arrival()) {
            let found = decode(&key(arrival.session, arrival.at_ms), &encode(&arrival));
            prop_assert_eq!(found, Some(arrival));
        }

        #[test]
        fn a_row_that_is_cut_short_or_foreign_is_no_arrival(arrival in any_arrival(), cut in 0..FIXED, noise: Vec<u8>) {
            let key = key(arrival.session, arrival.at_ms);
            prop_assert_eq!(decode(&key, &encode(&arrival)[..cut]), None);
            prop_assert_eq!(decode(&key[..23], &encode(&arrival)), None);
            let _ = decode(&key, &noise);
        }
    }
}
