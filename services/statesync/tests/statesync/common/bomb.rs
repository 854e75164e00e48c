//! Automerge chunks of few bytes that claim to be large, made by hand: automerge itself makes none of them.

use std::io::Write;

use ring::digest;

/// Unsigned LEB128.
pub(crate) fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A positive number in signed LEB128.
fn positive(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x40 {
        bytes.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A run-length encoded column in which one value stands many times.
pub(crate) fn run(times: u64, value: &[u8]) -> Vec<u8> {
    [&positive(times), value].concat()
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    deflater.write_all(bytes).unwrap();
    deflater.finish().unwrap()
}

/// A body as a chunk of this kind, with its checksum.
pub(crate) fn chunk(kind: u8, body: &[u8]) -> Vec<u8> {
    let hashed = [&[kind][..], &number(body.len() as u64), body].concat();
    let checksum = digest::digest(&digest::SHA256, &hashed);
    [&[0x85, 0x6f, 0x4a, 0x83], &checksum.as_ref()[..4], &hashed].concat()
}

/// A change chunk deflated, as clients send all that are not small.
pub(crate) fn compressed(change: &[u8]) -> Vec<u8> {
    let mut reader = &change[9..];
    while reader[0] & 0x80 != 0 {
        reader = &reader[1..];
    }
    let deflated = deflate(&reader[1..]);
    [&change[..8], &[2], &number(deflated.len() as u64), &deflated].concat()
}

/// What the columns of a table are, and their data.
pub(crate) fn columns(columns: &[(u64, Vec<u8>)]) -> (Vec<u8>, Vec<u8>) {
    let mut specs = number(columns.len() as u64);
    for (spec, data) in columns {
        specs.extend(number(*spec));
        specs.extend(number(data.len() as u64));
    }
    (specs, columns.iter().flat_map(|(_, data)| data.clone()).collect())
}

/// A change with these columns, the first of an actor.
pub(crate) fn change(operations: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let (specs, data) = columns(operations);
    let actor = [&[16][..], &[7; 16]].concat();
    // No dependencies; the actor; sequence number, first operation, time, message, other actors.
    let body = [&[0][..], &actor, &[1, 1, 0, 0, 0], &specs, &data].concat();
    chunk(1, &body)
}

/// A change that sets one key so many times.
pub(crate) fn puts(operations: u64, key: &[u8]) -> Vec<u8> {
    let key = [&number(key.len() as u64), key].concat();
    change(&[
        (0x15, run(operations, &key)),
        (0x34, number(operations)),
        // To set, null, and nothing is overwritten.
        (0x42, run(operations, &[1])),
        (0x56, run(operations, &[0])),
        (0x70, run(operations, &[0])),
    ])
}

/// A change of one operation that overwrites so many others.
pub(crate) fn overwrites(others: u64) -> Vec<u8> {
    change(&[
        (0x15, run(1, &[1, b'k'])),
        (0x34, number(1)),
        (0x42, run(1, &[1])),
        (0x56, run(1, &[0])),
        (0x70, run(1, &number(others))),
        (0x71, run(others, &[0])),
        (0x73, run(others, &[1])),
    ])
}

/// A change that deletes, and says nothing of what.
pub(crate) fn deletion() -> Vec<u8> {
    change(&[
        (0x15, run(1, &[1, b'k'])),
        (0x34, number(1)),
        (0x42, run(1, &[3])),
        (0x56, run(1, &[0])),
        (0x70, run(1, &[0])),
    ])
}

/// A document that claims so many changes.
pub(crate) fn document(changes: u64) -> Vec<u8> {
    let (specs, data) = columns(&[
        (0x01, run(changes, &[0])),
        (0x03, run(changes, &[1])),
        (0x13, run(changes, &[1])),
    ]);
    let actor = [&[1, 16][..], &[7; 16]].concat();
    // One actor, no heads, the columns of the changes, none of operations.
    chunk(0, &[&actor, &[0][..], &specs, &[0], &data].concat())
}

/// A bundle that claims so many operations.
pub(crate) fn bundle(operations: u64) -> Vec<u8> {
    let (changes, of_changes) = columns(&[]);
    let (specs, data) = columns(&[(0xb3, run(operations, &[0]))]);
    // No dependencies, no actors.
    chunk(3, &[&[0, 0][..], &changes, &of_changes, &specs, &data].concat())
}
