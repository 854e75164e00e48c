//! What holds whatever happens to sessions, in whatever order.

use std::{collections::BTreeMap, sync::Arc};

use aetherflow_schema::{access::Principal, sessions::SessionFilter};
use proptest::prelude::*;

use super::{begin, client, come_back, id, pass, registry, token};
use crate::core::{effects::Effects, entry::Live};

proptest! {
    #[test]
    fn pages_give_each_session_that_stays_exactly_once(
        kept in prop::collection::btree_set(0..90u8, 0..40), limit in 1..10usize, by_principal in any::<bool>(),
        changes in prop::collection::vec((0..90u8, any::<bool>()), 0..60),
    ) {
        let mut registry = registry(None);
        for n in &kept {
            begin(&mut registry, 0, *n, false);
        }
        let filter = SessionFilter {
            principal: by_principal.then(Principal::anonymous),
            ..SessionFilter::default()
        };
        let mut changes = changes.into_iter().filter(|(n, _)| !kept.contains(n));
        let mut seen = BTreeMap::new();
        let mut after = None;
        loop {
            let page = registry.list(&filter, after, limit);
            prop_assert!(page.sessions.len() <= limit && page.sessions.is_sorted_by(|a, b| a.id < b.id));
            for session in page.sessions {
                *seen.entry(session.id).or_insert(0) += 1;
            }
            after = page.next;
            if after.is_none() {
                break;
            }
            if let Some((n, add)) = changes.next() {
                let mut effects = Effects::default();
                if !add {
                    let _ = registry.delete(id(n), None, &mut effects);
                } else if registry.entry(id(n)).is_err() {
                    begin(&mut registry, 0, n, false);
                }
            }
        }
        prop_assert!(kept.iter().all(|n| seen.get(&id(*n)) == Some(&1)));
        prop_assert!(seen.values().all(|times| *times == 1));
    }

    /// Whatever happens in whatever order, indexes, counts and timers agree with the sessions that there are.
    #[test]
    fn indexes_always_agree(steps in prop::collection::vec((0..6u8, 0..9u8, 0..200u64), 1..120)) {
        let mut registry = registry(None);
        let mut now_ms = 0;
        let mut lives: BTreeMap<u8, Arc<Live>> = BTreeMap::new();
        let mut effects = Effects::default();
        for (n, what, time) in steps {
            let known = lives.get(&n).cloned();
            match (what, known) {
                (0 | 1, _) if registry.entry(id(n)).is_err() => {
                    lives.insert(n, begin(&mut registry, now_ms, n, what == 0));
                }
                (2, Some(live)) => {
                    let _ = registry.introduce(now_ms, id(n), &live, client(), &mut effects);
                }
                (3, Some(live)) => registry.disconnect(now_ms, id(n), &live, time % 5 == 0, &mut effects),
                (4, _) => {
                    let _ = registry.delete(id(n), None, &mut effects);
                }
                (5, _) => {
                    if let Ok(live) = come_back(&mut registry, now_ms, n, &token(n, 1), 1) {
                        lives.insert(n, live);
                    }
                }
                (6, Some(live)) if live.heard(now_ms) => registry.wake(now_ms, id(n), &live, &mut effects),
                _ => {
                    now_ms += time;
                    pass(&mut registry, now_ms);
                }
            }
            let all = registry.list(&SessionFilter::default(), None, 100).sessions;
            let mine = SessionFilter { principal: Some(Principal::anonymous()), ..SessionFilter::default() };
            prop_assert_eq!(&registry.list(&mine, None, 100).sessions, &all);
            for session in &all {
                let Some(connection) = session.connection else { continue };
                let filter = SessionFilter {
                    connection: Some((session.node.clone(), connection)),
                    ..SessionFilter::default()
                };
                prop_assert_eq!(registry.list(&filter, None, 9).sessions.len(), 1);
            }
            let mut in_state = [0; 5];
            all.iter().for_each(|session| in_state[session.state as usize] += 1);
            prop_assert_eq!(registry.statistics().in_state, in_state);
            prop_assert_eq!(registry.next_ms().is_some(), !all.is_empty());
        }
        pass(&mut registry, now_ms + 10_000);
        let effects = pass(&mut registry, now_ms + 20_000);
        prop_assert!(effects.is_empty());
        prop_assert_eq!((registry.len(), registry.next_ms()), (0, None));
    }
}
