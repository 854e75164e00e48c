//! Tokens that servers gave for the next visit: they spare a round trip when a server wants addresses proved first.
//!
//! Bounded: one for each of the last few servers. Each is used once.

use std::{collections::VecDeque, sync::Mutex};

use bytes::Bytes;

use crate::shared::lock;

/// Servers that are remembered.
const SERVERS_MAX: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// By server name, the oldest first.
    known: Mutex<VecDeque<(String, Bytes)>>,
}

impl Tokens {
    pub(crate) fn put(&self, server: &str, token: Bytes) {
        let mut known = lock(&self.known);
        known.retain(|(name, _)| name != server);
        if known.len() >= SERVERS_MAX {
            known.pop_front();
        }
        known.push_back((server.to_owned(), token));
    }

    pub(crate) fn take(&self, server: &str) -> Option<Bytes> {
        let mut known = lock(&self.known);
        let at = known.iter().position(|(name, _)| name == server)?;
        known.remove(at).map(|(_, token)| token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_server_is_given_once() {
        let tokens = Tokens::default();
        tokens.put("a", "1".into());
        tokens.put("b", "2".into());
        tokens.put("a", "3".into());
        assert_eq!(tokens.take("a").as_deref(), Some(&b"3"[..]));
        assert_eq!(tokens.take("a"), None);
        assert_eq!(tokens.take("b").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let tokens = Tokens::default();
        for name in 0..=SERVERS_MAX {
            tokens.put(&name.to_string(), "token".into());
        }
        assert_eq!(tokens.take("0"), None);
        assert!(tokens.take("1").is_some());
    }
}
