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

use std::mem;

use automerge::{
    AutoCommit, Automerge, AutomergeError, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue, ScalarValueRef,
    ValueRef,
    iter::{ListRange, MapRange},
    transaction::{CommitOptions, Transactable},
};
use serde_json::{Map, Number, Value};

/// Objects within one another. Whoever reads JSON, writes it or drops it takes a piece of the stack for each, so that a
/// document nested without end would be the end of the process.
const DEPTH: usize = 512;

/// Memory that a document may take as JSON, about: its log may be a thousandth of that.
const MEMORY: usize = 256 << 20;

/// Why one is not made of the other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    /// It is nested deeper than any reader can be expected to follow.
    #[error("it is nested more than {} levels deep, which is too deep for JSON", DEPTH)]
    TooDeep,
    /// It would take more memory than one document may.
    #[error("it takes more than {} bytes of memory as JSON", MEMORY)]
    TooLarge,
    /// Automerge does not take it.
    #[error(transparent)]
    Automerge(#[from] AutomergeError),
}

/// The content of a document, at these heads or at present.
pub(crate) fn from_automerge(doc: &Automerge, heads: Option<&[ChangeHash]>) -> Result<Value, JsonError> {
    let mut outer: Vec<Object<'_>> = Vec::new();
    let mut object = Object::new(doc, &ROOT, ObjType::Map, heads);
    let mut left = MEMORY;
    let mut take = |bytes: usize| {
        left = left.checked_sub(bytes).ok_or(JsonError::TooLarge)?;
        Ok::<_, JsonError>(())
    };
    loop {
        let value = match object.next() {
            Some(Item::Scalar(scalar)) => {
                take(bytes_within(&scalar))?;
                from_scalar(&scalar)
            }
            Some(Item::Object(id, ObjType::Text)) => {
                let text = match heads {
                    Some(heads) => doc.text_at(id, heads)?,
                    None => doc.text(id)?,
                };
                take(text.len())?;
                Value::String(text)
            }
            Some(Item::Object(..)) if outer.len() == DEPTH => return Err(JsonError::TooDeep),
            Some(Item::Object(id, kind)) => {
                let inner = Object::new(doc, &id, kind, heads);
                outer.push(mem::replace(&mut object, inner));
                continue;
            }
            None => {
                let Some(parent) = outer.pop() else {
                    return Ok(object.into_json());
                };
                mem::replace(&mut object, parent).into_json()
            }
        };
        take(object.push(value))?;
    }
}

/// An object that is being read: what is left of it, and what was read.
enum Object<'a> {
    /// With the key that was read last.
    Map(Box<MapRange<'a>>, Map<String, Value>, String),
    List(Box<ListRange<'a>>, Vec<Value>),
}

enum Item<'a> {
    Scalar(ScalarValueRef<'a>),
    Object(ObjId, ObjType),
}

impl<'a> Object<'a> {
    fn new(doc: &'a Automerge, id: &ObjId, kind: ObjType, heads: Option<&[ChangeHash]>) -> Self {
        if kind == ObjType::List {
            let items = match heads {
                Some(heads) => doc.list_range_at(id, .., heads),
                None => doc.list_range(id, ..),
            };
            return Self::List(Box::new(items), Vec::new());
        }
        let items = match heads {
            Some(heads) => doc.map_range_at(id, .., heads),
            None => doc.map_range(id, ..),
        };
        Self::Map(Box::new(items), Map::new(), String::new())
    }

    fn next(&mut self) -> Option<Item<'a>> {
        match self {
            Self::Map(items, _, key) => {
                let item = items.next()?;
                *key = item.key.to_string();
                Some(match item.value {
                    ValueRef::Object(kind) => Item::Object(item.id(), kind),
                    ValueRef::Scalar(scalar) => Item::Scalar(scalar),
                })
            }
            Self::List(items, _) => {
                let item = items.next()?;
                Some(match item.value {
                    ValueRef::Object(kind) => Item::Object(item.id(), kind),
                    ValueRef::Scalar(scalar) => Item::Scalar(scalar),
                })
            }
        }
    }

    /// Adds what was read last. Bytes of memory for the place it has.
    fn push(&mut self, value: Value) -> usize {
        match self {
            Self::Map(_, fields, key) => {
                let bytes = mem::size_of::<(String, Value)>() + key.len();
                fields.insert(mem::take(key), value);
                bytes
            }
            Self::List(_, values) => {
                values.push(value);
                mem::size_of::<Value>()
            }
        }
    }

    fn into_json(self) -> Value {
        match self {
            Self::Map(_, fields, _) => Value::Object(fields),
            Self::List(_, values) => Value::Array(values),
        }
    }
}

/// Memory that a value takes as JSON beside the value itself.
fn bytes_within(scalar: &ScalarValueRef<'_>) -> usize {
    match scalar {
        ScalarValueRef::Str(text) => text.len(),
        ScalarValueRef::Bytes(bytes) => bytes.len().saturating_mul(mem::size_of::<Value>()),
        _ => 0,
    }
}

fn from_scalar(scalar: &ScalarValueRef<'_>) -> Value {
    match scalar {
        ScalarValueRef::Str(text) => Value::String(text.to_string()),
        ScalarValueRef::Int(number) | ScalarValueRef::Counter(number) | ScalarValueRef::Timestamp(number) => {
            Value::from(*number)
        }
        ScalarValueRef::Uint(number) => Value::from(*number),
        ScalarValueRef::F64(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        ScalarValueRef::Boolean(flag) => Value::Bool(*flag),
        ScalarValueRef::Bytes(bytes) => Value::Array(bytes.iter().map(|byte| Value::from(*byte)).collect()),
        ScalarValueRef::Unknown { .. } | ScalarValueRef::Null => Value::Null,
    }
}

/// A document with this content, in one change. Strings become collaborative text, as in the JavaScript library.
pub(crate) fn to_automerge(content: &Map<String, Value>, time_ms: i64) -> Result<Automerge, JsonError> {
    let mut doc = AutoCommit::new();
    for (key, value) in content {
        put(&mut doc, &ROOT, Place::Key(key), value, 1)?;
    }
    let options = || CommitOptions::default().with_time(time_ms / 1000);
    if doc.commit_with(options()).is_none() {
        // An empty document still needs a change: a peer takes one without heads for one that is not there.
        doc.empty_change(options());
    }
    Ok(Automerge::load(&doc.save())?)
}

enum Place<'a> {
    Key(&'a str),
    Index(usize),
}

fn put(doc: &mut AutoCommit, parent: &ObjId, place: Place<'_>, value: &Value, depth: usize) -> Result<(), JsonError> {
    if depth > DEPTH && (value.is_array() || value.is_object()) {
        return Err(JsonError::TooDeep);
    }
    let object = |doc: &mut AutoCommit, kind: ObjType| match place {
        Place::Key(key) => doc.put_object(parent, key, kind),
        Place::Index(index) => doc.insert_object(parent, index, kind),
    };
    let scalar = match value {
        Value::String(text) => {
            let object = object(doc, ObjType::Text)?;
            return Ok(doc.splice_text(&object, 0, 0, text)?);
        }
        Value::Array(items) => {
            let list = object(doc, ObjType::List)?;
            return items
                .iter()
                .enumerate()
                .try_for_each(|(index, item)| put(doc, &list, Place::Index(index), item, depth + 1));
        }
        Value::Object(fields) => {
            let map = object(doc, ObjType::Map)?;
            return fields
                .iter()
                .try_for_each(|(key, field)| put(doc, &map, Place::Key(key), field, depth + 1));
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
        Place::Key(key) => doc.put(parent, key, scalar)?,
        Place::Index(index) => doc.insert(parent, index, scalar)?,
    }
    Ok(())
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
        assert_eq!(from_automerge(&doc, None).unwrap(), content);
        assert_eq!(from_automerge(&doc, Some(&doc.get_heads())).unwrap(), content);
        assert_eq!(doc.get_changes(&[]).len(), 1);
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_was_then() {
        let mut doc = AutoCommit::new();
        let text = doc.put_object(ROOT, "text", ObjType::Text).unwrap();
        doc.splice_text(&text, 0, 0, "then").unwrap();
        let list = doc.put_object(ROOT, "list", ObjType::List).unwrap();
        doc.insert(&list, 0, "only").unwrap();
        doc.put(ROOT, "counter", ScalarValue::counter(5)).unwrap();
        doc.increment(ROOT, "counter", 2).unwrap();
        doc.put(ROOT, "at", ScalarValue::Timestamp(7)).unwrap();
        doc.put(ROOT, "bytes", vec![1u8, 2]).unwrap();
        doc.put(ROOT, "infinite", f64::INFINITY).unwrap();
        doc.put_object(ROOT, "table", ObjType::Table).unwrap();
        doc.commit();
        let then = doc.get_heads();
        doc.splice_text(&text, 0, 4, "now").unwrap();
        doc.delete(&list, 0).unwrap();
        doc.increment(ROOT, "counter", 1).unwrap();
        doc.delete(ROOT, "table").unwrap();
        let doc = Automerge::load(&doc.save()).unwrap();
        let mut expected = serde_json::json!({
            "text": "then", "list": ["only"], "counter": 7, "at": 7, "bytes": [1, 2], "infinite": null, "table": {},
        });
        assert_eq!(from_automerge(&doc, Some(&then)).unwrap(), expected);
        let fields = expected.as_object_mut().unwrap();
        fields.remove("table");
        fields.insert("text".to_owned(), "now".into());
        fields.insert("list".to_owned(), Value::Array(Vec::new()));
        fields.insert("counter".to_owned(), 8.into());
        assert_eq!(from_automerge(&doc, None).unwrap(), expected);
    }

    #[test]
    fn what_is_small_as_a_document_and_large_as_json_is_refused() {
        let mut doc = AutoCommit::new();
        let each = MEMORY / mem::size_of::<Value>() / 2;
        doc.put(ROOT, "half", vec![0u8; each]).unwrap();
        let half = Automerge::load(&doc.save()).unwrap();
        assert!(from_automerge(&half, None).unwrap()["half"].is_array());
        doc.put(ROOT, "more", vec![0u8; each]).unwrap();
        let whole = Automerge::load(&doc.save()).unwrap();
        assert!(matches!(from_automerge(&whole, None), Err(JsonError::TooLarge)));
    }

    #[test]
    fn what_can_be_written_can_be_read() {
        let nested =
            |levels: usize| (1..levels).fold(serde_json::json!({}), |inner, _| serde_json::json!({"k": inner}));
        let deepest = serde_json::json!({"k": nested(DEPTH)});
        let doc = to_automerge(deepest.as_object().unwrap(), 0).unwrap();
        assert_eq!(from_automerge(&doc, None).unwrap(), deepest);
        let deeper = serde_json::json!({"k": deepest});
        let refused = to_automerge(deeper.as_object().unwrap(), 0);
        assert!(matches!(refused, Err(JsonError::TooDeep)));
    }

    #[test]
    fn an_empty_document_has_heads() {
        let doc = to_automerge(&Map::new(), 0).unwrap();
        assert_eq!(doc.get_heads().len(), 1);
    }
}
