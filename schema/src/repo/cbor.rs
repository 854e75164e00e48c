//! As much of CBOR (RFC 8949) as the protocol needs: a reader over one frame that says where it stands.
//!
//! The reader is written out here, rather than taken from a library, because every error names a byte and a field, and
//! because skipping must bound its depth and refuse what is not well-formed. The tests compare it with `minicbor`.

mod skip;
mod write;

use std::borrow::Cow;

use bytes::Bytes;

pub(super) use self::write::{Count, Sink, Write};
use super::error::DecodeError;

type Result<T> = std::result::Result<T, DecodeError>;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

const INDEFINITE: u8 = 31;
const FALSE: u8 = 20;
const TRUE: u8 = 21;
const NULL: u8 = 22;
const UNDEFINED: u8 = 23;
const F16: u8 = 25;
const F32: u8 = 26;
const F64: u8 = 27;

/// The tag that JavaScript encoders may put on a `Uint8Array` (RFC 8746).
const TAG_UINT8_ARRAY: u64 = 64;

/// The largest integer up to which a 64-bit float holds every one.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Items in a frame, those that are skipped included: several times what the longest message has. Without it, a frame of
/// 64 MiB full of one-byte items would keep a thread busy for a second.
const ITEMS: usize = 1 << 18;

/// The start of an item.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    info: u8,
    argument: u64,
    at: usize,
}

impl Head {
    fn is_break(self) -> bool {
        self.major == SIMPLE && self.info == INDEFINITE
    }

    fn kind(self) -> &'static str {
        match (self.major, self.info) {
            (UNSIGNED | NEGATIVE, _) => "an integer",
            (BYTES, _) => "a byte string",
            (TEXT, _) => "text",
            (ARRAY, _) => "an array",
            (MAP, _) => "a map",
            (TAG, _) => "a tag",
            (_, FALSE | TRUE) => "a boolean",
            (_, NULL) => "null",
            (_, UNDEFINED) => "undefined",
            (_, F16 | F32 | F64) => "a float",
            (_, INDEFINITE) => "a break",
            _ => "a simple value",
        }
    }
}

/// Reads one frame. `field`, in every call, is only what errors say.
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    items: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `frame` that stands at byte `at`.
    pub(super) fn new(frame: &'a Bytes, at: usize) -> Self {
        Self { frame, at, items: 0 }
    }

    /// Where it stands.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The frame must end here.
    pub(super) fn finish(&self) -> Result<()> {
        if self.at == self.frame.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing { at: self.at })
        }
    }

    /// Reads a map and finds the values of the keys in `names`: the byte at which each starts, or 0 for those absent.
    /// All else is skipped, and everything is checked to be well-formed.
    pub(super) fn locate<const N: usize>(
        &mut self,
        names: &[&'static str; N],
        field: &'static str,
    ) -> Result<[usize; N]> {
        let mut places = [0; N];
        let mut entries = self.begin_map(field)?;
        while self.more(&mut entries, field)? {
            let start = self.at;
            let Some(key) = self.key(field)? else {
                self.skip("an unknown field")?;
                continue;
            };
            match names.iter().position(|name| *name == key) {
                Some(i) if places[i] != 0 => {
                    return Err(DecodeError::Duplicate {
                        field: names[i],
                        at: start,
                    });
                }
                Some(i) => {
                    places[i] = self.at;
                    self.skip(names[i])?;
                }
                None => self.skip("an unknown field")?,
            }
        }
        Ok(places)
    }

    /// A key, if it is text; others are skipped.
    fn key(&mut self, field: &'static str) -> Result<Option<Cow<'a, str>>> {
        match self.frame.get(self.at) {
            Some(byte) if byte >> 5 == TEXT => self.text(field, usize::MAX).map(Some),
            _ => self.skip(field).map(|()| None),
        }
    }

    /// Starts a map: how many entries follow.
    pub(super) fn begin_map(&mut self, field: &'static str) -> Result<Remaining> {
        self.begin(MAP, "a map", field)
    }

    /// Starts an array: how many elements follow.
    pub(super) fn begin_array(&mut self, field: &'static str) -> Result<Remaining> {
        self.begin(ARRAY, "an array", field)
    }

    fn begin(&mut self, major: u8, expected: &'static str, field: &'static str) -> Result<Remaining> {
        let head = self.head(field)?;
        match (head.major == major, head.info) {
            (false, _) => Err(mismatch(field, expected, head)),
            (true, INDEFINITE) => Ok(Remaining(None)),
            (true, _) => Ok(Remaining(Some(head.argument))),
        }
    }

    /// Whether another entry or element follows; if so it is counted.
    pub(super) fn more(&mut self, remaining: &mut Remaining, field: &'static str) -> Result<bool> {
        match &mut remaining.0 {
            Some(0) => Ok(false),
            Some(n) => {
                *n -= 1;
                Ok(true)
            }
            None => match self.frame.get(self.at) {
                Some(0xff) => {
                    self.at += 1;
                    Ok(false)
                }
                Some(_) => Ok(true),
                None => Err(DecodeError::Truncated { field, at: self.at }),
            },
        }
    }

    /// Text of at most `limit` bytes.
    pub(super) fn text(&mut self, field: &'static str, limit: usize) -> Result<Cow<'a, str>> {
        let head = self.head(field)?;
        if head.major != TEXT {
            return Err(mismatch(field, "text", head));
        }
        if head.info != INDEFINITE {
            return self.str(head, field, limit).map(Cow::Borrowed);
        }
        let mut whole = String::new();
        while let Some(piece) = self.piece(TEXT, field)? {
            let piece = self.str(piece, field, limit - whole.len())?;
            whole.push_str(piece);
        }
        Ok(Cow::Owned(whole))
    }

    fn str(&mut self, head: Head, field: &'static str, limit: usize) -> Result<&'a str> {
        if head.argument > limit as u64 {
            return Err(DecodeError::TooLong {
                field,
                limit,
                at: head.at,
            });
        }
        let bytes = self.take(head.argument, field)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8 { field, at: head.at })
    }

    /// A byte string, tagged as a `Uint8Array` or not: a slice of the frame, unless it comes in pieces.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Bytes> {
        let mut head = self.head(field)?;
        if head.major == TAG && head.argument == TAG_UINT8_ARRAY {
            head = self.head(field)?;
        }
        if head.major != BYTES {
            return Err(mismatch(field, "a byte string", head));
        }
        if head.info != INDEFINITE {
            let bytes = self.take(head.argument, field)?;
            return Ok(self.frame.slice_ref(bytes));
        }
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(BYTES, field)? {
            whole.extend_from_slice(self.take(piece.argument, field)?);
        }
        Ok(whole.into())
    }

    /// The next piece of a string of indefinite length; `None` at its end.
    fn piece(&mut self, major: u8, field: &'static str) -> Result<Option<Head>> {
        let head = self.head(field)?;
        if head.is_break() {
            Ok(None)
        } else if head.major == major && head.info != INDEFINITE {
            Ok(Some(head))
        } else {
            Err(DecodeError::Malformed { field, at: head.at })
        }
    }

    /// A boolean.
    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool> {
        let head = self.head(field)?;
        match (head.major, head.info) {
            (SIMPLE, FALSE) => Ok(false),
            (SIMPLE, TRUE) => Ok(true),
            _ => Err(mismatch(field, "a boolean", head)),
        }
    }

    /// A whole number that is not negative, in whatever form it was sent.
    pub(super) fn count(&mut self, field: &'static str) -> Result<u64> {
        let expected = "a whole number from 0 to 2^53 (as a float) or 2^64 (as an integer)";
        let head = self.head(field)?;
        match (head.major, float(head)) {
            (UNSIGNED, _) => Ok(head.argument),
            (_, Some(n)) if n >= 0.0 && n.fract() == 0.0 && n <= MAX_SAFE_INTEGER as f64 => Ok(n as u64),
            (NEGATIVE, _) | (_, Some(_)) => Err(DecodeError::Number {
                field,
                expected,
                at: head.at,
            }),
            _ => Err(mismatch(field, expected, head)),
        }
    }

    /// A finite number, in whatever form it was sent.
    pub(super) fn number(&mut self, field: &'static str) -> Result<f64> {
        let expected = "a finite number";
        let head = self.head(field)?;
        match (head.major, float(head)) {
            (UNSIGNED, _) => Ok(head.argument as f64),
            (NEGATIVE, _) => Ok(-1.0 - head.argument as f64),
            (_, Some(n)) if n.is_finite() => Ok(n),
            (_, Some(_)) => Err(DecodeError::Number {
                field,
                expected,
                at: head.at,
            }),
            _ => Err(mismatch(field, expected, head)),
        }
    }

    /// Whether `undefined` or `null` stands here.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.frame.get(self.at), Some(0xf6 | 0xf7))
    }

    fn head(&mut self, field: &'static str) -> Result<Head> {
        let at = self.at;
        self.items += 1;
        if self.items > ITEMS {
            let limit = ITEMS;
            return Err(DecodeError::TooLong { field, limit, at });
        }
        let first = self.take(1, field)?[0];
        let (major, info) = (first >> 5, first & 0x1f);
        let argument = match info {
            0..=23 => u64::from(info),
            24..=27 => self
                .take(1 << (info - 24), field)?
                .iter()
                .fold(0, |n, byte| n << 8 | u64::from(*byte)),
            INDEFINITE if matches!(major, BYTES | TEXT | ARRAY | MAP | SIMPLE) => 0,
            _ => return Err(DecodeError::Malformed { field, at }),
        };
        Ok(Head {
            major,
            info,
            argument,
            at,
        })
    }

    /// The next `n` bytes.
    fn take(&mut self, n: u64, field: &'static str) -> Result<&'a [u8]> {
        let rest = &self.frame[self.at..];
        match usize::try_from(n).ok().and_then(|n| rest.get(..n)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(DecodeError::Truncated {
                field,
                at: self.frame.len(),
            }),
        }
    }
}

/// Entries of a map or elements of an array that are still to come; `None` when only a break will tell.
pub(super) struct Remaining(Option<u64>);

fn mismatch(field: &'static str, expected: &'static str, found: Head) -> DecodeError {
    DecodeError::Type {
        field,
        expected,
        found: found.kind(),
        at: found.at,
    }
}

/// The value of a float of any width.
fn float(head: Head) -> Option<f64> {
    match (head.major, head.info) {
        (SIMPLE, F16) => Some(half(head.argument as u16)),
        (SIMPLE, F32) => Some(f64::from(f32::from_bits(head.argument as u32))),
        (SIMPLE, F64) => Some(f64::from_bits(head.argument)),
        _ => None,
    }
}

/// The value of a 16-bit float (IEEE 754 binary16).
fn half(bits: u16) -> f64 {
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f64::from(bits & 0x3ff);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
