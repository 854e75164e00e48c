//! The bytes of a message that comes in several chunks.
//!
//! Bytes that follow what is there are appended to one buffer: in order, that is all that happens. Bytes further ahead wait in pages, made when
//! the first of them arrives, with a bit for each byte that is there; the buffer takes them in when it reaches them.
//!
//! Invariant: memory is bounded by what the peer was charged, whatever it sends in whatever order. Buffers grow by doubling at most, and none reaches
//! beyond the largest offset seen; a page costs an eighth more for its bits, and the index 8 bytes for each 4 KiB below that offset. A single byte at the end of 16 MiB takes
//! two pages' worth, not 16 MiB. (A list of separate pieces would cost some 50 times their bytes when each is one byte.)

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes of a page. Twice a packet: so that few chunks touch three, and few bytes are made for nothing.
const PAGE: usize = 4096;
const WORD: usize = u64::BITS as usize;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The message's first bytes.
    head: Vec<u8>,
    ahead: Option<Box<Ahead>>,
}

impl Assembly {
    /// Bytes from the beginning without a gap.
    pub(super) fn contiguous(&self) -> usize {
        self.head.len()
    }

    /// Takes bytes that stand at `offset`. Those that are there already are not looked at.
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if offset > self.head.len() {
            self.ahead
                .get_or_insert_with(|| Box::new(Ahead::new(self.head.len())))
                .write(offset, bytes);
        } else if let Some(new) = bytes.get(self.head.len() - offset..) {
            self.head.extend_from_slice(new);
            if let Some(ahead) = &mut self.ahead
                && ahead.drain(&mut self.head)
            {
                self.ahead = None;
            }
        }
    }

    /// The whole message. Room that growth left over is given back when it is a good part.
    pub(super) fn into_bytes(mut self) -> Bytes {
        if self.head.capacity() - self.head.len() > self.head.len() / 4 {
            self.head.shrink_to_fit();
        }
        Bytes::from(self.head)
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let pages = self.ahead.iter().map(|ahead| {
            let pages = ahead
                .pages
                .iter()
                .flatten()
                .map(|page| page.bytes.capacity() + 8 * page.present.capacity());
            8 * ahead.pages.capacity() + pages.sum::<usize>()
        });
        self.head.capacity() + pages.sum::<usize>()
    }
}

/// What lies beyond a gap.
#[derive(Debug)]
struct Ahead {
    /// The number of the first page.
    first: usize,
    /// `None`: none of its bytes is there. The last one is some.
    pages: VecDeque<Option<Box<Page>>>,
}

impl Ahead {
    fn new(contiguous: usize) -> Self {
        Self {
            first: contiguous / PAGE,
            pages: VecDeque::new(),
        }
    }

    /// `offset` lies beyond what is contiguous.
    fn write(&mut self, mut offset: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let at = offset % PAGE;
            let (piece, rest) = bytes.split_at(bytes.len().min(PAGE - at));
            let place = offset / PAGE - self.first;
            if self.pages.len() <= place {
                self.pages.resize_with(place + 1, || None);
            }
            self.pages[place].get_or_insert_default().write(at, piece);
            (offset, bytes) = (offset + piece.len(), rest);
        }
    }

    /// Moves what follows `head` to it. `true` when nothing is left.
    fn drain(&mut self, head: &mut Vec<u8>) -> bool {
        loop {
            while self.first < head.len() / PAGE && !self.pages.is_empty() {
                self.pages.pop_front();
                self.first += 1;
            }
            let Some(front) = self.pages.front() else { return true };
            let Some(page) = front else { return false };
            let from = head.len() % PAGE;
            let run = page.run(from);
            head.extend_from_slice(page.bytes.get(from..from + run).unwrap_or_default());
            if from + run < PAGE {
                // A page that ends here can only be the last one: all of it is in `head` now.
                return self.pages.len() == 1 && from + run >= page.bytes.len();
            }
        }
    }
}

/// Up to [`PAGE`] bytes.
#[derive(Debug, Default)]
struct Page {
    /// As far as the last byte that is there.
    bytes: Vec<u8>,
    /// A bit for each byte that is there.
    present: Vec<u64>,
}

impl Page {
    fn write(&mut self, at: usize, piece: &[u8]) {
        let end = at + piece.len();
        if self.bytes.len() < end {
            if self.bytes.capacity() < end {
                let room = end.next_power_of_two();
                self.bytes.reserve_exact(room - self.bytes.len());
                self.present.reserve_exact(room.div_ceil(WORD) - self.present.len());
            }
            self.bytes.resize(end, 0);
            self.present.resize(end.div_ceil(WORD), 0);
        }
        self.bytes[at..end].copy_from_slice(piece);
        for word in at / WORD..end.div_ceil(WORD) {
            let (from, to) = (at.max(word * WORD) % WORD, end.min(word * WORD + WORD) - word * WORD);
            self.present[word] |= (u64::MAX >> (WORD - to)) & (u64::MAX << from);
        }
    }

    /// How many bytes from there on are there without a gap.
    fn run(&self, from: usize) -> usize {
        let mut at = from;
        while let Some(word) = self.present.get(at / WORD) {
            let ones = (word >> (at % WORD)).trailing_ones() as usize;
            at += ones;
            if ones == 0 || !at.is_multiple_of(WORD) {
                break;
            }
        }
        at - from
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + at / 256) as u8).collect()
    }

    proptest! {
        /// Any overlapping pieces in any order; what is contiguous is what a plain array says.
        #[test]
        fn puts_pieces_together(len in 1usize..20_000, pieces in prop::collection::vec((0.0..1.0f64, 1usize..3000), 0..60)) {
            let message = pattern(len);
            let mut assembly = Assembly::default();
            let mut present = vec![false; len];
            let mut check = |assembly: &mut Assembly, offset: usize, end: usize| {
                assembly.write(offset, &message[offset..end]);
                present[offset..end].fill(true);
                let contiguous = present.iter().take_while(|&&there| there).count();
                assert_eq!(assembly.contiguous(), contiguous);
                assert_eq!(assembly.head, message[..contiguous]);
                assert_eq!(assembly.ahead.is_some(), present[contiguous..].contains(&true));
            };
            for (at, piece) in pieces {
                let offset = (at * len as f64) as usize;
                check(&mut assembly, offset, len.min(offset + piece));
            }
            for offset in (0..len).step_by(777).rev() {
                check(&mut assembly, offset, len.min(offset + 777));
            }
            prop_assert_eq!(assembly.into_bytes(), message);
        }
    }

    #[test]
    fn memory_follows_what_was_sent() {
        const END: usize = 16 << 20;
        let mut one = Assembly::default();
        one.write(END - 1, &[1]);
        assert!(
            one.memory() < 80 << 10,
            "one byte far away takes {} bytes",
            one.memory()
        );

        let mut other = Assembly::default();
        for at in (1..1 << 20).step_by(2) {
            other.write(at, &[1]);
        }
        assert!(
            other.memory() < (1 << 20) * 5 / 4,
            "every other byte takes {} bytes",
            other.memory()
        );

        let mut near = Assembly::default();
        near.write(1, &[1]);
        assert!(near.memory() <= 64, "a short message takes {} bytes", near.memory());
    }
}
