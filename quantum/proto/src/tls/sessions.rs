//! What a server remembers of sessions that may be resumed.
//!
//! Owns up to a fixed number of sessions. Each is given out once, which is what keeps early data from being replayed
//! (RFC 8446 section 8.1). Every operation takes constant time: the oldest half is forgotten at once.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustls::server::StoresServerSessions;

pub(super) struct Sessions {
    /// How many sessions one of the halves holds.
    half: usize,
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Vec<u8>, Vec<u8>>,
    old: HashMap<Vec<u8>, Vec<u8>>,
}

impl Sessions {
    /// Remembers at most `capacity` sessions, and at least the last half of that.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            half: capacity.div_ceil(2),
            halves: Mutex::default(),
        }
    }

    fn halves(&self) -> MutexGuard<'_, Halves> {
        // The maps are whole between any two operations: a panic elsewhere does not spoil them.
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut halves = self.halves();
        if halves.young.len() >= self.half {
            halves.old = mem::take(&mut halves.young);
        }
        halves.young.insert(key, value);
        true
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let halves = self.halves();
        halves.young.get(key).or_else(|| halves.old.get(key)).cloned()
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let mut halves = self.halves();
        halves.young.remove(key).or_else(|| halves.old.remove(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let halves = self.halves();
        write!(f, "Sessions({})", halves.young.len() + halves.old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_taken_once() {
        let sessions = Sessions::new(4);
        assert!(sessions.put(b"key".to_vec(), b"value".to_vec()));
        assert_eq!(sessions.get(b"key").as_deref(), Some(&b"value"[..]));
        assert_eq!(sessions.take(b"key").as_deref(), Some(&b"value"[..]));
        assert_eq!(sessions.take(b"key"), None);
        assert_eq!(sessions.get(b"key"), None);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_latest_kept() {
        let sessions = Sessions::new(8);
        for number in 0..100_u8 {
            sessions.put(vec![number], vec![number]);
            for recent in number.saturating_sub(3)..=number {
                assert_eq!(sessions.get(&[recent]), Some(vec![recent]));
            }
            let known = (0..=number).filter(|number| sessions.get(&[*number]).is_some()).count();
            assert!(known <= 8, "{known} sessions");
        }
        assert_eq!(sessions.take(&[96]), Some(vec![96]), "from the older half, too");
    }
}
