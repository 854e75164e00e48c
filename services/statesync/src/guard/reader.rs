//! Numbers and stretches of bytes, as automerge writes them.

use aetherflow_schema::limits;

use super::Refused;

/// Bytes of a hash.
const HASH: u64 = 32;

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: u64, what: &'static str) -> Result<&'a [u8], Refused> {
        let bytes = usize::try_from(bytes).map_err(|_| Refused::Truncated(what))?;
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Refused::Truncated(what))?;
        self.0 = rest;
        Ok(taken)
    }

    /// Unsigned LEB128.
    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, Refused> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Refused::Number(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Refused::Number(what))
    }

    /// Signed LEB128.
    pub(super) fn signed(&mut self, what: &'static str) -> Result<i64, Refused> {
        let mut number = 0i64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1, what)?[0];
            let bits = i64::from(byte & 0x7f);
            // Of the tenth byte only the sign is left.
            if shift == 63 && bits != 0 && bits != 0x7f {
                return Err(Refused::Number(what));
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift < 57;
                return Ok(if negative { number | -1 << (shift + 7) } else { number });
            }
        }
        Err(Refused::Number(what))
    }

    /// Bytes behind their number.
    pub(super) fn prefixed(&mut self, what: &'static str) -> Result<&'a [u8], Refused> {
        let length = self.number(what)?;
        self.take(length, what)
    }

    pub(super) fn count(&mut self, what: &'static str, limit: u64) -> Result<u64, Refused> {
        let found = self.number(what)?;
        if found > limit {
            return Err(Refused::TooMany { what, found, limit });
        }
        Ok(found)
    }

    pub(super) fn hashes(&mut self, what: &'static str) -> Result<(), Refused> {
        let count = self.count(what, limits::SYNC_HASHES as u64)?;
        self.take(count * HASH, what).map(|_| ())
    }
}
