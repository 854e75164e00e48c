use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Set(u64),
    Cancel(usize),
    Postpone(usize, u64),
    Pass(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    // Near and far, and just around the borders of slots.
    let after = prop_oneof![
        0..200u64,
        0..100_000u64,
        0..100_000_000u64,
        (0..5u32, 0..3u64).prop_map(|(level, more)| (64 << (6 * level)) + more - 1)
    ];
    prop_oneof![
        3 => after.clone().prop_map(Step::Set),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (any::<usize>(), after.clone()).prop_map(|(which, after)| Step::Postpone(which, after)),
        2 => (after, 1..40usize).prop_map(|(time, steps)| Step::Pass(time, steps)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn it_gives_what_a_naive_list_gives(start in any::<u32>(), steps in prop::collection::vec(step(), 1..200)) {
        let mut now = u64::from(start);
        let mut wheel = Wheel::new(now);
        let mut model: BTreeMap<u32, (u64, TimerId)> = BTreeMap::new();
        let mut next = 0;
        let mut given = Vec::new();
        for step in steps {
            match step {
                Step::Set(after) => {
                    model.insert(next, (now + after, wheel.set(now + after, next)));
                    next += 1;
                }
                Step::Cancel(which) => {
                    // One that was given or cancelled now and then, too.
                    let which = which as u32 % next.max(1);
                    if let Some((_, id)) = model.remove(&which) {
                        prop_assert_eq!(wheel.cancel(id), Some(which));
                        prop_assert_eq!(wheel.cancel(id), None);
                        prop_assert!(!wheel.postpone(id, now));
                    }
                }
                Step::Postpone(which, after) => {
                    if let Some((deadline, id)) = model.get_mut(&(which as u32 % next.max(1))) {
                        prop_assert!(wheel.postpone(*id, now + after));
                        *deadline = now + after;
                    }
                }
                Step::Pass(time, steps) => {
                    now += time;
                    let mut due = Vec::new();
                    let more = wheel.expire(now, steps, &mut due);
                    prop_assert!(due.len() <= steps);
                    for value in due {
                        let Some((deadline, id)) = model.remove(&value) else {
                            return Err(TestCaseError::fail(format!("{value} was given twice")));
                        };
                        prop_assert!(deadline <= now, "too early");
                        prop_assert_eq!(wheel.cancel(id), None);
                        given.push(value);
                    }
                    let due = model.values().filter(|(deadline, _)| *deadline <= now).count();
                    prop_assert!(more || due == 0, "something due was left");
                }
            }
            prop_assert_eq!(wheel.len(), model.len());
            prop_assert_eq!(wheel.next_ms().is_some(), !model.is_empty());
            if let (Some(next), Some(earliest)) = (wheel.next_ms(), model.values().map(|(at, _)| *at).min()) {
                prop_assert!(next <= earliest.max(now), "it would be called too late");
            }
        }
        // To the end, waking up only when it says so.
        while let Some(at) = wheel.next_ms() {
            now = now.max(at);
            let mut due = Vec::new();
            wheel.expire(now, 10, &mut due);
            for value in due {
                let (deadline, _) = model.remove(&value).unwrap();
                prop_assert!(deadline <= now);
            }
        }
        prop_assert!(model.is_empty());
    }
}

#[test]
fn a_timer_that_is_woken_for_is_given_at_its_deadline() {
    let mut wheel = Wheel::new(1_000);
    wheel.set(1_000 + 5_000_000, 'a');
    let mut wakes = Vec::new();
    let mut due = Vec::new();
    while let Some(at) = wheel.next_ms() {
        wakes.push(at);
        wheel.expire(at, 100, &mut due);
    }
    assert_eq!((due, wakes.last()), (vec!['a'], Some(&5_001_000)));
    assert!(wakes.len() <= LEVELS);
}

#[test]
fn a_burst_is_given_in_bounded_slices_and_holds_no_memory() {
    let mut wheel = Wheel::new(0);
    for n in 0..10_000 {
        wheel.set(90_000, n);
    }
    let mut all = Vec::new();
    let mut calls = 0;
    loop {
        let mut due = Vec::new();
        let more = wheel.expire(90_000, 256, &mut due);
        assert!(due.len() <= 256);
        all.extend(due);
        calls += 1;
        if !more {
            break;
        }
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..10_000));
    assert!(calls >= 40);
    assert!(wheel.timers.capacity() <= KEPT);
}

#[test]
fn what_is_drained_is_gone_and_later_timers_are_given() {
    let mut wheel = Wheel::new(0);
    let ids: Vec<_> = [5, 5_000, 5_000_000].map(|at| wheel.set(at, at)).into();
    let mut drained = wheel.drain();
    drained.sort_unstable();
    assert_eq!(drained, [5, 5_000, 5_000_000]);
    assert!(ids.into_iter().all(|id| wheel.cancel(id).is_none()));
    wheel.set(7, 7);
    let mut due = Vec::new();
    assert!(!wheel.expire(7, 9, &mut due));
    assert_eq!(due, [7]);
}

#[test]
fn what_is_farther_than_the_wheel_reaches_is_kept() {
    let mut wheel = Wheel::new(0);
    let id = wheel.set(u64::MAX, 1);
    assert!(!wheel.expire(1 << 41, 1000, &mut Vec::new()));
    assert_eq!(wheel.cancel(id), Some(1));
    assert_eq!(wheel.next_ms(), None);
}
