//! What was said on a connection, to compare with what is heard.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quantum_proto::{ChannelId, Delivery, Message, Side};

/// Where a message belongs.
type Stream = (ChannelId, Delivery);

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    /// Lengths of the messages that were taken, by their ids; and whether they were declared safe to replay.
    said: BTreeMap<(u32, bool), Vec<(usize, bool)>>,
    heard: BTreeMap<(u32, bool), BTreeSet<u64>>,
    datagrams_said: Vec<usize>,
    datagrams_heard: BTreeSet<u64>,
}

fn key((channel, delivery): Stream) -> (u32, bool) {
    (channel.0, delivery == Delivery::Unordered)
}

/// The bytes of a message follow from where it stands.
fn content(from: Side, stream: Stream, id: u64, len: usize) -> Bytes {
    let (channel, unordered) = key(stream);
    let seed = id * 31 + u64::from(channel) * 7 + u64::from(unordered) * 3 + u64::from(from == Side::Client);
    (0..len).map(|at| (seed as usize + at * 13 + at / 251) as u8).collect()
}

fn datagram(from: Side, id: u64, len: usize) -> Bytes {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend_from_slice(&content(from, (ChannelId(99), Delivery::Unordered), id, len));
    bytes.into()
}

impl Speech {
    /// The next message of a stream.
    pub(crate) fn next(&self, from: Side, stream: Stream, len: usize) -> Bytes {
        let id = self.said.get(&key(stream)).map_or(0, Vec::len) as u64;
        content(from, stream, id, len)
    }

    /// It was taken.
    pub(crate) fn say(&mut self, stream: Stream, len: usize, replay_safe: bool) {
        self.said.entry(key(stream)).or_default().push((len, replay_safe));
    }

    /// A message arrived: it was said, it is heard once, in order where there is one.
    pub(crate) fn hear(&mut self, from: Side, message: &Message) {
        let stream = (message.channel, message.delivery);
        let id = message.id.0;
        let Some((len, _)) = self.said.get(&key(stream)).and_then(|said| said.get(id as usize)) else {
            panic!("message {id} of {stream:?} was never said");
        };
        assert_eq!(
            message.data,
            content(from, stream, id, *len),
            "message {id} of {stream:?}"
        );
        let heard = self.heard.entry(key(stream)).or_default();
        if message.delivery == Delivery::Ordered {
            assert_eq!(id, heard.len() as u64, "out of order in {stream:?}");
        }
        assert!(heard.insert(id), "message {id} of {stream:?} came twice");
    }

    /// A message arrived at a connection that an attacker began with replayed packets.
    pub(crate) fn hear_replayed(&self, message: &Message) {
        let stream = (message.channel, message.delivery);
        let said = self
            .said
            .get(&key(stream))
            .and_then(|said| said.get(message.id.0 as usize));
        assert!(
            said.is_some_and(|(_, replay_safe)| *replay_safe),
            "replayed: {message:?}"
        );
    }

    /// The next datagram.
    pub(crate) fn next_datagram(&self, from: Side, len: usize) -> Bytes {
        datagram(from, self.datagrams_said.len() as u64, len)
    }

    pub(crate) fn say_datagram(&mut self, len: usize) {
        self.datagrams_said.push(len);
    }

    pub(crate) fn hear_datagram(&mut self, from: Side, data: &Bytes) {
        let id = data.first_chunk().map(|id| u64::from_be_bytes(*id)).unwrap();
        let len = *self
            .datagrams_said
            .get(id as usize)
            .unwrap_or_else(|| panic!("datagram {id} was never said"));
        assert_eq!(*data, datagram(from, id, len), "datagram {id}");
        assert!(self.datagrams_heard.insert(id), "datagram {id} came twice");
    }

    /// How many messages did not arrive.
    pub(crate) fn missing(&self) -> usize {
        let said: usize = self.said.values().map(Vec::len).sum();
        let heard: usize = self.heard.values().map(BTreeSet::len).sum();
        said - heard
    }
}
