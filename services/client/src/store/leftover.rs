//! What an earlier run has left to be submitted.

use std::{collections::HashSet, path::Path};

use aetherflow_schema::id::{ChangeHash, DocumentId};
use automerge::Change;

use super::{
    Leftover,
    disk::io_error,
    file::StoreFile,
    pending::Local,
    record::{Record, What},
};
use crate::{
    error::StoreError,
    replica::{new_change, parse},
    session::NewChange,
};

/// Local changes without an outcome. Those that depend on what was refused get theirs: the client has ended before it came to
/// say so.
pub(crate) fn take(file: &mut StoreFile, path: &Path, salvage: bool) -> Result<Leftover, StoreError> {
    let mut leftover = Vec::new();
    let mut doomed = Vec::new();
    for (document, locals) in file.pending() {
        let mut refused = file.refused(&document);
        let mut changes = Vec::new();
        for local in locals {
            let Some(change) = read(&document, &local, path, salvage)? else {
                continue;
            };
            if depends(&change, &refused) {
                tracing::warn!(%document, hash = %local.hash, "an edit depends on one that was refused");
                refused.insert(local.hash);
                let what = What::Refused(local.hash);
                let document = document.clone();
                doomed.push(Record { document, what });
            } else {
                changes.push(NewChange {
                    fencing: local.fencing,
                    ..new_change(&change)
                });
            }
        }
        leftover.push((document, changes));
    }
    if !doomed.is_empty() {
        let written = file.append(doomed).and_then(|()| file.sync());
        written.map_err(|source| io_error(path, source))?;
    }
    Ok(leftover)
}

fn depends(change: &Change, refused: &HashSet<ChangeHash>) -> bool {
    change.deps().iter().any(|dep| refused.contains(&ChangeHash(dep.0)))
}

/// A change; `None` when it cannot be read and nobody minds.
fn read(document: &DocumentId, local: &Local, path: &Path, salvage: bool) -> Result<Option<Change>, StoreError> {
    match parse(&local.bytes) {
        Ok(change) => Ok(Some(change)),
        Err(error) if salvage => {
            tracing::warn!(%document, hash = %local.hash, %error, "an edit that cannot be read is passed over");
            Ok(None)
        }
        Err(error) => Err(StoreError::Damaged {
            path: path.to_owned(),
            at: local.at,
            what: format!("an edit cannot be read: {error}"),
        }),
    }
}
