//! The words that several modules share.

use std::fmt;

use bytes::Bytes;
use uuid::Uuid;

/// Which end of a connection this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

/// Names a connection on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub Uuid);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which keys seal a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Derived from the connection id: anybody who sees the first packet has them.
    Initial,
    /// Of the TLS handshake.
    Handshake,
    /// 0-RTT, client to server.
    Early,
    /// 1-RTT.
    Application,
}

/// A sequence of packet numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Space {
    Initial,
    Handshake,
    Application,
}

impl Space {
    pub(crate) const ALL: [Self; 3] = [Self::Initial, Self::Handshake, Self::Application];
}

impl Level {
    pub(crate) fn space(self) -> Space {
        match self {
            Self::Initial => Space::Initial,
            Self::Handshake => Space::Handshake,
            Self::Early | Self::Application => Space::Application,
        }
    }
}

/// A channel of a connection. Messages of different channels never wait for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// A message within its channel, direction and kind of delivery, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// In which order the messages of a channel are delivered. Both are reliable: exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Delivery {
    /// As they were sent.
    #[default]
    Ordered,
    /// Each as soon as it is whole.
    Unordered,
}

/// What goes first when not everything can be sent at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Small and urgent: overtakes everything else, may be protected by parity or repetition.
    Interactive,
    /// In between.
    #[default]
    Normal,
    /// Large: gets what the others leave, but is never starved.
    Bulk,
}

/// A message as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// On which channel.
    pub channel: ChannelId,
    /// How it was sent.
    pub delivery: Delivery,
    /// Its number there.
    pub id: MessageId,
    /// What was sent.
    pub data: Bytes,
}

/// The ECN field of an IP header. RFC 3168.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// ECN-capable, ECT(0).
    Ect0,
    /// ECN-capable, ECT(1).
    Ect1,
    /// Congestion experienced.
    Ce,
}
