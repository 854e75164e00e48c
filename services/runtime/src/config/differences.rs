//! What two trees differ in.

use serde::Serialize;
use toml::{Table, Value};

use super::ConfigError;

/// The keys, with the tables around them, whose values are not the same, in order. Both trees must be of one type.
///
/// # Errors
/// When a tree is none that TOML can express.
pub fn differences<T: Serialize>(one: &T, other: &T) -> Result<Vec<String>, ConfigError> {
    let [one, other] = [one, other].map(|tree| Table::try_from(tree).map_err(|e| ConfigError::Value(e.to_string())));
    let mut keys = Vec::new();
    compare(&one?, &other?, "", &mut keys);
    keys.sort();
    Ok(keys)
}

fn compare(one: &Table, other: &Table, path: &str, keys: &mut Vec<String>) {
    for (name, value) in one {
        let key = match path {
            "" => name.clone(),
            path => format!("{path}.{name}"),
        };
        match (value, other.get(name)) {
            (Value::Table(one), Some(Value::Table(other))) => compare(one, other, &key, keys),
            (one, Some(other)) if one == other => {}
            _ => keys.push(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn keys_are_named_with_their_tables() {
        let tree = |a: u8, b: u8| BTreeMap::from([("x", BTreeMap::from([("a", a), ("b", b)])), ("y", BTreeMap::new())]);
        assert_eq!(differences(&tree(1, 2), &tree(1, 3)).unwrap(), ["x.b"]);
        assert!(differences(&tree(1, 2), &tree(1, 2)).unwrap().is_empty());
    }
}
