//! Reading the file when it is opened: a torn tail is cut off, damage is reported, or passed over when that is asked for.

use std::io::{self, Read, Seek, SeekFrom};

use aetherflow_schema::id::DocumentId;
use bytes::Bytes;

use super::StoreFile;
use crate::{
    error::StoreError,
    store::{
        disk::io_error,
        record::{self, HEADER, MAGIC, Malformed, RECORD, Record, What},
    },
};

impl StoreFile {
    pub(super) fn recover(&mut self, salvage: bool) -> Result<(), StoreError> {
        let path = self.path.clone();
        let fail = |source| io_error(&path, source);
        let mut reader = io::BufReader::new(self.file.try_clone().map_err(fail)?);
        reader.seek(SeekFrom::Start(0)).map_err(fail)?;
        let mut magic = [0; MAGIC.len()];
        if self.length >= MAGIC.len() as u64 {
            reader.read_exact(&mut magic).map_err(fail)?;
        }
        if magic != *MAGIC {
            return Err(StoreError::Foreign { path });
        }
        let mut at = MAGIC.len() as u64;
        let mut buffer = Vec::new();
        let mut salvaged = false;
        while at < self.length {
            let read = read_record(&mut reader, &mut buffer, self.length - at).map_err(fail)?;
            let record = read.and_then(|content| Record::decode(Bytes::copy_from_slice(content)));
            match record {
                Ok(record) => {
                    let length = buffer.len();
                    self.take(at, length, record);
                    at += length as u64;
                }
                Err(malformed) => match self.behind(at).map_err(fail)? {
                    None => break,
                    Some(_) if !salvage => {
                        let what = malformed.describe().to_owned();
                        return Err(StoreError::Damaged { path, at, what });
                    }
                    Some(next) => {
                        tracing::warn!(path = %path.display(), at, next, "a damaged stretch of the offline store is passed over");
                        salvaged = true;
                        at = next;
                        reader.seek(SeekFrom::Start(at)).map_err(fail)?;
                    }
                },
            }
        }
        if at < self.length {
            tracing::info!(path = %path.display(), at, bytes = self.length - at, "a torn tail of the offline store is cut off");
            self.file.set_len(at).map_err(fail)?;
            self.length = at;
        }
        self.sync().map_err(fail)?;
        if salvaged {
            let unsure = |document: &DocumentId| Record {
                document: document.clone(),
                what: What::Unsure,
            };
            let unsure = self.known.keys().map(unsure).collect();
            self.append(unsure).map_err(fail)?;
            self.compact(Vec::new())?;
        }
        Ok(())
    }

    /// Behind bytes that are no record: where there is one that shows that they once were on disk, being written later
    /// than they were synced; or, when they were not, nothing.
    fn behind(&self, at: u64) -> io::Result<Option<u64>> {
        let mut rest = vec![0; usize::try_from(self.length - at).unwrap_or(usize::MAX)];
        self.read_at(&mut rest, at)?;
        let mut first = None;
        let mut from = 1;
        while let Some(found) = rest.get(from..).and_then(|rest| find(rest, &RECORD)) {
            let start = from + found;
            from = start + 1;
            if let Ok((length, synced, _)) = record::split(&rest[start..]) {
                let start = at + start as u64;
                let first = *first.get_or_insert(start);
                if synced > at {
                    return Ok(Some(first));
                }
                from += length - 1;
            }
        }
        Ok(None)
    }
}

/// The next record's content; `buffer` has the whole record then.
fn read_record<'a>(
    reader: &mut impl Read,
    buffer: &'a mut Vec<u8>,
    rest: u64,
) -> io::Result<Result<&'a [u8], Malformed>> {
    if rest < HEADER as u64 {
        return Ok(Err(Malformed::Short));
    }
    buffer.resize(HEADER, 0);
    reader.read_exact(buffer)?;
    let (length, ..) = match record::parse_header(buffer) {
        Ok(header) => header,
        Err(malformed) => return Ok(Err(malformed)),
    };
    if rest < (HEADER + length) as u64 {
        return Ok(Err(Malformed::Short));
    }
    buffer.resize(HEADER + length, 0);
    reader.read_exact(&mut buffer[HEADER..])?;
    Ok(record::split(buffer).map(|(_, _, content)| content))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
