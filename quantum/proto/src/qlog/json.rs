//! Writing JSON, as much of it as qlog needs.
//!
//! An [`Object`] or [`Array`] writes its opening when it is made and its closing when it is dropped, so what is written is
//! well-formed whatever its user does.

use std::{fmt::Write, time::Duration};

/// An object that is being written.
pub(super) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

/// An array that is being written.
pub(super) struct Array<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn open(out: &'a mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    pub(super) fn array(&mut self, key: &str) -> Array<'_> {
        self.key(key);
        Array::open(self.out)
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        write_number(self.out, value);
    }

    /// Milliseconds, to the microsecond.
    pub(super) fn millis(&mut self, key: &str, value: Duration) {
        self.key(key);
        let micros = value.as_micros();
        let _ = write!(self.out, "{}.{:03}", micros / 1000, micros % 1000);
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        write_text(self.out, value);
    }

    /// Bytes in hexadecimal digits.
    pub(super) fn hex(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        self.out.push('"');
        for byte in value {
            let _ = write!(self.out, "{byte:02x}");
        }
        self.out.push('"');
    }

    /// Keys are words of this crate and need no escapes.
    fn key(&mut self, key: &str) {
        separate(self.out, &mut self.empty);
        self.out.push('"');
        self.out.push_str(key);
        self.out.push_str("\":");
    }
}

impl Drop for Object<'_> {
    fn drop(&mut self) {
        self.out.push('}');
    }
}

impl<'a> Array<'a> {
    fn open(out: &'a mut String) -> Self {
        out.push('[');
        Self { out, empty: true }
    }

    pub(super) fn object(&mut self) -> Object<'_> {
        separate(self.out, &mut self.empty);
        Object::open(self.out)
    }

    pub(super) fn text(&mut self, value: &str) {
        separate(self.out, &mut self.empty);
        write_text(self.out, value);
    }

    /// First and last of a range, as an array of its own.
    pub(super) fn range(&mut self, first: u64, last: u64) {
        separate(self.out, &mut self.empty);
        let _ = write!(self.out, "[{first},{last}]");
    }
}

impl Drop for Array<'_> {
    fn drop(&mut self) {
        self.out.push(']');
    }
}

fn separate(out: &mut String, empty: &mut bool) {
    if !std::mem::replace(empty, false) {
        out.push(',');
    }
}

fn write_number(out: &mut String, value: u64) {
    let _ = write!(out, "{value}");
}

fn write_text(out: &mut String, value: &str) {
    out.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            // RFC 8259 section 7.
            '\u{0}'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values() {
        let mut out = String::new();
        {
            let mut object = Object::open(&mut out);
            object.number("a", 1);
            object.millis("t", Duration::from_micros(12_034));
            object.hex("id", &[0, 0xab]);
            object.flag("yes", true);
            {
                let mut array = object.array("list");
                array.range(1, 2);
                array.object().text("k", "v");
                array.text("x");
            }
            object.object("empty");
        }
        assert_eq!(
            out,
            r#"{"a":1,"t":12.034,"id":"00ab","yes":true,"list":[[1,2],{"k":"v"},"x"],"empty":{}}"#
        );
    }

    #[test]
    fn text_is_escaped() {
        let mut out = String::new();
        Object::open(&mut out).text("k", "a\"b\\c\n\u{1}ü");
        assert_eq!(out, "{\"k\":\"a\\\"b\\\\c\\u000a\\u0001ü\"}");
    }
}
