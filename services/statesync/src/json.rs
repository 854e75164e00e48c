//! Automerge to JSON and back.
//!
//! | automerge | JSON |
//! | --- | --- |
//! | map, table | object |
//! | list | array |
//! | text, string | string |
//! | integer, float, counter | number (an infinite or undefined one: `null`) |
//! | timestamp | number, milliseconds since 1970 |
//! | bytes | array of numbers |
//! | boolean, null | the same |

use automerge::{
    AutoCommit, Automerge, ObjId, ObjType, ROOT, ScalarValue, hydrate,
    transaction::{CommitOptions, Transactable},
};
use serde_json::{Map, Number, Value};

/// Nesting deeper than this becomes `null`: no peer builds such documents but to break their readers.
const DEPTH: usize = 512;

/// The JSON form of a hydrated document.
pub(crate) fn from_automerge(value: &hydrate::Value) -> Value {
    convert(value, 0)
}

fn convert(value: &hydrate::Value, depth: usize) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    match value {
        hydrate::Value::Map(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), convert(&value.value, depth + 1)))
                .collect::<Map<_, _>>(),
        ),
        hydrate::Value::List(list) => Value::Array(list.iter().map(|item| convert(&item.value, depth + 1)).collect()),
        hydrate::Value::Text(text) => Value::String(text.to_string()),
        hydrate::Value::Scalar(scalar) => from_scalar(scalar),
    }
}

fn from_scalar(scalar: &ScalarValue) -> Value {
    match scalar {
        ScalarValue::Str(text) => Value::String(text.to_string()),
        ScalarValue::Int(number) => Value::from(*number),
        ScalarValue::Uint(number) => Value::from(*number),
        ScalarValue::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        ScalarValue::Counter(counter) => Value::from(i64::from(counter)),
        ScalarValue::Timestamp(ms) => Value::from(*ms),
        ScalarValue::Boolean(flag) => Value::Bool(*flag),
        ScalarValue::Bytes(bytes) => Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect()),
        ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}

/// A document with this content, in one change. Strings become collaborative text, as in the JavaScript library.
pub(crate) fn to_automerge(content: &Map<String, Value>, time_ms: i64) -> Result<Automerge, automerge::AutomergeError> {
    let mut doc = AutoCommit::new();
    for (key, value) in content {
        put(&mut doc, &ROOT, Place::Key(key), value)?;
    }
    let options = || CommitOptions::default().with_time(time_ms / 1000);
    if doc.commit_with(options()).is_none() {
        // An empty document still needs a change: a peer takes one without heads for one that is not there.
        doc.empty_change(options());
    }
    Automerge::load(&doc.save())
}

enum Place<'a> {
    Key(&'a str),
    Index(usize),
}

fn put(doc: &mut AutoCommit, parent: &ObjId, place: Place<'_>, value: &Value) -> Result<(), automerge::AutomergeError> {
    let object = |doc: &mut AutoCommit, kind: ObjType| match place {
        Place::Key(key) => doc.put_object(parent, key, kind),
        Place::Index(index) => doc.insert_object(parent, index, kind),
    };
    let scalar = match value {
        Value::String(text) => {
            let object = object(doc, ObjType::Text)?;
            return doc.splice_text(&object, 0, 0, text);
        }
        Value::Array(items) => {
            let list = object(doc, ObjType::List)?;
            return items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| put(doc, &list, Place::Index(index), item));
        }
        Value::Object(fields) => {
            let map = object(doc, ObjType::Map)?;
            return fields
                .iter()
                .try_for_each(|(key, field)| put(doc, &map, Place::Key(key), field));
        }
        Value::Null => ScalarValue::Null,
        Value::Bool(flag) => ScalarValue::Boolean(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => ScalarValue::Int(number),
            (None, Some(number)) => ScalarValue::Uint(number),
            (None, None) => ScalarValue::F64(number.as_f64().unwrap_or_default()),
        },
    };
    match place {
        Place::Key(key) => doc.put(parent, key, scalar),
        Place::Index(index) => doc.insert(parent, index, scalar),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_there_and_back() {
        let content = serde_json::json!({
            "text": "héllo 👋🏽", "n": -3, "big": u64::MAX, "f": 1.5, "yes": true, "none": null,
            "list": [1, "two", [3], {"four": 4}], "deep": {"er": {"still": []}},
        });
        let doc = to_automerge(content.as_object().unwrap(), 5_000).unwrap();
        assert_eq!(from_automerge(&doc.hydrate(None)), content);
        assert_eq!(doc.get_changes(&[]).len(), 1);
    }

    #[test]
    fn an_empty_document_has_heads() {
        let doc = to_automerge(&Map::new(), 0).unwrap();
        assert_eq!(doc.get_heads().len(), 1);
    }
}
