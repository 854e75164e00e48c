//! Random edits of every kind: maps, lists, text, counters, nested objects, deletions.

use automerge::{
    ActorId, AutoCommit, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, transaction::Transactable,
};
use rand::{Rng, seq::IndexedRandom};

/// Most elements that random edits let a list or text grow to.
const LONGEST: usize = 4_000;

/// The first content of every document: a map, a list, a text and a counter. Every writer makes the very same change,
/// so that all can start without waiting for each other.
///
/// # Errors
/// Never, unless automerge refuses to make objects.
pub fn base() -> Result<AutoCommit, AutomergeError> {
    let mut document = AutoCommit::new().with_actor(ActorId::from([0xaf; 16]));
    document.put_object(ROOT, "map", ObjType::Map)?;
    document.put_object(ROOT, "list", ObjType::List)?;
    document.put_object(ROOT, "text", ObjType::Text)?;
    document.put(ROOT, "counter", ScalarValue::counter(0))?;
    document.commit_with(automerge::transaction::CommitOptions::default().with_time(0));
    Ok(document.with_actor(ActorId::random()))
}

/// Makes one random edit. Does nothing to a document that does not have the [`base`].
///
/// # Errors
/// When automerge refuses: a defect of this module.
pub fn random(document: &mut AutoCommit, rng: &mut impl Rng) -> Result<(), AutomergeError> {
    match rng.random_range(0..10) {
        0..4 => edit_text(document, rng),
        4..7 => edit_list(document, rng),
        7..9 => edit_map(document, rng),
        _ if document.get(ROOT, "counter")?.is_some() => document.increment(ROOT, "counter", rng.random_range(-5..10)),
        _ => Ok(()),
    }
}

fn object(document: &AutoCommit, key: &str) -> Result<Option<ObjId>, AutomergeError> {
    Ok(document.get(ROOT, key)?.map(|(_, id)| id))
}

fn word(rng: &mut impl Rng) -> String {
    const LETTERS: &[char] = &['a', 'b', 'c', 'd', ' ', '\n', 'é', 'ß', '漢', '🦀'];
    let letters = rng.random_range(1..8);
    (0..letters).filter_map(|_| LETTERS.choose(rng)).collect()
}

fn edit_text(document: &mut AutoCommit, rng: &mut impl Rng) -> Result<(), AutomergeError> {
    let Some(text) = object(document, "text")? else {
        return Ok(());
    };
    let length = document.length(&text);
    let position = rng.random_range(0..=length);
    let delete = rng.random_range(0..4).min(length - position);
    let insert = if length < LONGEST { word(rng) } else { String::new() };
    document.splice_text(&text, position, delete.cast_signed(), &insert)
}

fn edit_list(document: &mut AutoCommit, rng: &mut impl Rng) -> Result<(), AutomergeError> {
    let Some(list) = object(document, "list")? else {
        return Ok(());
    };
    let length = document.length(&list);
    match rng.random_range(0..4) {
        0 if length > 0 => document.delete(&list, rng.random_range(0..length)),
        1 if length > 0 => document.put(&list, rng.random_range(0..length), word(rng)),
        2 if length < LONGEST => {
            let inner = document.insert_object(&list, rng.random_range(0..=length), ObjType::Map)?;
            document.put(&inner, "n", rng.random::<i64>())
        }
        _ if length < LONGEST => document.insert(&list, rng.random_range(0..=length), rng.random::<f64>()),
        _ => document.delete(&list, length - 1),
    }
}

fn edit_map(document: &mut AutoCommit, rng: &mut impl Rng) -> Result<(), AutomergeError> {
    let Some(map) = object(document, "map")? else {
        return Ok(());
    };
    let key = format!("k{}", rng.random_range(0..50));
    match rng.random_range(0..5) {
        0 if document.get(&map, &key)?.is_some() => document.delete(&map, key),
        1 => {
            let inner = document.put_object(&map, &key, ObjType::List)?;
            document.insert(&inner, 0, word(rng))
        }
        2 => document.put(&map, key, rng.random::<[u8; 24]>().to_vec()),
        _ => document.put(&map, key, word(rng)),
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn every_writer_starts_from_the_same_change_under_a_name_of_its_own() {
        let (mut one, mut other) = (base().unwrap(), base().unwrap());
        assert_eq!(one.get_heads(), other.get_heads());
        assert_ne!(one.get_actor(), other.get_actor());
    }

    #[test]
    fn a_thousand_edits_are_all_accepted_and_merge() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut one, mut other) = (base().unwrap(), base().unwrap());
        for document in [&mut one, &mut other] {
            for _ in 0..1_000 {
                random(document, &mut rng).unwrap();
                document.commit();
            }
        }
        one.merge(&mut other).unwrap();
        assert!(one.get_changes_meta(&[]).len() > 1_900);
    }
}
