//! Fuzzing: the witness and snapshots, as a disk may give them back. `schema/tests/fuzz` says how it is run.

#[path = "../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use aetherflow_log_core::{Tail, storage::Snapshot};
use aetherflow_schema::id::{ChainHash, ChangeHash, Offset};
use uuid::Uuid;

use self::{run::seeds, source::Source};
use crate::{snapshot, witness};

/// A slot of the witness; half of the time its checksum is made good.
fn witness(data: &[u8]) {
    let testimony = witness::Testimony {
        store: Uuid::from_u128(7),
        sequence: 9,
        tails: (1..4)
            .map(|n| Tail {
                offset: Offset(n),
                epoch: 1,
                chain: ChainHash([n as u8; 32]),
            })
            .collect(),
    };
    let mut source = Source::new(data);
    let seal = source.once_in(2);
    let mut slot = source.nearly(&[witness::encode(&testimony)]);
    if let Some(end) = slot.len().checked_sub(4).filter(|_| seal) {
        let sum = crc32c::crc32c(&slot[..end]);
        slot[end..].copy_from_slice(&sum.to_be_bytes());
    }
    if let Some(read) = witness::decode(&slot) {
        assert!(slot.starts_with(&witness::encode(&read)));
    }
}

/// A snapshot; half of the time its checksum is made good.
fn snapshot(data: &[u8]) {
    let good = Snapshot {
        offset: Offset(5),
        heads: vec![ChangeHash([1; 32]), ChangeHash([2; 32])],
        changes: 3,
        document: bytes::Bytes::from_static(b"a document"),
    };
    let mut source = Source::new(data);
    let seal = source.once_in(2);
    let mut value = source.nearly(&[snapshot::encode(&good)]);
    if seal && value.len() >= 5 {
        let sum = crc32c::crc32c(&value[5..]);
        value[1..5].copy_from_slice(&sum.to_be_bytes());
    }
    if let Some(read) = snapshot::decode(good.offset, value.clone()) {
        assert_eq!(snapshot::encode(&read), value);
    }
}

#[test]
fn any_witness() {
    seeds("any_witness", 10_000, 300, witness);
}

#[test]
fn any_snapshot() {
    seeds("any_snapshot", 10_000, 200, snapshot);
}
