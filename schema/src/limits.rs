//! Bounds on what comes from outside. Each says what its worst case costs. Those an operator may want to change are
//! defaults here and configurable in the gateway; the others are part of the formats.

/// Bytes of a document id. A stock client makes 16.
pub const DOCUMENT_ID_BYTES: usize = 64;

/// Characters of a document id's text: base58check of the longest id, with room to spare.
pub const DOCUMENT_ID_TEXT: usize = 120;

/// Bytes of a peer id, a storage id, an ephemeral session id.
pub const PEER_ID_BYTES: usize = 256;

/// Bytes of a principal's name as stored with each entry.
pub const PRINCIPAL_BYTES: usize = 255;

/// Payload bytes of one log entry: the largest single change or imported document (default of `limits.change_bytes`).
pub const ENTRY_PAYLOAD_BYTES: usize = 64 << 20;

/// Entries in one frame of the log.
pub const FRAME_ENTRIES: usize = 512;

/// Bytes at which a frame of the log is closed. One entry larger than this gets a frame of its own.
pub const FRAME_BYTES: usize = 256 << 10;

/// Bytes of one WebSocket message, default of `limits.frame_bytes`. A stock client sends a whole document in one
/// message when the server has none of it.
pub const CLIENT_FRAME_BYTES: usize = 64 << 20;

/// Storage ids in one `remote-subscription-change`, and in all of one connection's subscriptions.
pub const REMOTE_SUBSCRIPTIONS: usize = 1024;

/// Hashes in the heads, need or have lists of one sync message.
pub const SYNC_HASHES: usize = 65_536;

/// Operations, with the entries of lists in them, that the changes of one small message may unfold to: a client may delete
/// a million characters with forty bytes. Applying one takes 3 to 12 us and 450 bytes for that time.
pub const UNFOLDED_ROWS: u64 = 1 << 20;

/// Further operations for each byte of the message.
pub const UNFOLDED_ROWS_PER_BYTE: u64 = 8;

/// Operations that the changes of one message may unfold to, however long it is.
pub const UNFOLDED_ROWS_MAX: u64 = 1 << 22;

/// Bytes of text (keys, names of marks) that the changes of one message may unfold to, each time that it is repeated.
pub const UNFOLDED_TEXT_BYTES: u64 = 256 << 20;

/// Nesting depth of CBOR or JSON from outside.
pub const NESTING: usize = 128;
