//! What validation found.

use std::{error, fmt};

/// Keys whose values make no sense, each with what is wrong. Filled by validation, which reports all of them at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalid(Vec<(String, String)>);

impl Invalid {
    /// Notes that `key` is wrong unless `sound`.
    pub fn unless(&mut self, sound: bool, key: &str, complaint: impl Into<String>) {
        if !sound {
            self.0.push((key.to_owned(), complaint.into()));
        }
    }

    /// Notes that `key` is wrong unless its value lies between `low` and `high`.
    pub fn unless_within<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, low: T, high: T) {
        let sound = (&low..=&high).contains(&&value);
        self.unless(sound, key, format!("{value} is not between {low} and {high}"));
    }

    /// All is well, or what is not.
    ///
    /// # Errors
    /// Itself, when anything was noted.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not acceptable:")?;
        self.0
            .iter()
            .try_for_each(|(key, complaint)| write!(f, "\n  `{key}`: {complaint}"))
    }
}

impl error::Error for Invalid {}
