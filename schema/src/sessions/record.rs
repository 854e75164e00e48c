//! A session as it is stored: between the protobuf message and a value in which everything is what it should be.

use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::{
    Attributes, CURSORS, ClientId, Cursors, NodeId, Protocol, ResumeToken, SessionState, check_attributes,
    wire::{self, SessionCursor},
};
use crate::{
    access::Principal,
    id::{ConnectionId, DocumentId, Offset, SessionId},
};

/// The layout that is written.
const VERSION: u32 = 1;

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// The node that serves it.
    pub node: NodeId,
    /// Whose it is.
    pub principal: Principal,
    /// What the client calls itself.
    pub client: ClientId,
    /// What is spoken.
    pub protocol: Protocol,
    /// The client's address.
    pub peer: Option<SocketAddr>,
    /// Its connection on that node, while there is one.
    pub connection: Option<ConnectionId>,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// When something was last heard of it, as far as it is known here.
    pub heard_ms: u64,
    /// Where it stands.
    pub state: SessionState,
    /// What the application says about it.
    pub attributes: Attributes,
    /// Up to where it has each document.
    pub cursors: Cursors,
    /// With what it can be resumed; `None` when it cannot.
    pub resume: Option<ResumeHashes>,
}

/// Hashes of resume tokens' secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumeHashes {
    /// Of the newest token.
    pub current: blake3::Hash,
    /// Of the one before, as long as the client may not have the newest one.
    pub before: Option<blake3::Hash>,
}

impl ResumeHashes {
    /// Only this token is good.
    pub fn of(token: &ResumeToken) -> Self {
        Self {
            current: token.hash(),
            before: None,
        }
    }

    /// Whether a token is good. Takes the same time whatever is wrong with it: hashes are compared in constant time.
    pub fn admit(&self, token: &ResumeToken) -> bool {
        let hash = token.hash();
        let before = self.before.unwrap_or(self.current);
        (hash == self.current) | (hash == before)
    }
}

/// Bytes that are not a stored session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a protobuf message of this kind.
    #[error("not a session record: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// Written by a newer version.
    #[error("a session record of version {0}, which is not known here")]
    Version(u32),
    /// A field that does not have a value it may have.
    #[error("a session record with an impossible {0}")]
    Field(&'static str),
}

impl SessionRecord {
    /// The stored bytes. The same record always gives the same ones.
    pub fn encode(&self) -> Vec<u8> {
        let hash = |hash: blake3::Hash| Bytes::copy_from_slice(hash.as_bytes());
        let record = wire::SessionRecord {
            version: VERSION,
            id: Bytes::copy_from_slice(self.id.0.as_bytes()),
            node: self.node.as_str().to_owned(),
            principal: self.principal.as_str().to_owned(),
            client_id: self.client.as_str().to_owned(),
            protocol: wire::SessionProtocol::from(self.protocol).into(),
            peer: self.peer.map(|peer| peer.to_string()).unwrap_or_default(),
            connection: self.connection.map(|connection| connection.0),
            created_ms: self.created_ms,
            heard_ms: self.heard_ms,
            state: wire::SessionState::from(self.state).into(),
            attributes: self.attributes.clone(),
            cursors: cursors_to_wire(&self.cursors),
            resume_hash: self.resume.map(|resume| hash(resume.current)).unwrap_or_default(),
            resume_hash_before: self
                .resume
                .and_then(|resume| resume.before)
                .map(hash)
                .unwrap_or_default(),
        };
        record.encode_to_vec()
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// When that is no session record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record = wire::SessionRecord::decode(bytes)?;
        if record.version != VERSION {
            return Err(RecordError::Version(record.version));
        }
        check_attributes(&record.attributes).map_err(|_| RecordError::Field("attribute"))?;
        let protocol = record.protocol();
        let state = record.state();
        let peer = match &*record.peer {
            "" => None,
            peer => Some(peer.parse().map_err(|_| RecordError::Field("peer"))?),
        };
        let current = hash_from(&record.resume_hash)?;
        let before = hash_from(&record.resume_hash_before)?;
        Ok(Self {
            id: SessionId(Uuid::from_slice(&record.id).map_err(|_| RecordError::Field("id"))?),
            node: NodeId::named(&record.node).ok_or(RecordError::Field("node"))?,
            principal: Principal::named(&record.principal).ok_or(RecordError::Field("principal"))?,
            client: ClientId::named(&record.client_id).ok_or(RecordError::Field("client"))?,
            protocol: Protocol::try_from(protocol).map_err(|()| RecordError::Field("protocol"))?,
            peer,
            connection: record.connection.map(ConnectionId),
            created_ms: record.created_ms,
            heard_ms: record.heard_ms,
            state: SessionState::try_from(state).map_err(|()| RecordError::Field("state"))?,
            attributes: record.attributes,
            cursors: cursors_from_wire(&record.cursors).ok_or(RecordError::Field("cursor"))?,
            resume: current.map(|current| ResumeHashes { current, before }),
        })
    }
}

fn hash_from(bytes: &[u8]) -> Result<Option<blake3::Hash>, RecordError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let hash = blake3::Hash::from_slice(bytes).map_err(|_| RecordError::Field("resume hash"))?;
    Ok(Some(hash))
}

/// Cursors as messages, in the order of the documents' ids.
pub fn cursors_to_wire(cursors: &Cursors) -> Vec<SessionCursor> {
    let cursor = |(document, offset): (&DocumentId, &Offset)| SessionCursor {
        document: Bytes::copy_from_slice(document.as_bytes()),
        offset: offset.0,
    };
    cursors.iter().map(cursor).collect()
}

/// Cursors from messages; `None` when there are too many, or a document's id is none.
pub fn cursors_from_wire(cursors: &[SessionCursor]) -> Option<Cursors> {
    let cursor = |cursor: &SessionCursor| {
        let document = DocumentId::from_bytes(&cursor.document).ok()?;
        Some((document, Offset(cursor.offset)))
    };
    (cursors.len() <= CURSORS)
        .then(|| cursors.iter().map(cursor).collect())
        .flatten()
}

impl From<Protocol> for wire::SessionProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::AutomergeRepo => Self::AutomergeRepo,
            Protocol::NativeWebSocket => Self::NativeWebsocket,
            Protocol::NativeQuantum => Self::NativeQuantum,
            Protocol::Service => Self::Service,
        }
    }
}

impl TryFrom<wire::SessionProtocol> for Protocol {
    type Error = ();

    fn try_from(protocol: wire::SessionProtocol) -> Result<Self, ()> {
        match protocol {
            wire::SessionProtocol::Unspecified => Err(()),
            wire::SessionProtocol::AutomergeRepo => Ok(Self::AutomergeRepo),
            wire::SessionProtocol::NativeWebsocket => Ok(Self::NativeWebSocket),
            wire::SessionProtocol::NativeQuantum => Ok(Self::NativeQuantum),
            wire::SessionProtocol::Service => Ok(Self::Service),
        }
    }
}

impl From<SessionState> for wire::SessionState {
    fn from(state: SessionState) -> Self {
        match state {
            SessionState::Connecting => Self::Connecting,
            SessionState::Active => Self::Active,
            SessionState::Idle => Self::Idle,
            SessionState::Disconnecting => Self::Disconnecting,
            SessionState::Closed => Self::Closed,
        }
    }
}

impl TryFrom<wire::SessionState> for SessionState {
    type Error = ();

    fn try_from(state: wire::SessionState) -> Result<Self, ()> {
        match state {
            wire::SessionState::Unspecified => Err(()),
            wire::SessionState::Connecting => Ok(Self::Connecting),
            wire::SessionState::Active => Ok(Self::Active),
            wire::SessionState::Idle => Ok(Self::Idle),
            wire::SessionState::Disconnecting => Ok(Self::Disconnecting),
            wire::SessionState::Closed => Ok(Self::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record() -> SessionRecord {
        let token = |byte| ResumeToken::new(SessionId(Uuid::nil()), [byte; 32]);
        SessionRecord {
            id: SessionId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
            node: NodeId::named("gateway-1").unwrap(),
            principal: Principal::named("ada").unwrap(),
            client: ClientId::named("laptop").unwrap(),
            protocol: Protocol::NativeQuantum,
            peer: Some("[::1]:4711".parse().unwrap()),
            connection: Some(ConnectionId(9)),
            created_ms: 1_700_000_000_000,
            heard_ms: 1_700_000_000_500,
            state: SessionState::Active,
            attributes: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
            cursors: [(DocumentId::from_bytes(&[7; 16]).unwrap(), Offset(12))].into(),
            resume: Some(ResumeHashes {
                current: token(1).hash(),
                before: Some(token(2).hash()),
            }),
        }
    }

    #[test]
    fn the_stored_form_does_not_change() {
        let golden = include_str!("../../testdata/record/session-v1.hex");
        let bytes: String = record().encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, golden.trim());
        assert_eq!(SessionRecord::decode(&record().encode()), Ok(record()));
    }

    #[test]
    fn what_is_missing_or_impossible_is_refused() {
        let reread = |change: &dyn Fn(&mut wire::SessionRecord)| {
            let mut message = wire::SessionRecord::decode(&*record().encode()).unwrap();
            change(&mut message);
            SessionRecord::decode(&message.encode_to_vec())
        };
        assert_eq!(reread(&|_| {}), Ok(record()));
        assert_eq!(reread(&|r| r.version = 2), Err(RecordError::Version(2)));
        assert_eq!(reread(&|r| r.id = Bytes::new()), Err(RecordError::Field("id")));
        assert_eq!(reread(&|r| r.state = 0), Err(RecordError::Field("state")));
        assert_eq!(reread(&|r| r.protocol = 99), Err(RecordError::Field("protocol")));
        assert_eq!(reread(&|r| r.peer = "x".into()), Err(RecordError::Field("peer")));
        assert_eq!(reread(&|r| r.node = "a.b".into()), Err(RecordError::Field("node")));
        let short = Bytes::from_static(b"abc");
        assert_eq!(
            reread(&|r| r.resume_hash = short.clone()),
            Err(RecordError::Field("resume hash"))
        );
        let many = vec![SessionCursor::default(); CURSORS + 1];
        assert_eq!(reread(&|r| r.cursors = many.clone()), Err(RecordError::Field("cursor")));
    }

    #[test]
    fn only_the_newest_token_and_the_one_before_are_good() {
        let token = |byte| ResumeToken::new(SessionId(Uuid::nil()), [byte; 32]);
        let only = ResumeHashes::of(&token(1));
        assert!(only.admit(&token(1)) && !only.admit(&token(2)));
        let both = record().resume.unwrap();
        assert!(both.admit(&token(1)) && both.admit(&token(2)) && !both.admit(&token(3)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = SessionRecord::decode(&bytes);
        }

        #[test]
        fn records_survive_being_stored(
            id in any::<u128>(), peer in any::<Option<std::net::SocketAddr>>(), connection in any::<Option<u64>>(),
            times in any::<(u64, u64)>(), state in 0..5usize, secret in any::<Option<[u8; 32]>>(),
            attributes in prop::collection::btree_map("[a-zäö]{1,8}", ".{0,20}", 0..5),
            cursors in prop::collection::btree_map(any::<[u8; 16]>(), any::<u64>(), 0..5),
        ) {
            let mut record = record();
            record.id = SessionId(Uuid::from_u128(id));
            // What a flow label and a scope id are to a link, they are not to a session.
            record.peer = peer.map(|peer| SocketAddr::new(peer.ip(), peer.port()));
            record.connection = connection.map(ConnectionId);
            (record.created_ms, record.heard_ms) = times;
            record.state = SessionState::ALL[state];
            record.resume = secret.map(|secret| ResumeHashes::of(&ResumeToken::new(record.id, secret)));
            record.attributes = attributes;
            record.cursors =
                cursors.into_iter().map(|(id, at)| (DocumentId::from_bytes(&id).unwrap(), Offset(at))).collect();
            prop_assert_eq!(SessionRecord::decode(&record.encode()), Ok(record));
        }
    }
}
