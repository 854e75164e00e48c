//! The checker: what clients recorded as acknowledged, against what the server holds.
//!
//! Owns: every judgement on whether a promise was kept. Inputs: claims recorded before the fault, and a server after
//! it. It only reads: a writer that connected before the audit would upload again what was lost, and so hide the loss.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use aetherflow_schema::id::DocumentId;
use automerge::ChangeHash;

use crate::{
    client::Client,
    server::{Server, ServerError},
};

/// How long a document may take to load.
const LOAD: Duration = Duration::from_secs(20);

/// What was acknowledged, by document.
#[derive(Debug, Clone, Default)]
pub struct Claims(BTreeMap<DocumentId, HashSet<ChangeHash>>);

impl Claims {
    /// Adds what one client was told.
    pub fn add(&mut self, document: &DocumentId, acknowledged: &HashSet<ChangeHash>) {
        self.0.entry(document.clone()).or_default().extend(acknowledged);
    }

    /// How many changes, of all documents.
    pub fn changes(&self) -> usize {
        self.0.values().map(HashSet::len).sum()
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// The server reports damage: it knows that something is missing, and says so.
    Ailing {
        /// Its own words.
        reasons: Vec<String>,
    },
    /// Reading the whole log found what does not fit.
    Damaged {
        /// Its own words.
        problems: Vec<String>,
    },
    /// A document of which changes were acknowledged cannot be had.
    Unreadable {
        /// Which.
        document: DocumentId,
        /// Changes acknowledged.
        acknowledged: usize,
        /// Why not.
        reason: String,
    },
    /// A document loads without changes that were acknowledged.
    Lost {
        /// Which.
        document: DocumentId,
        /// Changes acknowledged.
        acknowledged: usize,
        /// How many of those are missing.
        missing: usize,
        /// One of them.
        example: ChangeHash,
    },
    /// Replicas of a document differ at the end.
    Diverged {
        /// Which.
        document: DocumentId,
        /// How.
        reason: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ailing { reasons } => write!(f, "the server is not well: {}", reasons.join("; ")),
            Self::Damaged { problems } => write!(f, "the log does not verify: {}", problems.join("; ")),
            Self::Unreadable {
                document,
                acknowledged,
                reason,
            } => write!(
                f,
                "{document} cannot be loaded, of which {acknowledged} changes were acknowledged: {reason}"
            ),
            Self::Lost {
                document,
                acknowledged,
                missing,
                example,
            } => write!(
                f,
                "{document} lost {missing} of {acknowledged} acknowledged changes, such as {example}"
            ),
            Self::Diverged { document, reason } => write!(f, "replicas of {document} differ: {reason}"),
        }
    }
}

/// Checks a server that was just started, before any writer comes back.
///
/// # Errors
/// When it does not answer at all.
pub async fn audit(server: &Server, claims: &Claims) -> Result<Vec<Violation>, ServerError> {
    let reasons = server.ailments().await?;
    if !reasons.is_empty() {
        return Ok(vec![Violation::Ailing { reasons }]);
    }
    let name = format!("auditor-{:016x}", rand::random::<u64>());
    let reader = Client::reader(name, server.address(), claims.0.keys());
    let mut violations = Vec::new();
    for (document, acknowledged) in &claims.0 {
        violations.extend(check(&reader, document, acknowledged).await);
    }
    reader.stop().await;
    Ok(violations)
}

async fn check(reader: &Client, document: &DocumentId, acknowledged: &HashSet<ChangeHash>) -> Option<Violation> {
    let unreadable = |reason| {
        Some(Violation::Unreadable {
            document: document.clone(),
            acknowledged: acknowledged.len(),
            reason,
        })
    };
    if acknowledged.is_empty() {
        return None;
    }
    let answered = reader
        .until(document, "loading", LOAD, |replica| {
            replica.is_in_sync() || replica.is_unavailable()
        })
        .await;
    if let Err(late) = answered {
        return unreadable(late.to_string());
    }
    reader.with(document, |replica| {
        if !replica.is_in_sync() {
            return unreadable("the server says that it does not have it".to_owned());
        }
        let missing: Vec<_> = acknowledged.iter().filter(|hash| !replica.has(hash)).collect();
        missing.first().map(|example| Violation::Lost {
            document: document.clone(),
            acknowledged: acknowledged.len(),
            missing: missing.len(),
            example: **example,
        })
    })
}

/// Has the server read its whole log. What does not fit, if anything.
///
/// # Errors
/// When it does not answer.
pub async fn verify(server: &Server) -> Result<Option<Violation>, ServerError> {
    let (problems, _) = server.verify().await?;
    Ok((!problems.is_empty()).then_some(Violation::Damaged { problems }))
}
