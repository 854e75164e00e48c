//! Choices out of bytes, as fuzzers make them: the same bytes are the same choices. When they end, every choice is 0.

pub(crate) struct Source<'a> {
    bytes: &'a [u8],
}

impl<'a> Source<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.bytes.split_first() {
            Some((byte, rest)) => {
                self.bytes = rest;
                *byte
            }
            None => 0,
        }
    }

    pub(crate) fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Less than `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let choice = usize::from(self.byte()) << 8 | usize::from(self.byte());
        choice % bound
    }

    /// One time in `of`.
    pub(crate) fn once_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// One of the corpus, or parts of two, with damage; or anything.
    #[allow(dead_code, reason = "other crates fuzz their formats with it")]
    pub(crate) fn nearly(&mut self, corpus: &[impl AsRef<[u8]>]) -> Vec<u8> {
        if self.once_in(16) {
            return self.rest().to_vec();
        }
        let mut bytes = corpus[self.below(corpus.len())].as_ref().to_vec();
        if self.once_in(8) {
            let other = corpus[self.below(corpus.len())].as_ref();
            bytes.truncate(self.below(bytes.len() + 1));
            bytes.extend_from_slice(&other[self.below(other.len() + 1)..]);
        }
        if !self.once_in(16) {
            self.mutate(&mut bytes);
        }
        bytes
    }

    /// Changes bytes here and there, cuts or lengthens.
    pub(crate) fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len().max(1));
            match (self.below(8), bytes.get_mut(at)) {
                (0..=2, Some(byte)) => *byte ^= 1 << self.below(8),
                (3, Some(byte)) => *byte = self.byte(),
                (4, Some(byte)) => *byte = 0xff,
                (5, Some(_)) => bytes.truncate(at),
                (6, Some(_)) => {
                    bytes.remove(at);
                }
                _ => bytes.insert(at.min(bytes.len()), self.byte()),
            }
        }
    }
}
