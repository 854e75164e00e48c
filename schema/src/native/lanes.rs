//! How the frames of the native protocol travel on a transport with channels, such as Quantum: the one place that says so,
//! for both ends.
//!
//! One frame is one message, sent reliably and in order within its channel.
//!
//! * Channel 0 carries what is about no document: Hello, Welcome, Ping, Pong, GoAway.
//! * All frames about a document travel on the same one of the channels 1 to [`DOCUMENT_CHANNELS`], chosen by a hash of its
//!   id: so they arrive in the order in which they were sent, and documents rarely wait for one another.
//!
//! Since channel 0 may be overtaken, a client sends nothing else before it has the Welcome.
//!
//! What a frame may overtake is decided by what it is: short frames and presence are interactive, what is long is bulk.

use crate::id::DocumentId;

/// Channels for documents, from number 1. The transport must allow one more than these.
pub const DOCUMENT_CHANNELS: u16 = 255;

/// Bytes of a frame up to which it is interactive: what people type, receipts, presence.
pub const INTERACTIVE_BYTES: usize = 4 << 10;

/// Bytes of a frame from which on it is bulk: snapshots, long histories, what was written offline.
pub const BULK_BYTES: usize = 64 << 10;

/// Bytes of a message that both ends of such a transport must take at least: what is longer goes over WebSocket, or in
/// parts.
pub const MESSAGE_BYTES: usize = 16 << 20;

/// What a frame may overtake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Urgency {
    /// Everything else: somebody is waiting for it.
    Interactive,
    /// What is bulk.
    Normal,
    /// Nothing.
    Bulk,
}

/// The channel of frames about this document, or about none.
pub fn channel(document: Option<&DocumentId>) -> u32 {
    document.map_or(0, |document| 1 + u32::from(document.partition(DOCUMENT_CHANNELS).0))
}

/// The urgency of a frame of so many bytes.
pub fn urgency(bytes: usize) -> Urgency {
    match bytes {
        ..=INTERACTIVE_BYTES => Urgency::Interactive,
        BULK_BYTES.. => Urgency::Bulk,
        _ => Urgency::Normal,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_document_has_its_channel_for_ever_and_never_that_of_control() {
        let id = DocumentId::from_uuid(Uuid::from_u128(0x1234_5678));
        assert_eq!(channel(Some(&id)), GOLDEN_CHANNEL);
        assert_eq!(channel(None), 0);
        for n in 0..2_000 {
            let id = DocumentId::from_uuid(Uuid::from_u128(n));
            assert!((1..=u32::from(DOCUMENT_CHANNELS)).contains(&channel(Some(&id))));
        }
    }
    /// Computed once; the two ends of a connection may be of different versions.
    const GOLDEN_CHANNEL: u32 = 233;

    #[test]
    fn what_is_short_is_interactive_and_what_is_long_is_bulk() {
        assert_eq!(urgency(0), Urgency::Interactive);
        assert_eq!(urgency(INTERACTIVE_BYTES), Urgency::Interactive);
        assert_eq!(urgency(INTERACTIVE_BYTES + 1), Urgency::Normal);
        assert_eq!(urgency(BULK_BYTES), Urgency::Bulk);
    }
}
