//! Putting a packet together.

use std::net::SocketAddr;

use smallvec::SmallVec;

use crate::{
    frame::Frame,
    header::{Flags, HEADER_LEN, Header, TAG_LEN, VERSION},
    number::PacketNumber,
    recovery::SentFrame,
    types::{ConnectionId, Ecn, Level},
};

/// Datagrams to send: `segment` bytes each, the last may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub remote: SocketAddr,
    /// How many bytes were appended to the caller's buffer.
    pub bytes: usize,
    /// Length of each datagram but the last; equal to `bytes` for one.
    pub segment: usize,
    /// To mark them with.
    pub ecn: Option<Ecn>,
}

/// What a DATAGRAM frame takes beyond its bytes.
pub(super) const DATAGRAM_OVERHEAD: usize = 3;

/// Bytes of frames that fit into a datagram of one packet.
pub(super) const fn room(datagram: usize) -> usize {
    datagram - HEADER_LEN - TAG_LEN
}

/// A packet that is being written behind what the buffer already holds.
pub(super) struct Builder<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) level: Level,
    pub(super) number: PacketNumber,
    pub(super) flags: Flags,
    /// The header's acknowledgement.
    ack: Option<PacketNumber>,
    start: usize,
    /// Where the frames must end.
    end: usize,
    pub(super) asks_for_ack: bool,
    pub(super) frames: SmallVec<[SentFrame; 3]>,
    /// Bytes of its frames that protect interactive messages of other packets.
    pub(super) copies: usize,
}

impl<'a> Builder<'a> {
    /// Begins a packet of at most `limit` bytes.
    pub(super) fn new(
        out: &'a mut Vec<u8>,
        level: Level,
        number: PacketNumber,
        ack: Option<PacketNumber>,
        limit: usize,
    ) -> Self {
        let start = out.len();
        out.resize(start + HEADER_LEN, 0);
        Self {
            end: start + limit - TAG_LEN,
            flags: Flags::of_level(level),
            out,
            level,
            number,
            ack,
            start,
            asks_for_ack: false,
            frames: SmallVec::new(),
            copies: 0,
        }
    }

    /// Bytes of frames that still fit.
    pub(super) fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }

    /// The header's acknowledgement.
    pub(super) fn ack(&self) -> Option<PacketNumber> {
        self.ack
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.len() == self.start + HEADER_LEN
    }

    /// Takes no more frames: the payload has been copied.
    pub(super) fn seal_frames(&mut self) {
        self.end = self.out.len();
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.end == self.out.len()
    }

    /// Keeps so many bytes free.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.end = self.end.saturating_sub(bytes).max(self.start + HEADER_LEN);
    }

    /// Adds a frame; the caller has seen to the room.
    pub(super) fn put(&mut self, frame: &Frame, sent: Option<SentFrame>) {
        frame.encode(self.ack.unwrap_or_default(), self.out);
        self.asks_for_ack |= frame.asks_for_ack();
        self.frames.extend(sent);
    }

    /// Adds a frame of at most `max` bytes if there is room for it.
    pub(super) fn put_if_room(&mut self, max: usize, frame: &Frame, sent: Option<SentFrame>) -> bool {
        let fits = self.room() >= max;
        if fits {
            self.put(frame, sent);
        }
        fits
    }

    /// Fills up with PADDING until the packet, sealed, ends `bytes` behind `from`.
    pub(super) fn pad_to(&mut self, from: usize, bytes: usize) {
        let target = (from + bytes).saturating_sub(TAG_LEN);
        if self.out.len() < target {
            self.out.resize(target, 0);
        }
    }

    /// Fills all room with PADDING.
    pub(super) fn fill(&mut self) {
        self.out.resize(self.end.max(self.out.len()), 0);
    }

    /// The frames.
    pub(super) fn payload(&self) -> &[u8] {
        &self.out[self.start + HEADER_LEN..]
    }

    pub(super) fn discard(self) {
        self.out.truncate(self.start);
    }

    /// Writes the header; returns it, and where the packet begins.
    pub(super) fn complete(&mut self, id: ConnectionId) -> (usize, [u8; HEADER_LEN]) {
        if self.ack.is_some() {
            self.flags = self.flags.with(Flags::ACK);
        }
        let header = Header {
            version: VERSION,
            flags: self.flags,
            id,
            number: self.number.low(),
            ack: self.ack.unwrap_or_default().low(),
            payload_len: (self.payload().len() + TAG_LEN) as u16,
        };
        let head = header.encode();
        self.out[self.start..self.start + HEADER_LEN].copy_from_slice(&head);
        (self.start, head)
    }
}
