//! How many rows a table has, told without making them.
//!
//! Columns are run-length encoded: five bytes may stand for a billion rows. Here a run costs the same however long it is.

use super::{Refused, chunk::Allowance, reader::Reader};

const WHAT: &str = "a column";

/// What a column is, as automerge writes it: an id, whether it is deflated, and the type of its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(pub(super) u64);

enum Values {
    /// How many entries of the columns after this one belong to each row.
    Group,
    /// Numbers: actors, integers, the types and lengths of values.
    Unsigned,
    /// Differences of numbers.
    Signed,
    Boolean,
    Text,
    /// Bytes, the lengths of which are in another column.
    Raw,
}

impl Column {
    pub(super) fn is_deflated(self) -> bool {
        self.0 & 0b1000 != 0
    }

    fn values(self) -> Values {
        match self.0 & 0b111 {
            0 => Values::Group,
            3 => Values::Signed,
            4 => Values::Boolean,
            5 => Values::Text,
            7 => Values::Raw,
            _ => Values::Unsigned,
        }
    }
}

/// The size of a table, as far as its columns were seen.
#[derive(Default)]
pub(super) struct Table {
    /// Rows of the longest column.
    longest: u64,
    /// Entries of the lists that rows have.
    grouped: u64,
}

impl Table {
    /// Rows, and entries of lists.
    pub(super) fn rows(&self) -> u64 {
        self.longest.saturating_add(self.grouped)
    }

    /// Looks at a column's data; what is repeated text in it is charged at once.
    pub(super) fn add(&mut self, column: Column, data: &[u8], allowance: &mut Allowance) -> Result<(), Refused> {
        let mut reader = Reader(data);
        let rows = match column.values() {
            Values::Raw => 0,
            Values::Boolean => booleans(&mut reader)?,
            Values::Unsigned => runs(&mut reader, |reader, _| reader.number(WHAT).map(|_| ()))?,
            Values::Signed => runs(&mut reader, |reader, _| reader.signed(WHAT).map(|_| ()))?,
            Values::Group => runs(&mut reader, |reader, times| {
                let entries = reader.number(WHAT)?.saturating_mul(times);
                self.grouped = self.grouped.saturating_add(entries);
                Ok(())
            })?,
            Values::Text => runs(&mut reader, |reader, times| {
                let bytes = reader.prefixed(WHAT)?.len() as u64;
                allowance.take_text(bytes.saturating_mul(times))
            })?,
        };
        self.longest = self.longest.max(rows);
        Ok(())
    }
}

/// The rows of a run-length encoded column: a positive number says how often the value after it is repeated, a negative
/// one how many different values follow, and zero is followed by a number of rows without a value. `value` reads one, and
/// is told how often it stands there.
fn runs(
    reader: &mut Reader<'_>,
    mut value: impl FnMut(&mut Reader<'_>, u64) -> Result<(), Refused>,
) -> Result<u64, Refused> {
    let mut rows = 0u64;
    while !reader.0.is_empty() {
        let run = reader.signed(WHAT)?;
        let length = match run {
            0 => reader.number(WHAT)?,
            1.. => {
                value(reader, run.unsigned_abs())?;
                run.unsigned_abs()
            }
            // Each takes a byte at least, so that these end with the data.
            _ => {
                for _ in 0..run.unsigned_abs() {
                    value(reader, 1)?;
                }
                run.unsigned_abs()
            }
        };
        rows = rows.saturating_add(length);
    }
    Ok(rows)
}

/// The rows of a column of booleans: the lengths of its runs, which take turns.
fn booleans(reader: &mut Reader<'_>) -> Result<u64, Refused> {
    let mut rows = 0u64;
    while !reader.0.is_empty() {
        rows = rows.saturating_add(reader.number(WHAT)?);
    }
    Ok(rows)
}
