//! Fuzzing: records of the offline store, and addresses. `schema/tests/fuzz` says how it is run.

#[path = "../../../../quantum/proto/tests/fuzz/run.rs"]
mod run;
#[allow(dead_code, reason = "the transport needs more of it")]
#[path = "../../../../quantum/proto/tests/fuzz/source.rs"]
mod source;

use std::sync::LazyLock;

use aetherflow_schema::{
    id::{ChangeHash, DocumentId, Offset},
    locks::Fencing,
};
use bytes::Bytes;

use self::{run::seeds, source::Source};
use super::{
    file::StoreFile,
    record::{self, HEADER, MAGIC, Record, What},
};
use crate::address::Address;

fn records() -> Vec<Record> {
    let bytes = Bytes::from_static(b"automerge chunks, perhaps");
    let hash = ChangeHash([3; 32]);
    let all = [
        What::Base {
            cursor: Some(Offset(3)),
            bytes: bytes.clone(),
        },
        What::Merged {
            cursor: Offset(4),
            bytes: bytes.clone(),
        },
        What::Local {
            hash,
            bytes: bytes.clone(),
            fencing: None,
        },
        What::Local {
            hash,
            bytes,
            fencing: Some(Fencing(9)),
        },
        What::Acknowledged(hash),
        What::Refused(hash),
        What::Unsure,
    ];
    let document = DocumentId::from_bytes(&[7; 16]).unwrap();
    let record = |what| Record {
        document: document.clone(),
        what,
    };
    all.map(record).into()
}

fn written(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(12, &mut bytes);
    bytes
}

/// One record; half of the time its checksum is made good.
fn record(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| records().iter().map(written).collect());
    let mut source = Source::new(data);
    let seal = source.once_in(2);
    let mut bytes = source.nearly(&CORPUS);
    if seal && bytes.len() > HEADER {
        let sum = record::checksum(&bytes);
        bytes[16..HEADER].copy_from_slice(&sum.to_le_bytes());
    }
    let Ok((length, _, content)) = record::split(&bytes) else {
        return;
    };
    assert!(length <= bytes.len());
    if let Ok(read) = Record::decode(Bytes::copy_from_slice(content)) {
        let again = written(&read);
        assert_eq!(Record::decode(Bytes::copy_from_slice(&again[HEADER..])), Ok(read));
    }
}

/// A whole file: opened, or refused with a reason; and what was opened can be opened again.
fn file(data: &[u8]) {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let records = records();
        records
            .iter()
            .fold(MAGIC.to_vec(), |file, record| [file, written(record)].concat())
    });
    let mut source = Source::new(data);
    let salvage = source.once_in(2);
    let path = FOLDER.path().join("store");
    std::fs::write(&path, source.nearly(&[&*GOOD])).unwrap();
    if StoreFile::open(&path, salvage).is_ok() {
        StoreFile::open(&path, salvage).unwrap();
    }
}

/// Where a server is.
fn address(data: &[u8]) {
    let corpus = ["quantum://[::1]:7400", "wss://sync.example/", "ws://localhost:7400"];
    let bytes = Source::new(data).nearly(&corpus);
    let text = String::from_utf8_lossy(&bytes);
    if let Ok(address) = text.parse::<Address>() {
        assert_eq!(address.to_string().parse::<Address>(), Ok(address), "{text:?}");
    }
}

#[test]
fn any_record() {
    seeds("any_record", 10_000, 200, record);
}

#[test]
fn any_file() {
    seeds("any_file", 500, 200, file);
}

#[test]
fn any_address() {
    seeds("any_address", 10_000, 60, address);
}
