//! What is being written to one socket: frames, of which the first may be half way through.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
};

use aetherflow_runtime::tls::Wire;
use bytes::Bytes;

use crate::{outbound::IDLE_FRAMES, websocket::Frame};

/// Parts handed to the system in one call.
const SLICES: usize = 64;

/// Frames on their way into a socket.
#[derive(Default)]
pub(crate) struct Writer {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written already.
    offset: usize,
    /// The answer to the newest ping that was not yet answered. Older ones need no answer (RFC 6455, section 5.5.3), so
    /// a peer that pings and does not read costs nothing.
    pong: Option<Bytes>,
    ping: bool,
}

impl Writer {
    /// Where a batch of frames may be put. Only while [`Writer::is_empty`].
    pub(crate) fn batch(&mut self) -> &mut VecDeque<Frame> {
        &mut self.frames
    }

    /// Whether everything is written.
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.pong.is_none() && !self.ping
    }

    /// A ping goes out as soon as the frame being written is complete.
    pub(crate) fn ping(&mut self) {
        self.ping = true;
    }

    /// So does the answer to a ping.
    pub(crate) fn pong(&mut self, content: Bytes) {
        self.pong = Some(content);
    }

    /// Forgets all frames but the one half way through, and ends with `last`.
    pub(crate) fn end_with(&mut self, last: Frame) {
        self.frames.truncate(usize::from(self.offset > 0));
        self.frames.push_back(last);
        self.pong = None;
        self.ping = false;
    }

    /// Adds a frame behind all others.
    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    /// Writes as much as the socket takes. How many bytes; `is_empty`, and the socket's `has_unsent`, tell whether that was all.
    pub(crate) fn write(&mut self, wire: &mut Wire) -> io::Result<usize> {
        let mut total = 0;
        loop {
            self.queue_control();
            if self.frames.is_empty() {
                self.frames.shrink_to(IDLE_FRAMES);
                return wire.flush().map(|()| total);
            }
            let result = wire.try_write_vectored(self.slices(&mut [IoSlice::new(&[]); SLICES]));
            match result {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    total += written;
                    self.advance(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(total),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts control frames at the first boundary: behind a queue of megabytes their answers would come too late.
    fn queue_control(&mut self) {
        let place = usize::from(self.offset > 0);
        if std::mem::take(&mut self.ping) {
            self.frames.insert(place, Frame::ping());
        }
        if let Some(content) = self.pong.take() {
            self.frames.insert(place, Frame::pong(content));
        }
    }

    fn slices<'a, 'b>(&'a self, slices: &'b mut [IoSlice<'a>; SLICES]) -> &'b [IoSlice<'a>] {
        let mut skip = self.offset;
        let mut used = 0;
        let parts = self.frames.iter().flat_map(|frame| {
            let (header, payload) = frame.parts();
            [header, payload]
        });
        for part in parts {
            let skipped = skip.min(part.len());
            skip -= skipped;
            let part = &part[skipped..];
            if part.is_empty() {
                continue;
            }
            if used == SLICES {
                break;
            }
            slices[used] = IoSlice::new(part);
            used += 1;
        }
        &slices[..used]
    }

    fn advance(&mut self, written: usize) {
        self.offset += written;
        while let Some(first) = self.frames.front() {
            if self.offset < first.len() {
                break;
            }
            self.offset -= first.len();
            self.frames.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writer: &Writer) -> Vec<u8> {
        writer
            .slices(&mut [IoSlice::new(&[]); SLICES])
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    fn binary(text: &'static str) -> Frame {
        Frame::binary(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn any_partial_write_goes_on_where_it_stopped() {
        let whole = b"\x82\x03one\x82\x00\x82\x05three";
        for cut in 0..=whole.len() {
            let mut writer = Writer::default();
            for text in ["one", "", "three"] {
                writer.push(binary(text));
            }
            writer.advance(cut);
            assert_eq!(written(&writer), whole[cut..], "after {cut}");
            assert_eq!(writer.is_empty(), cut == whole.len());
        }
    }

    #[test]
    fn control_frames_go_first_but_never_into_a_frame() {
        let mut writer = Writer::default();
        writer.push(binary("one"));
        writer.push(binary("two"));
        writer.advance(1);
        writer.ping();
        writer.pong(Bytes::from_static(b"a"));
        writer.pong(Bytes::from_static(b"b"));
        writer.queue_control();
        assert_eq!(written(&writer), b"\x03one\x8a\x01b\x89\x00\x82\x03two");
    }

    #[test]
    fn an_end_keeps_only_the_frame_that_was_begun() {
        let mut writer = Writer::default();
        writer.push(binary("one"));
        writer.push(binary("two"));
        writer.advance(2);
        writer.ping();
        writer.end_with(Frame::close_reply(None));
        assert_eq!(written(&writer), b"one\x88\x00");
        writer.advance(3);
        writer.end_with(Frame::close_reply(None));
        assert_eq!(written(&writer), b"\x88\x00");
    }

    #[test]
    fn more_frames_than_fit_one_call_are_written_in_several() {
        let mut writer = Writer::default();
        (0..SLICES).for_each(|_| writer.push(binary("x")));
        assert_eq!(written(&writer).len(), SLICES / 2 * 3);
    }
}
