//! What went over the wire: who sent what size to whom and when, and the packets' clear headers.

use std::{
    collections::VecDeque,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

use quantum_proto::Time;

use crate::wire::{self, Clear};

/// Datagrams that are kept to be shown.
const SHOWN: usize = 60;

struct Line {
    at: Time,
    from: SocketAddr,
    to: SocketAddr,
    bytes: usize,
    packets: Vec<Clear>,
}

/// A digest of everything, and the last few datagrams.
#[derive(Default)]
pub(crate) struct Trace {
    hasher: DefaultHasher,
    count: u64,
    last: VecDeque<Line>,
}

impl Trace {
    pub(crate) fn record(&mut self, at: Time, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let line = Line {
            at,
            from,
            to,
            bytes: datagram.len(),
            packets: wire::packets(datagram).collect(),
        };
        (line.at, line.from, line.to, line.bytes, &line.packets).hash(&mut self.hasher);
        self.count += 1;
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Equal for equal traces.
    pub(crate) fn digest(&self) -> (u64, u64) {
        (self.count, self.hasher.finish())
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} datagrams, the last:", self.count)?;
        for line in &self.last {
            write!(
                f,
                "{:>14} {} -> {} {:>4} B ",
                line.at.to_string(),
                line.from,
                line.to,
                line.bytes
            )?;
            for packet in &line.packets {
                write!(
                    f,
                    " [{:#04x} n{} a{} {} B]",
                    packet.flags, packet.number, packet.ack, packet.len
                )?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
