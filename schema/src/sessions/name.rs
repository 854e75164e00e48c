//! What clients and nodes are called.

use std::{fmt, sync::Arc};

/// Bytes of a client's name: that of the native protocol's `Hello`, and of an automerge-repo peer id.
pub const CLIENT_ID_BYTES: usize = 256;

/// The name that a client keeps for as long as its local data lives. Whatever it says; not authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

impl ClientId {
    /// A client's name; `None` when it is longer than [`CLIENT_ID_BYTES`]. It may be empty, as long as it is not known.
    pub fn named(name: &str) -> Option<Self> {
        (name.len() <= CLIENT_ID_BYTES).then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The empty name: of a client that has not said it.
impl Default for ClientId {
    fn default() -> Self {
        Self(Arc::from(""))
    }
}

/// One process that serves clients, unique within the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A node's name; `None` unless it has 1 to 64 letters, digits, `-` or `_`, so that it can stand in keys and subjects.
    pub fn named(name: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        ((1..=64).contains(&name.len()) && name.bytes().all(fits)).then(|| Self(Arc::from(name)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_not_stand_in_a_subject_are_no_nodes() {
        assert!(NodeId::named("gateway-1_a").is_some());
        for bad in ["", "a.b", "a b", ">", "*", "ä", &"n".repeat(65)] {
            assert_eq!(NodeId::named(bad), None, "{bad:?}");
        }
    }
}
