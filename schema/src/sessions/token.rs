//! What a client shows when it comes back.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

use crate::id::SessionId;

/// Proof that a client is the one whose session it was: the session's id, then a secret. Only the secret's hash is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct ResumeToken {
    session: SessionId,
    secret: [u8; Self::SECRET_BYTES],
}

impl ResumeToken {
    /// Bytes of the secret.
    pub const SECRET_BYTES: usize = 32;

    /// The token of a session with this secret, which must be random.
    pub fn new(session: SessionId, secret: [u8; Self::SECRET_BYTES]) -> Self {
        Self { session, secret }
    }

    /// Reads a token from outside; `None` when it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (session, secret) = bytes.split_first_chunk()?;
        let session = SessionId(Uuid::from_bytes(*session));
        let secret = secret.try_into().ok()?;
        Some(Self { session, secret })
    }

    /// As it is handed to the client: 48 bytes.
    pub fn to_bytes(&self) -> Bytes {
        [self.session.0.as_bytes().as_slice(), &self.secret].concat().into()
    }

    /// Whose token it claims to be.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What is kept of the secret. A plain hash is enough: there is nothing to guess in 32 random bytes.
    pub fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.secret)
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResumeToken({}, secret)", self.session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written_and_says_no_secret() {
        let session = SessionId(Uuid::from_u128(7));
        let token = ResumeToken::new(session, [0xa5; 32]);
        assert_eq!(ResumeToken::from_bytes(&token.to_bytes()), Some(token.clone()));
        assert!(!format!("{token:?}").contains("165") && !format!("{token:?}").contains("a5a5"));
        for length in (0..100).filter(|length| *length != 48) {
            assert_eq!(ResumeToken::from_bytes(&vec![1; length]), None);
        }
        assert_ne!(token.hash(), ResumeToken::new(session, [0xa6; 32]).hash());
    }
}
