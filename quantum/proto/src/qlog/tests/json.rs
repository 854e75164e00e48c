//! Reads JSON, as strictly as the tests need.

use std::collections::BTreeMap;

/// A JSON value, as far as the tests look into it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Object(BTreeMap<String, Json>),
    Array(Vec<Json>),
    Text(String),
    Number(f64),
    Flag(bool),
}

impl Json {
    /// Reads one value; panics when it is none.
    pub(super) fn read(text: &mut &str) -> Self {
        let Some(first) = text.chars().next() else {
            panic!("the text ends")
        };
        match first {
            '{' => Self::Object(Self::list(text, '}', |text| {
                let Self::Text(key) = Self::read(text) else {
                    panic!("a key is text")
                };
                skip(text, ':');
                (key, Self::read(text))
            })),
            '[' => Self::Array(Self::list(text, ']', Self::read)),
            '"' => {
                let end = 1 + text[1..].find('"').unwrap();
                let value = text[1..end].to_owned();
                assert!(!value.contains('\\'), "no text here needs escapes");
                *text = &text[end + 1..];
                Self::Text(value)
            }
            _ => {
                let end = text.find([',', '}', ']']).unwrap();
                let (word, rest) = text.split_at(end);
                *text = rest;
                match word {
                    "true" | "false" => Self::Flag(word == "true"),
                    number => Self::Number(number.parse().unwrap_or_else(|_| panic!("{number} is no number"))),
                }
            }
        }
    }

    pub(super) fn list<T, C: FromIterator<T>>(text: &mut &str, end: char, mut item: impl FnMut(&mut &str) -> T) -> C {
        let mut items = Vec::new();
        *text = &text[1..];
        while !text.starts_with(end) {
            if !items.is_empty() {
                skip(text, ',');
            }
            items.push(item(text));
        }
        *text = &text[1..];
        items.into_iter().collect()
    }

    #[track_caller]
    pub(super) fn get(&self, path: &str) -> &Self {
        self.find(path).unwrap_or_else(|| panic!("no {path} in {self:?}"))
    }

    pub(super) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |value, key| match value {
            Self::Object(fields) => fields.get(key),
            _ => None,
        })
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    pub(super) fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            other => panic!("{other:?} is no array"),
        }
    }
}

fn skip(text: &mut &str, letter: char) {
    *text = text
        .strip_prefix(letter)
        .unwrap_or_else(|| panic!("{letter:?} is missing before {text}"));
}
