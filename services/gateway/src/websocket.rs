//! The WebSocket framing of RFC 6455, as a server without extensions needs it. No I/O.
//!
//! Why not a library's socket: those keep a read buffer for each connection, idle or not, and a write buffer that stays
//! as large as the largest burst it ever held. Here a connection holds nothing while it is idle: the decoder is fed
//! from a buffer that all connections of a thread share, and a message for the wire is a header of ten bytes beside a
//! payload that is never copied.
//!
//! Invariants: the decoder takes any bytes in any pieces, never panics, and never holds more than the message limit
//! (doubled, while a message grows); what has not arrived is not allocated.

use bytes::{BufMut, Bytes, BytesMut};

use aetherflow_schema::{close::CloseCode, id::DocumentId};

use crate::close::Close;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;

/// The longest header of a client's frame: two bytes, the long length, the mask.
const HEADER_BYTES: usize = 14;

/// The longest payload of a control frame.
const CONTROL_BYTES: usize = 125;

/// As much as is allocated ahead of what arrived.
const AHEAD_BYTES: usize = 64 << 10;

/// What the peer sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole binary message.
    Message(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// The answer to a ping.
    Pong,
    /// The peer closes, with this code if it gave one.
    Close(Option<u16>),
}

/// Takes frames apart.
pub(crate) struct Decoder {
    limit: usize,
    header: [u8; HEADER_BYTES],
    have: u8,
    frame: Option<Payload>,
    fragmented: bool,
    message: BytesMut,
    control: BytesMut,
    /// The peer broke a rule: nothing it sends afterwards has a meaning.
    failed: bool,
}

/// The payload that is being received.
#[derive(Clone, Copy)]
struct Payload {
    opcode: u8,
    fin: bool,
    mask: [u8; 4],
    remaining: usize,
}

impl Decoder {
    /// For messages of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; HEADER_BYTES],
            have: 0,
            frame: None,
            fragmented: false,
            message: BytesMut::new(),
            control: BytesMut::new(),
            failed: false,
        }
    }

    /// Takes bytes from the front of `input`, up to the end of a message if there is one; otherwise all of them.
    ///
    /// # Errors
    /// How to close the connection, when the peer broke a rule. What is fed afterwards is ignored.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Close> {
        if self.failed {
            *input = &[];
            return Ok(None);
        }
        self.advance(input).inspect_err(|_| {
            self.failed = true;
            self.message = BytesMut::new();
        })
    }

    /// Whether the peer broke a rule, so that its answer to a close will not be recognized.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Close> {
        loop {
            let mut payload = match self.frame {
                Some(payload) => payload,
                None => match self.take_header(input)? {
                    Some(payload) => payload,
                    None => return Ok(None),
                },
            };
            let taken = payload.remaining.min(input.len());
            let (bytes, rest) = input.split_at(taken);
            *input = rest;
            let body = if is_control(payload.opcode) {
                &mut self.control
            } else {
                &mut self.message
            };
            append(body, bytes, &mut payload);
            self.frame = Some(payload);
            if payload.remaining > 0 {
                return Ok(None);
            }
            self.frame = None;
            if let Some(incoming) = self.finish(payload)? {
                return Ok(Some(incoming));
            }
        }
    }

    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<Payload>, Close> {
        loop {
            let have = usize::from(self.have);
            let need = if have < 2 { 2 } else { header_bytes(self.header[1]) };
            if have == need {
                break;
            }
            let Some((byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.header[have] = *byte;
            self.have += 1;
            if self.have == 2 {
                self.check_start()?;
            }
        }
        let payload = self.parse_header()?;
        self.have = 0;
        Ok(Some(payload))
    }

    /// Checks the first two bytes, before the rest is waited for.
    fn check_start(&self) -> Result<(), Close> {
        let [first, second, ..] = self.header;
        let opcode = first & OPCODE;
        let complaint = match opcode {
            _ if first & RESERVED != 0 => "a reserved bit is set",
            _ if second & MASKED == 0 => "the frame is not masked",
            CONTINUATION if !self.fragmented => "a continuation of nothing",
            TEXT | BINARY if self.fragmented => "a message within a message",
            TEXT => return Err(Close::plain(CloseCode::UnsupportedData)),
            CONTINUATION | BINARY => return Ok(()),
            CLOSE | PING | PONG if first & FIN == 0 => "a control frame in fragments",
            CLOSE | PING | PONG if usize::from(second & !MASKED) > CONTROL_BYTES => "a control frame that is too long",
            CLOSE | PING | PONG => return Ok(()),
            _ => "an unknown kind of frame",
        };
        Err(Close::because(CloseCode::ProtocolError, complaint))
    }

    fn parse_header(&self) -> Result<Payload, Close> {
        let need = header_bytes(self.header[1]);
        let length = match self.header[1] & !MASKED {
            126 | 127 => self.header[2..need - 4]
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte)),
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.header[need - 4..need]);
        let opcode = self.header[0] & OPCODE;
        let held = if is_control(opcode) { 0 } else { self.message.len() };
        match usize::try_from(length) {
            Ok(remaining) if remaining <= self.limit.saturating_sub(held) => Ok(Payload {
                opcode,
                fin: self.header[0] & FIN != 0,
                mask,
                remaining,
            }),
            _ => Err(Close::because(
                CloseCode::MessageTooBig,
                format_args!("more than {} bytes", self.limit),
            )),
        }
    }

    fn finish(&mut self, payload: Payload) -> Result<Option<Incoming>, Close> {
        if !is_control(payload.opcode) {
            self.fragmented = !payload.fin;
            return Ok(payload.fin.then(|| Incoming::Message(take(&mut self.message))));
        }
        let body = take(&mut self.control);
        match (payload.opcode, &body[..]) {
            (PING, _) => Ok(Some(Incoming::Ping(body))),
            (PONG, _) => Ok(Some(Incoming::Pong)),
            (_, []) => Ok(Some(Incoming::Close(None))),
            (_, [_]) => Err(Close::because(CloseCode::ProtocolError, "half a close code")),
            (_, [high, low, ..]) => Ok(Some(Incoming::Close(Some(u16::from_be_bytes([*high, *low]))))),
        }
    }
}

fn take(buffer: &mut BytesMut) -> Bytes {
    std::mem::take(buffer).freeze()
}

fn is_control(opcode: u8) -> bool {
    opcode & 0x8 != 0
}

/// Bytes of a masked frame's header whose second byte is `second`.
fn header_bytes(second: u8) -> usize {
    match second & !MASKED {
        126 => 2 + 2 + 4,
        127 => 2 + 8 + 4,
        _ => 2 + 4,
    }
}

/// Appends a part of a payload and unmasks it.
fn append(body: &mut BytesMut, part: &[u8], payload: &mut Payload) {
    let start = body.len();
    if body.capacity() - start < part.len() {
        body.reserve(payload.remaining.min(part.len().max(start).max(AHEAD_BYTES)));
    }
    body.put_slice(part);
    unmask(&mut body[start..], payload.mask);
    payload.remaining -= part.len();
    payload.mask.rotate_left(part.len() % 4);
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let mut words = bytes.chunks_exact_mut(8);
    for word in &mut words {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        word.copy_from_slice(&(u64::from_ne_bytes(value) ^ wide).to_ne_bytes());
    }
    words
        .into_remainder()
        .iter_mut()
        .zip(mask.iter().cycle())
        .for_each(|(byte, mask)| *byte ^= mask);
}

/// A frame to be sent, never masked and never fragmented.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    header: [u8; 10],
    header_bytes: u8,
    payload: Bytes,
    document: Option<DocumentId>,
}

impl Frame {
    /// A binary message.
    pub(crate) fn binary(payload: Bytes) -> Self {
        Self::new(BINARY, payload)
    }

    /// It is about this document: a transport that has channels may send it independently of others.
    pub(crate) fn about(self, document: Option<&DocumentId>) -> Self {
        Self {
            document: document.cloned(),
            ..self
        }
    }

    /// Which document a message is about, and its content, for a transport with a framing of its own.
    pub(crate) fn into_message(self) -> (Option<DocumentId>, Bytes) {
        (self.document, self.payload)
    }

    /// A ping without content.
    pub(crate) fn ping() -> Self {
        Self::new(PING, Bytes::new())
    }

    /// The answer to a ping with this content.
    pub(crate) fn pong(content: Bytes) -> Self {
        Self::new(PONG, content)
    }

    /// The end.
    pub(crate) fn close(close: &Close) -> Self {
        let mut payload = BytesMut::with_capacity(2 + close.text.len());
        payload.put_u16(close.code.code());
        payload.put_slice(close.text.as_bytes());
        Self::new(CLOSE, payload.freeze())
    }

    /// The answer to the peer's close with this code.
    pub(crate) fn close_reply(code: Option<u16>) -> Self {
        let payload = code.map(|code| Bytes::copy_from_slice(&code.to_be_bytes()));
        Self::new(CLOSE, payload.unwrap_or_default())
    }

    fn new(opcode: u8, payload: Bytes) -> Self {
        let mut header = [0; 10];
        header[0] = FIN | opcode;
        let header_bytes = match payload.len() {
            short @ 0..=125 => {
                header[1] = short as u8;
                2
            }
            medium @ 126..=0xffff => {
                header[1] = 126;
                header[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
                4
            }
            long => {
                header[1] = 127;
                header[2..].copy_from_slice(&(long as u64).to_be_bytes());
                10
            }
        };
        Self {
            header,
            header_bytes,
            payload,
            document: None,
        }
    }

    /// What goes over the wire, in two parts.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        (&self.header[..usize::from(self.header_bytes)], &self.payload)
    }

    /// Bytes on the wire.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.header_bytes) + self.payload.len()
    }
}

#[cfg(test)]
mod tests;
