//! Rows as a table, each column as wide as it needs to be.

use std::io::{self, Write};

use super::{Row, moment};

const HEADER: [&str; 8] = [
    "TIME",
    "DOCUMENT",
    "OFFSET",
    "KIND",
    "BYTES",
    "SESSION",
    "ADDRESS",
    "TRANSPORT",
];

/// Those that are numbers stand at the right.
const RIGHT: [bool; 8] = [false, false, true, false, true, false, false, false];

pub(super) fn print(rows: &[Row]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out, rows)?;
    out.flush()
}

fn write(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.chain([HEADER[column].len()]).max().unwrap_or_default()
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    line(out, &HEADER.map(str::to_owned), &widths)?;
    cells.iter().try_for_each(|row| line(out, row, &widths))
}

fn line(out: &mut impl Write, row: &[String; 8], widths: &[usize; 8]) -> io::Result<()> {
    let padded: Vec<String> = row
        .iter()
        .zip(widths)
        .zip(RIGHT)
        .map(|((cell, width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        })
        .collect();
    writeln!(out, "{}", padded.join("  ").trim_end())
}

fn cells(row: &Row) -> [String; 8] {
    let unknown = || "-".to_owned();
    [
        moment::show(row.time),
        row.document_id.clone(),
        row.offset.to_string(),
        row.kind.clone(),
        row.bytes.to_string(),
        row.session.clone(),
        row.whence
            .as_ref()
            .map_or_else(unknown, |whence| whence.address.clone()),
        row.via.clone().unwrap_or_else(unknown),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::who::Whence;

    #[test]
    fn columns_are_aligned_and_what_is_not_known_is_a_dash() {
        let row = |offset, address: Option<&str>| Row {
            time: 0,
            document_id: "doc".to_owned(),
            offset,
            kind: "change".to_owned(),
            bytes: 5,
            session: "s".to_owned(),
            via: address.map(|_| "http".to_owned()),
            whence: address.map(|address| Whence {
                address: address.to_owned(),
                port: 1,
                client: String::new(),
                agent: String::new(),
            }),
        };
        let mut out = Vec::new();
        write(&mut out, &[row(7, Some("192.0.2.7")), row(12_345_678, None)]).unwrap();
        let expected = "\
TIME                      DOCUMENT    OFFSET  KIND    BYTES  SESSION  ADDRESS    TRANSPORT
1970-01-01T00:00:00.000Z  doc              7  change      5  s        192.0.2.7  http
1970-01-01T00:00:00.000Z  doc       12345678  change      5  s        -          -
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
