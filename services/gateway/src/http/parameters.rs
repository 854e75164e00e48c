//! What stands in paths and queries, and what to say when it makes no sense.

use aetherflow_schema::{
    documents::At,
    id::{ChangeHash, DocumentId},
};
use axum::extract::{Path, Query, rejection::PathRejection};
use hyper::Uri;
use serde::{Deserialize, de::DeserializeOwned};

use super::problem::Problem;

/// Hashes in `heads`: as many as fit into the head of a request.
const HEADS: usize = 200;

/// `?change=N` or `?heads=HASH,HASH`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    change: Option<u64>,
    heads: Option<String>,
}

/// `?after=..&limit=..` of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    pub(super) after: Option<String>,
    pub(super) limit: Option<usize>,
}

/// `?after=..&limit=..&principal=..` of a history.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stretch {
    #[serde(default)]
    pub(super) after: u64,
    pub(super) limit: Option<usize>,
    pub(super) principal: Option<String>,
}

/// The document of a path.
pub(super) fn document(path: Result<Path<String>, PathRejection>) -> Result<DocumentId, Problem> {
    let Path(text) = path.map_err(|error| Problem::bad_request("document-id", error.body_text()))?;
    parse_document(&text)
}

/// A document id, with or without `automerge:`.
pub(super) fn parse_document(text: &str) -> Result<DocumentId, Problem> {
    text.parse().map_err(|error| {
        let detail = format!(
            "{error}. Use the text after \"automerge:\" in the document's URL, such as 2j9knpCseyhnK8izDmLpGP5WMdZQ"
        );
        Problem::bad_request("document-id", detail)
    })
}

/// The query of a request.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    Query::try_from_uri(uri)
        .map(|Query(query)| query)
        .map_err(|error| Problem::bad_request("query", error.body_text()))
}

/// A limit on a page, or the default.
pub(super) fn limit(limit: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    match limit.unwrap_or(default) {
        0 => Err(Problem::bad_request("query", "`limit` is at least 1")),
        limit if limit > most => Err(Problem::bad_request("query", format!("`limit` is at most {most}"))),
        limit => Ok(limit),
    }
}

impl Place {
    /// The place it names.
    pub(super) fn at(self) -> Result<At, Problem> {
        match (self.change, self.heads) {
            (None, None) => Ok(At::Now),
            (Some(change), None) => Ok(At::Change(change)),
            (None, Some(heads)) => heads_of(&heads).map(At::Heads),
            (Some(_), Some(_)) => Err(Problem::bad_request("query", "use either `change` or `heads`")),
        }
    }
}

fn heads_of(text: &str) -> Result<Vec<ChangeHash>, Problem> {
    let heads: Vec<ChangeHash> = text
        .split(',')
        .take(HEADS + 1)
        .map(|hash| hash.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::bad_request("query", format!("`heads`: {error}")))?;
    if heads.len() > HEADS {
        return Err(Problem::bad_request(
            "query",
            format!("`heads` has at most {HEADS} hashes"),
        ));
    }
    Ok(heads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(query: &str) -> Result<At, Problem> {
        let uri = format!("http://x/v1/documents/y?{query}").parse().unwrap();
        super::query::<Place>(&uri)?.at()
    }

    #[test]
    fn a_place_is_now_or_a_change_or_heads() {
        let hash = ChangeHash([0xab; 32]);
        assert_eq!(at(""), Ok(At::Now));
        assert_eq!(at("change=3"), Ok(At::Change(3)));
        assert_eq!(at(&format!("heads={hash},{hash}")), Ok(At::Heads(vec![hash, hash])));
        for wrong in [
            "change=-1",
            "change=x",
            "heads=",
            "heads=zz",
            "changes=3",
            "change=1&heads=zz",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
        let many = vec![hash.to_string(); HEADS + 1].join(",");
        assert!(at(&format!("heads={many}")).is_err());
    }

    #[test]
    fn limits_have_bounds() {
        assert_eq!(limit(None, 100, 1000), Ok(100));
        assert_eq!(limit(Some(1000), 100, 1000), Ok(1000));
        assert!(limit(Some(1001), 100, 1000).is_err() && limit(Some(0), 100, 1000).is_err());
    }
}
