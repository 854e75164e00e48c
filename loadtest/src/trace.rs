//! Recorded typing sessions (the public "editing traces" of J. Gentle, gzipped JSON).
//!
//! Positions and deletions count Unicode code points, which is how automerge counts here too: its Rust library does
//! unless told otherwise, and [`Trace::new_document`] says so explicitly.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use automerge::{AutoCommit, AutomergeError, ObjId, ObjType, ROOT, ReadDoc, TextEncoding, transaction::Transactable};
use flate2::read::GzDecoder;
use serde::Deserialize;

/// Names the directory with the traces.
pub const TRACES: &str = "AETHERFLOW_TRACES";

/// Where the text is in a document.
const KEY: &str = "text";

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not as expected.
    #[error("{path} is not a trace: {source}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// Deletes so many characters at a position and inserts text there.
#[derive(Debug, Clone, Deserialize)]
pub struct Patch(pub usize, pub isize, pub String);

#[derive(Deserialize)]
struct Transaction {
    patches: Vec<Patch>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recording {
    start_content: String,
    end_content: String,
    txns: Vec<Transaction>,
}

/// A session of one author.
#[derive(Debug, Clone)]
pub struct Trace {
    /// What was there before.
    pub start: String,
    /// Every edit.
    pub patches: Vec<Patch>,
    /// What was there in the end.
    pub end: String,
}

/// The directory with the traces, if it is there: `AETHERFLOW_TRACES`, or beside the workspace.
pub fn directory() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/editing-traces");
    let path = env::var_os(TRACES).map_or_else(default, PathBuf::from);
    path.is_dir().then_some(path)
}

impl Trace {
    /// Reads a recording.
    ///
    /// # Errors
    /// When it cannot be read, or is not the session of one author.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let mut json = String::new();
        File::open(path)
            .and_then(|file| GzDecoder::new(file).read_to_string(&mut json))
            .map_err(|source| TraceError::Read {
                path: path.to_owned(),
                source,
            })?;
        let recording: Recording = serde_json::from_str(&json).map_err(|source| TraceError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            start: recording.start_content,
            end: recording.end_content,
            patches: recording.txns.into_iter().flat_map(|txn| txn.patches).collect(),
        })
    }

    /// A document with the text as it was before the first edit, and the text in it.
    ///
    /// # Errors
    /// Never, unless automerge refuses to make a text.
    pub fn new_document(&self) -> Result<(AutoCommit, ObjId), AutomergeError> {
        let mut document = AutoCommit::new_with_encoding(TextEncoding::UnicodeCodePoint);
        let text = document.put_object(ROOT, KEY, ObjType::Text)?;
        document.splice_text(&text, 0, 0, &self.start)?;
        document.commit();
        Ok((document, text))
    }
}

/// The text of such a document; `None` while it has none.
pub fn text_of(document: &AutoCommit) -> Option<String> {
    let (_, text) = document.get(ROOT, KEY).ok()??;
    document.text(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_code_points() {
        let trace = Trace {
            start: "a🦀é漢z".to_owned(),
            patches: vec![Patch(4, 1, "Z".to_owned()), Patch(1, 2, String::new())],
            end: "a漢Z".to_owned(),
        };
        let (mut document, text) = trace.new_document().unwrap();
        for Patch(at, delete, insert) in &trace.patches {
            document.splice_text(&text, *at, *delete, insert).unwrap();
        }
        assert_eq!(text_of(&document), Some(trace.end));
    }
}
