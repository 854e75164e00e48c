//! Ids, roles, grantees: what stands in URLs, tokens and files.

use std::{fmt::Display, str::FromStr};

use aetherflow_schema::{
    access::{Grantee, Role},
    id::{ChangeHash, DocumentId},
};

use crate::{run::seeds, source::Source, within};

/// What is read of a text is written as a text that is read as the same.
fn read<T: FromStr + Display + PartialEq>(text: &str) {
    if let Ok(value) = within(text.len(), 8, || text.parse::<T>()) {
        assert!(value.to_string().parse::<T>().ok() == Some(value), "{text:?}");
    }
}

/// All of them.
pub(crate) fn texts(data: &[u8]) {
    let corpus: Vec<String> = vec![
        DocumentId::from_bytes(&[7; 16]).unwrap().to_string(),
        DocumentId::from_bytes(&[255; 64]).unwrap().url(),
        ChangeHash([0xab; 32]).to_string(),
        "editor".to_owned(),
        "public".to_owned(),
        "*".to_owned(),
        "server:ada äöü".to_owned(),
    ];
    let bytes = Source::new(data).nearly(&corpus);
    let text = String::from_utf8_lossy(&bytes);
    read::<DocumentId>(&text);
    read::<ChangeHash>(&text);
    read::<Role>(&text);
    read::<Grantee>(&text);
    if let Ok(id) = DocumentId::from_bytes(&bytes) {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

#[test]
fn any_text() {
    seeds("any_text", 20_000, 120, texts);
}
