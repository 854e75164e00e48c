//! What the nodes of a cluster tell one another about presence: between the protobuf message and a value in which everything
//! is what it should be.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::{
    access::Principal,
    id::{DocumentId, SessionId},
    native::{PRESENCE_BYTES, PRESENCE_TTL_MS_MAX},
    sessions::{
        NodeId,
        wire::{self, presence_message, present_roster},
    },
};

/// The layout that is spoken.
const VERSION: u32 = 1;

/// Members of a roster, and sessions that are asked about at once; those beyond are left to the next message.
pub const ROSTER: usize = 16_384;

/// One message about one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusMessage {
    /// Who says it.
    pub node: NodeId,
    /// Which run of that node, and the how-manieth message of it.
    pub order: (u64, u64),
    /// Of which document.
    pub document: DocumentId,
    /// What is not said again within so many milliseconds does not hold any more.
    pub lease_ms: u32,
    /// What is said.
    pub body: BusBody,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusBody {
    /// A session is present on this node.
    Present(BusPresent),
    /// It is not any more.
    Absent(SessionId),
    /// These sessions are, and no others. Whoever knows an earlier state of one asks.
    Roster(Vec<BusMember>),
    /// Asks one node, or all, about these sessions, or all.
    Ask {
        /// The node; all when there is none.
        node: Option<NodeId>,
        /// The sessions; all when there are none.
        sessions: Vec<SessionId>,
    },
}

/// A session that is present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusPresent {
    /// Which.
    pub session: SessionId,
    /// Who that is.
    pub principal: Principal,
    /// Its state.
    pub state: Bytes,
    /// For how long it holds from now on.
    pub ttl_ms: u32,
    /// Which of its states it is.
    pub revision: u64,
}

/// A session in a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusMember {
    /// Which.
    pub session: SessionId,
    /// Its newest state.
    pub revision: u64,
    /// For how long that still holds.
    pub ttl_ms: u32,
}

/// Bytes that are no such message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// Not protobuf.
    #[error("not a presence message: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// From a newer version.
    #[error("a presence message of version {0}, which is not known here")]
    Version(u32),
    /// A field that does not have a value it may have.
    #[error("a presence message with an impossible {0}")]
    Field(&'static str),
}

impl BusMessage {
    /// The bytes.
    pub fn encode(&self) -> Bytes {
        let body = match &self.body {
            BusBody::Present(present) => presence_message::Body::Present(wire::PresentHere {
                session: bytes_of(present.session),
                principal: present.principal.as_str().to_owned(),
                state: present.state.clone(),
                ttl_ms: present.ttl_ms,
                revision: present.revision,
            }),
            BusBody::Absent(session) => presence_message::Body::Absent(bytes_of(*session)),
            BusBody::Roster(members) => presence_message::Body::Roster(wire::PresentRoster {
                members: members
                    .iter()
                    .map(|member| present_roster::Member {
                        session: bytes_of(member.session),
                        revision: member.revision,
                        ttl_ms: member.ttl_ms,
                    })
                    .collect(),
            }),
            BusBody::Ask { node, sessions } => presence_message::Body::Ask(wire::PresenceAsk {
                node: node.as_ref().map(|node| node.as_str().to_owned()).unwrap_or_default(),
                sessions: sessions.iter().copied().map(bytes_of).collect(),
            }),
        };
        let message = wire::PresenceMessage {
            version: VERSION,
            node: self.node.as_str().to_owned(),
            run: self.order.0,
            sequence: self.order.1,
            document: Bytes::copy_from_slice(self.document.as_bytes()),
            lease_ms: self.lease_ms,
            body: Some(body),
        };
        message.encode_to_vec().into()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is none.
    pub fn decode(bytes: Bytes) -> Result<Self, BusError> {
        let message = wire::PresenceMessage::decode(bytes)?;
        if message.version != VERSION {
            return Err(BusError::Version(message.version));
        }
        let body = match message.body.ok_or(BusError::Field("body"))? {
            presence_message::Body::Present(present) => BusBody::Present(BusPresent::try_from(present)?),
            presence_message::Body::Absent(session) => BusBody::Absent(session_from(&session)?),
            presence_message::Body::Roster(roster) => {
                within(roster.members.len())?;
                let members = roster.members.iter().map(BusMember::try_from);
                BusBody::Roster(members.collect::<Result<_, _>>()?)
            }
            presence_message::Body::Ask(ask) => {
                within(ask.sessions.len())?;
                let sessions = ask.sessions.iter().map(|session| session_from(session));
                BusBody::Ask {
                    node: match &*ask.node {
                        "" => None,
                        node => Some(node_from(node)?),
                    },
                    sessions: sessions.collect::<Result<_, _>>()?,
                }
            }
        };
        Ok(Self {
            node: node_from(&message.node)?,
            order: (message.run, message.sequence),
            document: DocumentId::from_bytes(&message.document).map_err(|_| BusError::Field("document"))?,
            lease_ms: ttl_from(message.lease_ms)?,
            body,
        })
    }
}

impl TryFrom<wire::PresentHere> for BusPresent {
    type Error = BusError;

    fn try_from(present: wire::PresentHere) -> Result<Self, BusError> {
        if present.state.len() > PRESENCE_BYTES {
            return Err(BusError::Field("state"));
        }
        Ok(Self {
            session: session_from(&present.session)?,
            principal: Principal::named(&present.principal).ok_or(BusError::Field("principal"))?,
            state: present.state,
            ttl_ms: ttl_from(present.ttl_ms)?,
            revision: present.revision,
        })
    }
}

impl TryFrom<&present_roster::Member> for BusMember {
    type Error = BusError;

    fn try_from(member: &present_roster::Member) -> Result<Self, BusError> {
        Ok(Self {
            session: session_from(&member.session)?,
            revision: member.revision,
            ttl_ms: ttl_from(member.ttl_ms)?,
        })
    }
}

fn bytes_of(session: SessionId) -> Bytes {
    Bytes::copy_from_slice(session.0.as_bytes())
}

fn session_from(bytes: &[u8]) -> Result<SessionId, BusError> {
    let uuid = Uuid::from_slice(bytes).map_err(|_| BusError::Field("session"))?;
    Ok(SessionId(uuid))
}

fn node_from(name: &str) -> Result<NodeId, BusError> {
    NodeId::named(name).ok_or(BusError::Field("node"))
}

fn ttl_from(ttl_ms: u32) -> Result<u32, BusError> {
    if (1..=PRESENCE_TTL_MS_MAX).contains(&ttl_ms) {
        Ok(ttl_ms)
    } else {
        Err(BusError::Field("time"))
    }
}

fn within(count: usize) -> Result<(), BusError> {
    if count > ROSTER {
        return Err(BusError::Field("number of sessions"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_session() -> impl Strategy<Value = SessionId> {
        any::<u128>().prop_map(|id| SessionId(Uuid::from_u128(id)))
    }

    fn any_body() -> impl Strategy<Value = BusBody> {
        let ttl = 1..=PRESENCE_TTL_MS_MAX;
        let present = (any_session(), "[a-z]{1,9}", any::<Vec<u8>>(), ttl.clone(), any::<u64>()).prop_map(
            |(session, principal, state, ttl_ms, revision)| {
                BusBody::Present(BusPresent {
                    session,
                    principal: Principal::named(&principal).unwrap(),
                    state: state.into(),
                    ttl_ms,
                    revision,
                })
            },
        );
        let member = (any_session(), any::<u64>(), ttl).prop_map(|(session, revision, ttl_ms)| BusMember {
            session,
            revision,
            ttl_ms,
        });
        let node = prop::option::of("[a-z]{1,5}".prop_map(|name| NodeId::named(&name).unwrap()));
        prop_oneof![
            present,
            any_session().prop_map(BusBody::Absent),
            prop::collection::vec(member, 0..5).prop_map(BusBody::Roster),
            (node, prop::collection::vec(any_session(), 0..5))
                .prop_map(|(node, sessions)| BusBody::Ask { node, sessions }),
        ]
    }

    proptest! {
        #[test]
        fn messages_survive_the_way(order in any::<(u64, u64)>(), document in any::<[u8; 16]>(), body in any_body()) {
            let message = BusMessage {
                node: NodeId::named("one").unwrap(),
                order,
                document: DocumentId::from_bytes(&document).unwrap(),
                lease_ms: 15_000,
                body,
            };
            prop_assert_eq!(BusMessage::decode(message.encode()), Ok(message));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BusMessage::decode(bytes.into());
        }
    }

    #[test]
    fn the_bytes_do_not_change() {
        let message = BusMessage {
            node: NodeId::named("one").unwrap(),
            order: (2, 3),
            document: DocumentId::from_bytes(&[7; 4]).unwrap(),
            lease_ms: 15_000,
            body: BusBody::Absent(SessionId(Uuid::from_u128(9))),
        };
        let hex: String = message.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "080112036f6e65180220032a0407070707309875421000000000000000000000000000000009"
        );
    }

    #[test]
    fn what_exceeds_its_bounds_is_refused() {
        let message = |body| wire::PresenceMessage {
            version: 1,
            node: "one".to_owned(),
            run: 1,
            sequence: 1,
            document: Bytes::from_static(b"d"),
            lease_ms: 1,
            body: Some(body),
        };
        let read = |message: &wire::PresenceMessage| BusMessage::decode(message.encode_to_vec().into());
        let good = message(presence_message::Body::Absent(Bytes::from_static(&[0; 16])));
        assert!(read(&good).is_ok());
        let bad = |change: fn(&mut wire::PresenceMessage)| {
            let mut message = good.clone();
            change(&mut message);
            read(&message).unwrap_err()
        };
        assert_eq!(bad(|m| m.version = 2), BusError::Version(2));
        assert_eq!(bad(|m| m.lease_ms = 0), BusError::Field("time"));
        assert_eq!(bad(|m| m.node = ">".to_owned()), BusError::Field("node"));
        assert_eq!(bad(|m| m.document = Bytes::new()), BusError::Field("document"));
        assert_eq!(bad(|m| m.body = None), BusError::Field("body"));
        let sessions = vec![Bytes::from_static(&[0; 16]); ROSTER + 1];
        let ask = message(presence_message::Body::Ask(wire::PresenceAsk {
            node: String::new(),
            sessions,
        }));
        assert_eq!(read(&ask), Err(BusError::Field("number of sessions")));
    }
}
