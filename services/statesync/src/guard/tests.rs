//! What automerge makes passes, and what claims too much does not.

use aetherflow_schema::limits;
use automerge::{AutoCommit, ROOT, sync, sync::SyncDoc, transaction::Transactable};
use proptest::prelude::*;

use super::*;

fn messages() -> Vec<Vec<u8>> {
    let mut doc = AutoCommit::new();
    let (mut here, mut there) = (sync::State::new(), sync::State::new());
    let mut peer = AutoCommit::new();
    let mut messages = Vec::new();
    for n in 0..20 {
        doc.put(ROOT, "text", format!("{n} {}", "long ".repeat(n * 20)))
            .unwrap();
        loop {
            let Some(message) = doc.sync().generate_sync_message(&mut here) else {
                break;
            };
            messages.push(message.clone().encode());
            peer.sync().receive_sync_message(&mut there, message).unwrap();
            if let Some(answer) = peer.sync().generate_sync_message(&mut there) {
                messages.push(answer.clone().encode());
                doc.sync().receive_sync_message(&mut here, answer).unwrap();
            }
        }
    }
    messages
}

#[test]
fn what_automerge_sends_is_accepted_whole() {
    for message in messages() {
        check(&message).unwrap();
        for bytes in sync::Message::decode(&message).unwrap().changes.iter() {
            let chunks = accept(bytes, &mut Allowance::of(bytes.len())).unwrap();
            assert_eq!(chunks.iter().map(|(_, chunk)| chunk.len()).sum::<usize>(), bytes.len());
        }
    }
}

#[test]
fn a_filter_that_asks_for_billions_of_probes_is_refused() {
    let mut message = vec![TYPE_V1, 0, 0, 1, 0];
    let filter = [1, 10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    message.push(filter.len() as u8);
    message.extend_from_slice(&filter);
    message.push(0);
    assert!(matches!(
        check(&message),
        Err(Refused::TooMany {
            what: "filter probes",
            ..
        })
    ));
}

#[test]
fn a_filter_without_bits_is_refused() {
    let message = [TYPE_V1, 0, 0, 1, 0, 3, 5, 0, 7, 0];
    assert_eq!(check(&message), Err(Refused::Filter));
}

fn refusal(bytes: &[u8]) -> Refused {
    accept(bytes, &mut Allowance::of(bytes.len())).unwrap_err()
}

fn rows(bytes: &[u8]) -> u64 {
    let mut allowance = Allowance::of(bytes.len());
    accept(bytes, &mut allowance).unwrap();
    allowance.rows()
}

#[test]
fn a_change_that_unfolds_without_bound_is_refused() {
    let zeros = bomb::deflate(&vec![0; limits::ENTRY_PAYLOAD_BYTES + 1]);
    let what = "bytes";
    assert!(matches!(refusal(&bomb::chunk(2, &zeros)), Refused::Unfolds { what: found, .. } if found == what));
    // Each of these is allowed, and all of them are not.
    let one = bomb::compressed(&bomb::puts(1, &vec![b'k'; 8 << 20]));
    assert!(one.len() < 16 << 10);
    assert_eq!(rows(&one), 1);
    assert!(matches!(refusal(&one.repeat(9)), Refused::Unfolds { what: found, .. } if found == what));
}

#[test]
fn operations_are_counted_without_being_made() {
    let all = limits::UNFOLDED_ROWS;
    assert_eq!(rows(&bomb::puts(all, b"k")), all);
    assert_eq!(rows(&bomb::compressed(&bomb::puts(all, b"k"))), all);
    for claimed in [2 * all, 1 << 40, u64::MAX >> 2] {
        let bombs = [
            bomb::puts(claimed, b"k"),
            bomb::compressed(&bomb::puts(claimed, b"k")),
            bomb::overwrites(claimed),
            bomb::document(claimed),
            bomb::bundle(claimed),
        ];
        for bomb in bombs {
            assert!(bomb.len() < 120);
            assert!(matches!(refusal(&bomb), Refused::Unfolds { .. }), "{claimed}");
        }
    }
}

#[test]
fn operations_of_all_changes_of_a_message_are_counted_together() {
    let half = bomb::puts(limits::UNFOLDED_ROWS / 2, b"k");
    assert_eq!(rows(&half.repeat(2)), limits::UNFOLDED_ROWS);
    assert!(matches!(
        refusal(&half.repeat(3)),
        Refused::Unfolds { what: "operations", .. }
    ));
}

#[test]
fn who_sends_more_may_unfold_more_up_to_a_limit() {
    assert_eq!(Allowance::of(usize::MAX).rows(), 0);
    let long = vec![b'x'; 1 << 18];
    let larger = [bomb::puts(1, &long), bomb::puts(limits::UNFOLDED_ROWS, b"k")].concat();
    assert_eq!(rows(&larger), limits::UNFOLDED_ROWS + 1);
    let largest = [
        bomb::puts(1, &vec![b'x'; 8 << 20]),
        bomb::puts(limits::UNFOLDED_ROWS_MAX, b"k"),
    ]
    .concat();
    assert!(matches!(
        refusal(&largest),
        Refused::Unfolds {
            limit: limits::UNFOLDED_ROWS_MAX,
            ..
        }
    ));
}

#[test]
fn text_that_is_repeated_is_charged_each_time() {
    let key = vec![b'k'; 1 << 20];
    assert_eq!(rows(&bomb::puts(256, &key)), 256);
    assert!(matches!(
        refusal(&bomb::puts(257, &key)),
        Refused::Unfolds {
            what: "bytes of text",
            ..
        }
    ));
}

#[test]
fn actors_without_names_are_charged_too() {
    let actors = limits::UNFOLDED_ROWS_MAX + 1;
    let body = [&bomb::number(actors)[..], &vec![0; actors as usize], &[0, 0, 0]].concat();
    assert!(matches!(
        refusal(&bomb::chunk(0, &body)),
        Refused::Unfolds { what: "operations", .. }
    ));
}

#[test]
fn files_and_bundles_that_automerge_makes_are_accepted() {
    let mut doc = AutoCommit::new();
    let mut all = 0;
    for n in 0..200 {
        doc.put(ROOT, format!("key {}", n % 7), "value ".repeat(n)).unwrap();
        doc.commit();
        all += 1;
    }
    for file in [doc.save(), doc.save_nocompress(), doc.save_incremental()] {
        assert!(file.is_empty() || rows(&file) >= all);
    }
    let hashes: Vec<_> = doc.get_changes(&[]).iter().map(automerge::Change::hash).collect();
    assert!(rows(doc.document().bundle(hashes).unwrap().bytes()) >= all);
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_what_passes_automerge_can_decode(bytes in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>()) {
        let _ = check(&bytes);
        let _ = accept(&bytes, &mut Allowance::of(bytes.len()));
        for mut message in messages() {
            let at = at.index(message.len());
            message[at] ^= bytes.first().copied().unwrap_or(1);
            if check(&message).is_ok() {
                let _ = sync::Message::decode(&message);
            }
        }
    }
}
