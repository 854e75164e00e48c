//! What a client sends, checked.

use std::num::NonZeroU64;

use bytes::{Buf, Bytes};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

use super::{
    AcquireLock, CAPABILITIES, CAPABILITY_BYTES, FRAME_FIELDS, FrameError, ListLocks, PRESENCE_BYTES,
    PRESENCE_TTL_MS_MAX, RESUME_TOKEN_BYTES, ReleaseLock, RequestId, SUBMIT_CHANGES, TOKEN_BYTES, locks::fencing, wire,
};
use crate::{
    id::{ChangeHash, DocumentId, Offset},
    limits,
    locks::Fencing,
};

/// A frame from a client. Its wire form, `wire::ClientFrame`, says what each part means.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientFrame {
    /// Introduces the client.
    Hello(Hello),
    /// Submits changes.
    Submit(Submit),
    /// Follows a document.
    Subscribe(Subscribe),
    /// Follows it no longer.
    Unsubscribe(DocumentId),
    /// Reads a stretch of a document's history.
    Fetch(Fetch),
    /// Tells the others on a document about this session.
    Presence(Presence),
    /// Asks for a pong with this number.
    Ping(u64),
    /// Takes a document's lock, or holds it for longer.
    AcquireLock(AcquireLock),
    /// Gives it back.
    ReleaseLock(ReleaseLock),
    /// Asks who holds which lock.
    ListLocks(ListLocks),
}

impl ClientFrame {
    /// The document it is about, if it is about one.
    pub fn document(&self) -> Option<&DocumentId> {
        match self {
            Self::Submit(submit) => Some(&submit.document),
            Self::Subscribe(subscribe) => Some(&subscribe.document),
            Self::Unsubscribe(document) => Some(document),
            Self::Fetch(fetch) => Some(&fetch.document),
            Self::Presence(presence) => Some(&presence.document),
            Self::AcquireLock(acquire) => Some(&acquire.document),
            Self::ReleaseLock(release) => Some(&release.document),
            Self::ListLocks(list) => list.document.as_ref(),
            Self::Hello(_) | Self::Ping(_) => None,
        }
    }
}

/// Introduces a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Hello {
    /// Says who the client is; empty when that is known or not asked. At most [`TOKEN_BYTES`].
    pub token: String,
    /// The client's own name for itself: 1 to [`limits::PEER_ID_BYTES`] bytes.
    pub client_id: String,
    /// Of the session to go on with; empty for a new one. At most [`RESUME_TOKEN_BYTES`].
    pub resume_token: Bytes,
    /// Optional features it understands, at most [`CAPABILITIES`].
    pub capabilities: Vec<String>,
    /// Bytes of the longest frame that it takes, if there is a limit.
    pub frame_bytes: Option<NonZeroU64>,
}

/// Leaves out what must not get into a log: both tokens.
impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("client_id", &self.client_id)
            .field("capabilities", &self.capabilities)
            .field("frame_bytes", &self.frame_bytes)
            .finish_non_exhaustive()
    }
}

/// Changes for a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submit {
    /// To be repeated in the answer.
    pub request: RequestId,
    /// The document.
    pub document: DocumentId,
    /// 1 to [`SUBMIT_CHANGES`] automerge changes of 1 to [`limits::ENTRY_PAYLOAD_BYTES`] bytes, each after those it
    /// depends on. Slices of the frame.
    pub changes: Vec<Bytes>,
    /// The token of the lock under which they were made, if it was one.
    pub fencing: Option<Fencing>,
}

/// A document to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// To be repeated in a reject.
    pub request: RequestId,
    /// The document.
    pub document: DocumentId,
    /// What the client has already.
    pub start: Start,
}

/// What a subscriber has already of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Nothing, or nothing worth mentioning: begin with a snapshot.
    Snapshot,
    /// Everything up to this offset.
    After(Offset),
    /// Everything up to these heads, at most [`limits::SYNC_HASHES`].
    AfterHeads(Vec<ChangeHash>),
}

/// A stretch of a document's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// To be repeated in the answers.
    pub request: RequestId,
    /// The document.
    pub document: DocumentId,
    /// The first offset wanted; not zero.
    pub from: Offset,
    /// The offset before which to stop, greater than `from`; `None` for all that is committed.
    pub until: Option<Offset>,
}

/// What others shall know about a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// On this document.
    pub document: DocumentId,
    /// At most [`PRESENCE_BYTES`].
    pub state: Bytes,
    /// For how long unless repeated, at most [`PRESENCE_TTL_MS_MAX`]; 0 takes it back.
    pub ttl_ms: u32,
}

impl ClientFrame {
    /// Reads and checks a frame.
    ///
    /// # Errors
    /// When the bytes are not a frame of a known kind, or something in it is out of bounds.
    pub fn decode(frame: Bytes) -> Result<Self, FrameError> {
        if count_fields(frame.clone(), true) > FRAME_FIELDS {
            return Err(FrameError::Fields { limit: FRAME_FIELDS });
        }
        wire::ClientFrame::decode(frame)?.try_into()
    }

    /// The frame's bytes.
    pub fn encode(self) -> Bytes {
        super::encode(&wire::ClientFrame::from(self))
    }
}

/// Counts the fields of a message, and of the messages in it if `within`, without storing anything. Stops where the bytes
/// are no message, since decoding will store nothing from there on.
fn count_fields(mut message: Bytes, within: bool) -> usize {
    let mut fields = 0;
    while message.has_remaining() && fields <= FRAME_FIELDS {
        fields += 1;
        match decode_key(&mut message) {
            Ok((_, WireType::LengthDelimited)) => {
                let length = decode_varint(&mut message).unwrap_or(u64::MAX);
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let content = message.split_to(length.min(message.len()));
                if within {
                    fields += count_fields(content, false);
                }
            }
            Ok((tag, wire_type)) if skip_field(wire_type, tag, &mut message, DecodeContext::default()).is_ok() => {}
            _ => break,
        }
    }
    fields
}

impl TryFrom<wire::ClientFrame> for ClientFrame {
    type Error = FrameError;

    fn try_from(frame: wire::ClientFrame) -> Result<Self, FrameError> {
        use wire::client_frame::Kind;
        Ok(match frame.kind.ok_or(FrameError::NoKind)? {
            Kind::Hello(hello) => Self::Hello(hello.try_into()?),
            Kind::Submit(submit) => Self::Submit(submit.try_into()?),
            Kind::Subscribe(subscribe) => Self::Subscribe(subscribe.try_into()?),
            Kind::Unsubscribe(unsubscribe) => Self::Unsubscribe(DocumentId::from_bytes(&unsubscribe.document)?),
            Kind::Fetch(fetch) => Self::Fetch(fetch.try_into()?),
            Kind::Presence(presence) => Self::Presence(presence.try_into()?),
            Kind::Ping(ping) => Self::Ping(ping.nonce),
            Kind::AcquireLock(acquire) => Self::AcquireLock(acquire.try_into()?),
            Kind::ReleaseLock(release) => Self::ReleaseLock(release.try_into()?),
            Kind::ListLocks(list) => Self::ListLocks(list.try_into()?),
        })
    }
}

impl TryFrom<wire::Hello> for Hello {
    type Error = FrameError;

    fn try_from(hello: wire::Hello) -> Result<Self, FrameError> {
        within("Hello.token", hello.token.len(), TOKEN_BYTES)?;
        within("Hello.client_id", hello.client_id.len(), limits::PEER_ID_BYTES)?;
        not_empty("Hello.client_id", hello.client_id.is_empty())?;
        within("Hello.resume_token", hello.resume_token.len(), RESUME_TOKEN_BYTES)?;
        within("Hello.capabilities", hello.capabilities.len(), CAPABILITIES)?;
        for name in &hello.capabilities {
            within("Hello.capabilities", name.len(), CAPABILITY_BYTES)?;
            not_empty("Hello.capabilities", name.is_empty())?;
        }
        Ok(Self {
            token: hello.token,
            client_id: hello.client_id,
            resume_token: hello.resume_token,
            capabilities: hello.capabilities,
            frame_bytes: NonZeroU64::new(hello.frame_bytes),
        })
    }
}

impl TryFrom<wire::Submit> for Submit {
    type Error = FrameError;

    fn try_from(submit: wire::Submit) -> Result<Self, FrameError> {
        not_empty("Submit.changes", submit.changes.is_empty())?;
        within("Submit.changes", submit.changes.len(), SUBMIT_CHANGES)?;
        for change in &submit.changes {
            not_empty("Submit.changes", change.is_empty())?;
            within("Submit.changes", change.len(), limits::ENTRY_PAYLOAD_BYTES)?;
        }
        Ok(Self {
            request: RequestId(submit.request_id),
            document: DocumentId::from_bytes(&submit.document)?,
            changes: submit.changes,
            fencing: fencing(submit.fencing),
        })
    }
}

impl TryFrom<wire::Subscribe> for Subscribe {
    type Error = FrameError;

    fn try_from(subscribe: wire::Subscribe) -> Result<Self, FrameError> {
        use wire::subscribe::From;
        Ok(Self {
            request: RequestId(subscribe.request_id),
            document: DocumentId::from_bytes(&subscribe.document)?,
            start: match subscribe.from {
                None => Start::Snapshot,
                Some(From::AfterOffset(offset)) => Start::After(Offset(offset)),
                Some(From::AfterHeads(heads)) => Start::AfterHeads(hashes("Subscribe.after_heads", &heads)?),
            },
        })
    }
}

impl TryFrom<wire::Fetch> for Fetch {
    type Error = FrameError;

    fn try_from(fetch: wire::Fetch) -> Result<Self, FrameError> {
        let (from, until) = (fetch.from_offset, fetch.until_offset);
        if from == 0 || (until != 0 && until <= from) {
            let expected = "from 1, and before Fetch.until_offset";
            let field = "Fetch.from_offset";
            return Err(FrameError::Value { field, expected });
        }
        Ok(Self {
            request: RequestId(fetch.request_id),
            document: DocumentId::from_bytes(&fetch.document)?,
            from: Offset(from),
            until: (until != 0).then_some(Offset(until)),
        })
    }
}

impl TryFrom<wire::Presence> for Presence {
    type Error = FrameError;

    fn try_from(presence: wire::Presence) -> Result<Self, FrameError> {
        within("Presence.state", presence.state.len(), PRESENCE_BYTES)?;
        if presence.ttl_ms > PRESENCE_TTL_MS_MAX {
            let expected = "at most 3600000";
            let field = "Presence.ttl_ms";
            return Err(FrameError::Value { field, expected });
        }
        Ok(Self {
            document: DocumentId::from_bytes(&presence.document)?,
            state: presence.state,
            ttl_ms: presence.ttl_ms,
        })
    }
}

impl From<ClientFrame> for wire::ClientFrame {
    fn from(frame: ClientFrame) -> Self {
        use wire::client_frame::Kind;
        let bytes = |document: &DocumentId| Bytes::copy_from_slice(document.as_bytes());
        let kind = match frame {
            ClientFrame::Hello(hello) => Kind::Hello(wire::Hello {
                token: hello.token,
                client_id: hello.client_id,
                resume_token: hello.resume_token,
                capabilities: hello.capabilities,
                frame_bytes: hello.frame_bytes.map_or(0, NonZeroU64::get),
            }),
            ClientFrame::Submit(submit) => Kind::Submit(wire::Submit {
                request_id: submit.request.0,
                document: bytes(&submit.document),
                changes: submit.changes,
                fencing: submit.fencing.map_or(0, |fencing| fencing.0),
            }),
            ClientFrame::Subscribe(subscribe) => Kind::Subscribe(wire::Subscribe {
                request_id: subscribe.request.0,
                document: bytes(&subscribe.document),
                from: match subscribe.start {
                    Start::Snapshot => None,
                    Start::After(offset) => Some(wire::subscribe::From::AfterOffset(offset.0)),
                    Start::AfterHeads(heads) => {
                        let heads: Vec<u8> = heads.iter().flat_map(|hash| hash.0).collect();
                        Some(wire::subscribe::From::AfterHeads(heads.into()))
                    }
                },
            }),
            ClientFrame::Unsubscribe(document) => Kind::Unsubscribe(wire::Unsubscribe {
                document: bytes(&document),
            }),
            ClientFrame::Fetch(fetch) => Kind::Fetch(wire::Fetch {
                request_id: fetch.request.0,
                document: bytes(&fetch.document),
                from_offset: fetch.from.0,
                until_offset: fetch.until.map_or(0, |offset| offset.0),
            }),
            ClientFrame::Presence(presence) => Kind::Presence(wire::Presence {
                document: bytes(&presence.document),
                state: presence.state,
                ttl_ms: presence.ttl_ms,
            }),
            ClientFrame::Ping(nonce) => Kind::Ping(wire::Ping { nonce }),
            ClientFrame::AcquireLock(acquire) => Kind::AcquireLock(acquire.into()),
            ClientFrame::ReleaseLock(release) => Kind::ReleaseLock(release.into()),
            ClientFrame::ListLocks(list) => Kind::ListLocks(list.into()),
        };
        Self { kind: Some(kind) }
    }
}

fn within(field: &'static str, found: usize, limit: usize) -> Result<(), FrameError> {
    if found > limit {
        return Err(FrameError::TooLong { field, found, limit });
    }
    Ok(())
}

fn not_empty(field: &'static str, empty: bool) -> Result<(), FrameError> {
    if empty {
        let expected = "not empty";
        return Err(FrameError::Value { field, expected });
    }
    Ok(())
}

/// Hashes that stand one after the other.
fn hashes(field: &'static str, bytes: &[u8]) -> Result<Vec<ChangeHash>, FrameError> {
    within(field, bytes.len() / 32, limits::SYNC_HASHES)?;
    let (hashes, []) = bytes.as_chunks() else {
        let expected = "a multiple of 32 bytes";
        return Err(FrameError::Value { field, expected });
    };
    Ok(hashes.iter().map(|hash| ChangeHash(*hash)).collect())
}
