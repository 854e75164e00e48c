//! What the log and the stores give back: nobody outside writes it, but disks do as they please.

use std::sync::LazyLock;

use aetherflow_schema::{
    access::{Author, Grantee, PermissionChange, Principal, Role},
    id::{DocumentId, SessionId},
    record::{EntryDraft, EntryKind, FRAME_HEADER_BYTES, Frame},
    sessions::{ResumeToken, record::SessionRecord},
};
use bytes::Bytes;
use uuid::Uuid;

use crate::{golden::golden, run::seeds, source::Source, within};

/// A frame of the log. Damage is made good in its checksum, half of the time: behind that everything is believed.
pub(crate) fn frame(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| golden("record", "frame-"));
    let mut source = Source::new(data);
    let seal = source.once_in(2);
    let mut bytes = source.nearly(&CORPUS);
    if seal && bytes.len() >= FRAME_HEADER_BYTES {
        let place = FRAME_HEADER_BYTES - 4;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..place]), &bytes[FRAME_HEADER_BYTES..]);
        bytes[place..FRAME_HEADER_BYTES].copy_from_slice(&sum.to_be_bytes());
    }
    let bytes = Bytes::from(bytes);
    let Ok(frame) = within(bytes.len(), 4, || Frame::decode(bytes.clone())) else {
        return;
    };
    assert_eq!(frame.bytes(), &bytes);
    let _ = frame.verify_chain();
    let entries = frame.entries().filter_map(Result::ok);
    for entry in entries {
        // What is read of an entry is what is written of it.
        let written = entry.draft.encode().unwrap();
        assert_eq!(written.document(), &entry.draft.document);
        assert_eq!(written.op_id(), entry.draft.op_id);
    }
    assert!(frame.ids().count() <= bytes.len());
}

/// A stored session.
pub(crate) fn session(data: &[u8]) {
    static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| golden("record", "session-"));
    let bytes = Source::new(data).nearly(&CORPUS);
    if let Ok(record) = within(bytes.len(), 100, || SessionRecord::decode(&bytes)) {
        assert_eq!(SessionRecord::decode(&record.encode()), Ok(record));
    }
}

/// A resume token, which anybody may send.
pub(crate) fn resume_token(data: &[u8]) {
    let good = ResumeToken::new(SessionId(Uuid::from_u128(7)), [9; 32]).to_bytes();
    let bytes = Source::new(data).nearly(&[good]);
    if let Some(token) = ResumeToken::from_bytes(&bytes) {
        assert_eq!(token.to_bytes(), bytes);
    }
}

/// A permission in the log.
pub(crate) fn permission(data: &[u8]) {
    let mut source = Source::new(data);
    let drafts = permissions();
    let like = drafts[source.below(drafts.len())].clone();
    let payloads: Vec<_> = drafts.iter().map(|draft| draft.payload.clone()).collect();
    let draft = EntryDraft {
        payload: source.nearly(&payloads).into(),
        ..like
    };
    if let Ok(change) = PermissionChange::of(&draft) {
        let written = change.draft(&draft.author);
        assert_eq!(PermissionChange::of(&written), Ok(change));
        assert_eq!(written.kind, draft.kind);
    }
}

fn permissions() -> Vec<EntryDraft> {
    let change = |grantee: &str, role| PermissionChange {
        document: DocumentId::from_bytes(&[7; 16]).unwrap(),
        grantee: grantee.parse::<Grantee>().unwrap(),
        role,
        nonce: [5; 16],
    };
    let author = Author {
        principal: Principal::named("ada").unwrap(),
        session: SessionId(Uuid::nil()),
    };
    let drafts = [
        change("bob", Some(Role::Editor)).draft(&author),
        change("*", Some(Role::Viewer)).draft(&author),
        change("public", None).draft(&author),
    ];
    assert!(drafts.iter().any(|draft| draft.kind == EntryKind::Revoke));
    drafts.into()
}

#[test]
fn any_frame() {
    seeds("any_frame", 20_000, 300, frame);
}

#[test]
fn any_session_record() {
    seeds("any_session_record", 20_000, 300, session);
}

#[test]
fn any_resume_token() {
    seeds("any_resume_token", 5_000, 60, resume_token);
}

#[test]
fn any_permission() {
    seeds("any_permission", 10_000, 100, permission);
}
