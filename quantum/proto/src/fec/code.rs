//! The Reed-Solomon code (10,3). `quantum/SPEC.md` section 7.
//!
//! Owns the code's matrix. Symbols are `u16 length | payload | zeros`; the zeros are never stored where they can be implied:
//! a shorter symbol adds nothing to the end of a longer one.

use bytes::Bytes;
use reed_solomon_erasure::galois_8::ReedSolomon;
use smallvec::SmallVec;

use crate::fec::{PARITIES, SOURCES};

/// Bytes of the length in front of a symbol's payload.
pub(super) const LENGTH: usize = 2;

/// To build one costs some microseconds and kilobytes: [`Encoder`](super::Encoder) and [`Decoder`](super::Decoder) do so when they
/// first need it.
pub(super) struct Code(ReedSolomon);

impl Code {
    pub(super) fn new() -> Self {
        match ReedSolomon::new(SOURCES, PARITIES) {
            Ok(code) => Self(code),
            Err(error) => panic!("(10,3) is a valid code: {error}"),
        }
    }

    /// Adds the source with this index to the parity symbols, which grow to its length. A block's sources are added in
    /// order, each once, the first to empty symbols.
    pub(super) fn add(&self, index: usize, payload: &[u8], parities: &mut [Vec<u8>; PARITIES]) {
        let Ok(length) = u16::try_from(payload.len()) else {
            panic!("a packet's payload has at most 65,535 bytes, not {}", payload.len());
        };
        let symbol = LENGTH + payload.len();
        for parity in parities.iter_mut().filter(|parity| parity.len() < symbol) {
            parity.resize(symbol, 0);
        }
        self.add_part(index, &length.to_be_bytes(), 0, parities);
        self.add_part(index, payload, LENGTH, parities);
    }

    /// Adds bytes that stand at `offset` in their symbol.
    fn add_part(&self, index: usize, part: &[u8], offset: usize, parities: &mut [Vec<u8>; PARITIES]) {
        if part.is_empty() {
            return;
        }
        let mut slices = parities
            .each_mut()
            .map(|parity| &mut parity[offset..offset + part.len()]);
        if let Err(error) = self.0.encode_single_sep(index, part, &mut slices) {
            panic!("source {index} of {} bytes fits the code: {error}", part.len());
        }
    }

    /// Computes the payloads that are `None` in `sources`, in their order. The symbols have one length, no source is too long for it, and there
    /// are at least as many as missing sources.
    ///
    /// `None`: what comes out is no symbol; the parities do not belong to these sources.
    pub(super) fn recover(
        &self,
        sources: &[Option<&Bytes>],
        parities: &[Option<Bytes>; PARITIES],
    ) -> Option<SmallVec<[Bytes; PARITIES]>> {
        let length = parities.iter().flatten().map(Bytes::len).next()?;
        let mut shards: Vec<Option<Vec<u8>>> = Vec::with_capacity(SOURCES + PARITIES);
        shards.extend(
            sources
                .iter()
                .map(|source| source.map(|payload| symbol(payload, length))),
        );
        shards.resize(SOURCES, Some(vec![0; length]));
        shards.extend(
            parities
                .iter()
                .map(|parity| parity.as_ref().map(|bytes| bytes.to_vec())),
        );
        self.0.reconstruct_data(&mut shards).ok()?;

        let missing = sources.iter().zip(shards).filter(|(source, _)| source.is_none());
        missing.map(|(_, shard)| payload(shard?)).collect()
    }
}

/// The symbol of a payload, at its full length.
fn symbol(payload: &[u8], length: usize) -> Vec<u8> {
    let mut symbol = Vec::with_capacity(length);
    symbol.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    symbol.extend_from_slice(payload);
    symbol.resize(length, 0);
    symbol
}

/// The payload in a symbol; `None` when its length is impossible or something stands behind it.
fn payload(symbol: Vec<u8>) -> Option<Bytes> {
    let symbol = Bytes::from(symbol);
    let (length, rest) = symbol.split_first_chunk::<LENGTH>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let padding = rest.get(length..)?;
    padding
        .iter()
        .all(|&byte| byte == 0)
        .then(|| symbol.slice(LENGTH..LENGTH + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1, bit by bit.
    fn mul(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1d };
            b >>= 1;
        }
        product
    }

    fn power(base: u8, exponent: usize) -> u8 {
        (0..exponent).fold(1, |product, _| mul(product, base))
    }

    /// The specification's words, without the crate: parity row `r` (10..=12) times the Vandermonde square of the points 0..=9 is the
    /// Vandermonde row of the point `r`.
    #[test]
    fn the_matrix_is_the_one_of_the_specification() {
        let code = Code::new();
        let mut rows = [[0; SOURCES]; PARITIES];
        for source in 0..SOURCES {
            let mut parities = [vec![0], vec![0], vec![0]];
            for index in 0..SOURCES {
                code.add_part(index, &[u8::from(index == source)], 0, &mut parities);
            }
            for (row, parity) in rows.iter_mut().zip(&parities) {
                row[source] = parity[0];
            }
        }
        for (index, row) in rows.iter().enumerate() {
            let point = (SOURCES + index) as u8;
            for exponent in 0..SOURCES {
                let sum = (0..SOURCES).fold(0, |sum, source| sum ^ mul(row[source], power(source as u8, exponent)));
                assert_eq!(sum, power(point, exponent), "row {index}, column {exponent}");
            }
        }
    }

    #[test]
    fn a_symbol_with_an_impossible_length_or_something_behind_its_payload_is_refused() {
        assert_eq!(payload(symbol(b"abc", 8)).as_deref(), Some(&b"abc"[..]));
        assert_eq!(payload(vec![0, 0]).as_deref(), Some(&b""[..]));
        assert_eq!(payload(vec![0, 3, 1, 2]), None);
        assert_eq!(payload(vec![0, 1, 1, 2]), None);
        assert_eq!(payload(vec![0]), None);
    }

    /// `vectors/parity.txt`: the payloads of a block of three sources, and its three symbols.
    #[test]
    fn golden_vectors() {
        let text = include_str!("../../vectors/parity.txt");
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (code, mut sources, mut parities) = (Code::new(), 0, <[Vec<u8>; PARITIES]>::default());
        let mut checked = 0;
        for line in lines {
            let (name, bytes) = line.split_once(" =").unwrap();
            let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
            if name.starts_with("source") {
                code.add(sources, &bytes, &mut parities);
                sources += 1;
            } else {
                assert_eq!(hex::encode(&parities[checked % PARITIES]), hex::encode(bytes), "{name}");
                checked += 1;
                if checked % PARITIES == 0 {
                    (sources, parities) = (0, Default::default());
                }
            }
        }
        assert_eq!((sources, checked), (0, 6));
    }
}
