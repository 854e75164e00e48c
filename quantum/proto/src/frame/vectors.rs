//! Reads the golden vectors in `quantum/proto/vectors/`, for the tests of all codecs.

/// What a vector promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `name = hex`: the value is written so, and read from it.
    Both,
    /// `name < hex`: the value is read from it, but written in another way.
    Read,
    /// `name ! hex`: it is refused.
    Bad,
}

/// One vector.
#[derive(Debug)]
pub(crate) struct Vector<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) bytes: Vec<u8>,
}

/// The vectors of a file: one a line; empty lines and those with `#` are for people, spaces between the bytes too.
pub(crate) fn vectors(text: &str) -> impl Iterator<Item = Vector<'_>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let at = line
                .find(['=', '<', '!'])
                .unwrap_or_else(|| panic!("not a vector: {line}"));
            let kind = match line.as_bytes()[at] {
                b'=' => Kind::Both,
                b'<' => Kind::Read,
                _ => Kind::Bad,
            };
            let digits: String = line[at + 1..].split_whitespace().collect();
            let bytes = hex::decode(digits).unwrap_or_else(|error| panic!("{error}: {line}"));
            Vector {
                kind,
                name: line[..at].trim(),
                bytes,
            }
        })
}
