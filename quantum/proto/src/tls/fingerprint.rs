//! The SHA-256 of a certificate, by which people tell one from another.

use std::{fmt, str::FromStr};

use ring::digest;

/// SHA-256 of a certificate in DER. Written as 64 hexadecimal digits; colons between bytes, as `openssl x509
/// -fingerprint` prints them, are read too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// Not the SHA-256 of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint has 64 hexadecimal digits, with or without colons between each two")]
pub struct FingerprintError;

impl Fingerprint {
    /// That of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        let mut sum = [0; 32];
        sum.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(sum)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let pair = if text.contains(':') { 3 } else { 2 };
        let digit = |byte: u8| char::from(byte).to_digit(16).ok_or(FingerprintError);
        let mut sum = [0; 32];
        let mut pairs = text.as_bytes().chunks(pair);
        for (at, byte) in sum.iter_mut().enumerate() {
            *byte = match *pairs.next().ok_or(FingerprintError)? {
                [high, low] if pair == 2 || at == 31 => digit(high)? << 4 | digit(low)?,
                [high, low, b':'] if at < 31 => digit(high)? << 4 | digit(low)?,
                _ => return Err(FingerprintError),
            } as u8;
        }
        pairs.next().map_or(Ok(Self(sum)), |_| Err(FingerprintError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sha_256() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Fingerprint::of(b"").to_string(), empty);
    }

    #[test]
    fn both_ways_of_writing_it_are_read() {
        let fingerprint = Fingerprint::of(b"certificate");
        let plain = fingerprint.to_string();
        assert_eq!(plain.parse(), Ok(fingerprint));
        let colons: Vec<_> = fingerprint.0.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(colons.join(":").parse(), Ok(fingerprint));
        let wrong = [
            String::new(),
            plain[1..].to_owned(),
            format!("{plain}0"),
            format!("{plain}00"),
            plain.replacen(|_| true, "g", 1),
            colons.join("::"),
            format!("{}:", colons.join(":")),
            colons.join(":").replacen(':', "", 1),
            colons.join("-"),
        ];
        for text in wrong {
            assert_eq!(text.parse::<Fingerprint>(), Err(FingerprintError), "{text:?}");
        }
    }
}
