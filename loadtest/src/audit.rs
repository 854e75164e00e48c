//! The checker: what clients recorded as acknowledged, against what the server holds.
//!
//! Owns: every judgement on whether a promise was kept. Inputs: claims recorded before the fault, and a server after
//! it. It only reads: a writer that connected before the audit would upload again what was lost, and so hide the loss.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use aetherflow_schema::id::{DocumentId, Offset, PartitionId};
use automerge::ChangeHash;

use crate::{
    client::Client,
    places::{self, Log, Places},
    server::{Server, ServerError},
};

/// How long a document may take to load.
const LOAD: Duration = Duration::from_secs(20);

/// What was acknowledged, by document, and where it stands.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    acknowledged: BTreeMap<DocumentId, HashSet<ChangeHash>>,
    places: BTreeMap<DocumentId, Places>,
}

impl Claims {
    /// Adds what one client was told.
    pub fn add(&mut self, document: &DocumentId, acknowledged: &HashSet<ChangeHash>) {
        self.acknowledged
            .entry(document.clone())
            .or_default()
            .extend(acknowledged);
    }

    /// Adds where one client was told that changes stand.
    pub fn add_places(&mut self, document: &DocumentId, places: &Places) {
        self.places.entry(document.clone()).or_default().add(places);
    }

    /// How many changes, of all documents.
    pub fn changes(&self) -> usize {
        self.acknowledged.values().map(HashSet::len).sum()
    }

    /// Of how many changes the places are known.
    pub fn places(&self) -> usize {
        self.places.values().map(Places::len).sum()
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
    /// The log does not have changes where the server said that they stand.
    Misplaced {
        /// Of which document.
        document: DocumentId,
        /// How many.
        wrong: usize,
        /// One of them.
        change: ChangeHash,
        /// Where it is said to stand.
        said: Offset,
        /// Where it stands, if anywhere.
        found: Option<Offset>,
    },
    /// The server said of one change that it stands in two places.
    Contradicted {
        /// Of which document.
        document: DocumentId,
        /// Which.
        change: ChangeHash,
        /// Where, first and later.
        places: [Offset; 2],
    },
    /// A place up to which a client was told was unknown later.
    Forgotten {
        /// Of which document.
        document: DocumentId,
        /// Which.
        place: Offset,
    },
    /// Two documents have something in the same place.
    Shared {
        /// In this partition.
        partition: PartitionId,
        /// Where.
        offset: Offset,
        /// Which.
        documents: [DocumentId; 2],
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
            Self::Misplaced {
                document,
                wrong,
                change,
                said,
                found,
            } => {
                let found = found.map_or("nowhere".to_owned(), |found| format!("at {found}"));
                write!(
                    f,
                    "{document} has {wrong} changes elsewhere than was said: {change}, said to be at {said}, is {found}"
                )
            }
            Self::Contradicted {
                document,
                change,
                places: [first, second],
            } => write!(f, "{document} is said to have {change} at {first}, and at {second}"),
            Self::Forgotten { document, place } => {
                write!(f, "{document} was told up to {place}, which is unknown now")
            }
            Self::Shared {
                partition,
                offset,
                documents: [first, second],
            } => write!(
                f,
                "{first} and {second} share offset {offset} of partition {}",
                partition.0
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
    let reader = Client::reader(name, server.address(), claims.acknowledged.keys());
    let mut violations = Vec::new();
    for (document, acknowledged) in &claims.acknowledged {
        violations.extend(check(&reader, document, acknowledged).await);
    }
    reader.stop().await;
    violations.extend(compare(server, claims).await?);
    Ok(violations)
}

/// Where changes are said to stand, with the log.
async fn compare(server: &Server, claims: &Claims) -> Result<Vec<Violation>, ServerError> {
    let endpoint = server.address().into();
    let (mut logs, mut violations) = (Vec::new(), Vec::new());
    for (document, places) in claims.places.iter().filter(|(_, places)| !places.is_empty()) {
        match Log::read(&endpoint, document).await {
            Ok(log) => {
                violations.extend(places.violations(document, &log));
                logs.push((document, log));
            }
            Err(error) => violations.push(Violation::Unreadable {
                document: document.clone(),
                acknowledged: places.len(),
                reason: error.to_string(),
            }),
        }
    }
    let partitions = server.partitions().await?;
    let logs = logs.iter().map(|(document, log)| (*document, log));
    violations.extend(places::shared(logs, partitions));
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
