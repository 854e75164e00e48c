//! Files and folders, as the store needs them: made or found, locked, and safely on disk by name.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use super::record::MAGIC;
use crate::error::StoreError;

/// The file and its length. What a crash has left of an attempt to make it is made anew.
pub(super) fn open_or_make(path: &Path) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    let mut begun = Vec::new();
    (&mut file).take(MAGIC.len() as u64).read_to_end(&mut begun)?;
    let is_whole = begun.len() == MAGIC.len();
    if !is_whole && (MAGIC.starts_with(&begun) || begun.iter().all(|byte| *byte == 0)) {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(MAGIC)?;
        file.sync_all()?;
        sync_directory(path)?;
    }
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// One client at a time. The lock is on a file of its own, since the store itself is replaced now and then.
pub(super) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock = beside(path, "lock");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(&lock);
    let file = file.map_err(|source| io_error(&lock, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io_error(&lock, source)),
    }
}

pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// So that the file itself is found after a crash. Elsewhere than on Unix directories cannot be synced.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    if !cfg!(unix) {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn io_error(path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        path: path.to_owned(),
        source,
    }
}
