//! From a sync message, or changes, to log entries.

use aetherflow_schema::{
    access::Author,
    id::{DocumentId, OpId},
    record::{EncodedEntry, EntryDraft, EntryKind, RecordError},
};
use automerge::{Automerge, Change, sync};
use bytes::Bytes;

use crate::{
    contained,
    guard::{self, Allowance, ChunkKind},
    load, sound,
};

/// Changes up to this number are logged one by one, even when they come as one document chunk.
const SINGLY: usize = 256;

/// A sync message that was found well-formed.
pub(crate) struct Intake {
    pub(crate) message: Received,
    /// The log entries for the changes it carries.
    pub(crate) entries: Vec<EncodedEntry>,
}

impl Intake {
    /// Takes the changes out; whether there were any.
    pub(crate) fn strip(&mut self) -> bool {
        let carried = self.message.carries_changes() || !self.entries.is_empty();
        self.entries.clear();
        self.message.changes.clear();
        self.message.message.changes = sync::ChunkList::empty();
        carried
    }
}

/// A sync message, taken apart.
pub(crate) struct Received {
    /// The message. When its changes came singly it carries none any more.
    pub(crate) message: sync::Message,
    /// The changes that came singly, decoded.
    pub(crate) changes: Vec<Change>,
}

impl Received {
    /// Whether there are changes in it.
    pub(crate) fn carries_changes(&self) -> bool {
        !self.changes.is_empty() || !self.message.changes.is_empty()
    }
}

/// Something that was checked, and what decoding and applying it costs.
pub(crate) struct Weighed<T> {
    what: T,
    /// Operations in it.
    pub(crate) rows: u64,
}

/// Decodes a sync message but for its changes, and checks what those unfold to. The reason for refusing it is meant for
/// the peer's author.
pub(crate) fn weigh_message(bytes: &[u8]) -> Result<Weighed<sync::Message>, String> {
    guard::check(bytes).map_err(|error| error.to_string())?;
    let message = contained(|| sync::Message::decode(bytes))?.map_err(|error| error.to_string())?;
    let mut allowance = Allowance::of(bytes.len());
    for part in message.changes.iter() {
        guard::accept(part, &mut allowance).map_err(|error| error.to_string())?;
    }
    Ok(Weighed {
        what: message,
        rows: allowance.rows(),
    })
}

/// Decodes every change of a sync message. The reason for refusing it is meant for the peer's author.
pub(crate) fn take_in(
    document: &DocumentId,
    author: &Author,
    message: Weighed<sync::Message>,
) -> Result<Intake, String> {
    let mut message = message.what;
    let mut entries = Vec::new();
    let mut changes = Vec::new();
    let mut singly = true;
    for part in message.changes.iter() {
        for (kind, chunk) in guard::chunks(part).map_err(|error| error.to_string())? {
            match kind {
                ChunkKind::Change | ChunkKind::CompressedChange => {
                    let (change, entry) = single(document, author, Bytes::copy_from_slice(chunk))?;
                    entries.push(entry);
                    changes.push(change);
                }
                ChunkKind::Document | ChunkKind::Bundle => {
                    singly = false;
                    let loaded = contained(|| load_chunk(chunk))?.map_err(|error| error.to_string())?;
                    for draft in whole(document, author, &loaded, chunk) {
                        entries.push(encode(draft)?);
                    }
                }
            }
        }
    }
    if singly {
        message.changes = sync::ChunkList::empty();
    } else {
        changes.clear();
    }
    Ok(Intake {
        message: Received { message, changes },
        entries,
    })
}

/// Checks what changes unfold to that came one by one, each a chunk of its own. The reason for refusing them is meant for
/// their author.
pub(crate) fn weigh_changes(changes: Vec<Bytes>) -> Result<Weighed<Vec<Bytes>>, String> {
    let mut allowance = Allowance::of(changes.iter().map(Bytes::len).sum());
    for (place, bytes) in changes.iter().enumerate() {
        match guard::accept(bytes, &mut allowance).as_deref() {
            Ok([(ChunkKind::Change | ChunkKind::CompressedChange, _)]) => {}
            Ok(_) => return Err(complaint(place, &changes, "this is not one automerge change")),
            Err(error) => return Err(complaint(place, &changes, &error.to_string())),
        }
    }
    Ok(Weighed {
        what: changes,
        rows: allowance.rows(),
    })
}

/// Decodes changes. The reason for refusing them is meant for their author.
pub(crate) fn take_changes(
    document: &DocumentId,
    author: &Author,
    changes: Weighed<Vec<Bytes>>,
) -> Result<(Vec<Change>, Vec<EncodedEntry>), String> {
    let changes = changes.what;
    let single = |(place, bytes): (usize, &Bytes)| {
        single(document, author, bytes.clone()).map_err(|reason| complaint(place, &changes, &reason))
    };
    changes.iter().enumerate().map(single).collect()
}

fn complaint(place: usize, changes: &[Bytes], reason: &str) -> String {
    format!("change {} of {}: {reason}", place + 1, changes.len())
}

/// Checks what a file of automerge chunks unfolds to. The reason for refusing it is meant for its author.
pub(crate) fn weigh_file(file: Bytes) -> Result<Weighed<Bytes>, String> {
    let mut allowance = Allowance::of(file.len());
    guard::accept(&file, &mut allowance).map_err(|error| error.to_string())?;
    Ok(Weighed {
        what: file,
        rows: allowance.rows(),
    })
}

/// Loads a file. The reason for refusing it is meant for its author.
pub(crate) fn take_file(file: Weighed<Bytes>) -> Result<Automerge, String> {
    let loaded = contained(|| Automerge::load(&file.what))?;
    let doc = loaded.map_err(|error| format!("this is not an automerge file: {error}"))?;
    if doc.get_heads().is_empty() {
        return Err("the file has no changes in it".to_owned());
    }
    // Its changes may stand in it one by one, and not as automerge writes them.
    let saved = contained(|| doc.save())?;
    load::check_saved(&saved).map_err(|error| format!("what is in the file cannot be saved: {error}"))?;
    Ok(doc)
}

/// One change and its entry.
fn single(document: &DocumentId, author: &Author, chunk: Bytes) -> Result<(Change, EncodedEntry), String> {
    let change = contained(|| Change::from_bytes(chunk.to_vec()))?.map_err(|error| error.to_string())?;
    contained(|| sound::check(&chunk, &change))?.map_err(|error| error.to_string())?;
    let op_id = OpId(change.hash().0);
    let entry = encode(draft(document, author, EntryKind::Change, op_id, chunk))?;
    Ok((change, entry))
}

fn encode(draft: EntryDraft) -> Result<EncodedEntry, String> {
    draft.encode().map_err(|error: RecordError| error.to_string())
}

/// The entries for a whole document: its changes one by one when they are few, else the document as it is.
pub(crate) fn whole(document: &DocumentId, author: &Author, loaded: &Automerge, file: &[u8]) -> Vec<EntryDraft> {
    let changes = loaded.get_changes(&[]);
    if changes.len() > SINGLY {
        let op_id = OpId(*blake3::hash(file).as_bytes());
        let payload = Bytes::copy_from_slice(file);
        return vec![draft(document, author, EntryKind::Document, op_id, payload)];
    }
    changes
        .iter()
        .map(|change| {
            let op_id = OpId(change.hash().0);
            let payload = Bytes::copy_from_slice(change.raw_bytes());
            draft(document, author, EntryKind::Change, op_id, payload)
        })
        .collect()
}

fn load_chunk(chunk: &[u8]) -> Result<Automerge, automerge::AutomergeError> {
    let mut loaded = Automerge::new();
    loaded.load_incremental(chunk)?;
    Ok(loaded)
}

fn draft(document: &DocumentId, author: &Author, kind: EntryKind, op_id: OpId, payload: Bytes) -> EntryDraft {
    EntryDraft {
        kind,
        document: document.clone(),
        op_id,
        author: author.clone(),
        trace: None,
        payload,
    }
}

/// The entry that says a document was made.
pub(crate) fn created(document: &DocumentId, author: &Author) -> EntryDraft {
    let op_id = OpId(*blake3::hash(b"created").as_bytes());
    draft(document, author, EntryKind::Created, op_id, Bytes::new())
}
