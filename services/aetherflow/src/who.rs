//! `aetherflow log who`: what somebody wrote, when, and from where.
//!
//! With `--url` a running server is asked; without, the log in the data directory is opened, as a start of the server would
//! open it, and nothing is appended. A log that a server has open is not opened: the message says to name its URL.
//!
//! | module | what |
//! | --- | --- |
//! | `remote` | asking a server |
//! | `local` | reading the data directory |
//! | `table` | rows as text |
//! | `moment` | times as people write them |

mod local;
mod moment;
mod remote;
mod table;

use std::io::{self, Write};

use aetherflow_schema::{access::Principal, history::AuthoredQuery, id::DocumentId};
use anyhow::Context;
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::config::Config;

/// Rows in memory at most.
const ROWS: usize = 1_000_000;

/// What is asked for.
#[derive(Debug, Args)]
pub(crate) struct WhoArgs {
    /// Whose entries: the name that is stored with them.
    principal: String,
    /// In this document only.
    #[arg(long, value_name = "ID")]
    document: Option<DocumentId>,
    /// From then on: `2026-11-23`, `2026-11-23T10:00:00Z`, milliseconds since 1970, or how long ago: `90m`, `12h`, `7d`.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    since: Option<u64>,
    /// Before then.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    until: Option<u64>,
    /// So many rows at most, the oldest first.
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    limit: usize,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// A running server to ask, such as `http://127.0.0.1:7400`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The token or API key to ask it with.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "AETHERFLOW_TOKEN",
        hide_env_values = true,
        requires = "url"
    )]
    token: Option<String>,
}

/// An entry, as the HTTP API tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    time: u64,
    document_id: String,
    offset: u64,
    kind: String,
    bytes: u64,
    session: String,
    via: Option<String>,
    whence: Option<Whence>,
}

/// Where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Whence {
    address: String,
    port: u16,
    client: String,
    agent: String,
}

/// A page, as the HTTP API tells it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    entries: Vec<Row>,
    next: Option<String>,
    unreadable_partitions: Vec<u16>,
}

/// `aetherflow log who`
///
/// # Errors
/// When the log cannot be read, or the server does not answer as it should.
pub(crate) fn run(config: &Config, args: &WhoArgs) -> anyhow::Result<()> {
    let principal = Principal::named(&args.principal).context("a principal's name has 1 to 255 bytes")?;
    anyhow::ensure!((1..=ROWS).contains(&args.limit), "--limit is 1 to {ROWS}");
    let query = AuthoredQuery {
        document: args.document.clone(),
        since_us: args.since.unwrap_or(0).saturating_mul(1000),
        until_us: args.until.map_or(u64::MAX, |until| until.saturating_mul(1000)),
        ..AuthoredQuery::all(principal)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (rows, more) = runtime.block_on(async {
        match &args.url {
            Some(url) => remote::read(url, args.token.as_deref(), query, args.limit).await,
            None => local::read(config, query, args.limit).await,
        }
    })?;
    let written = match args.json {
        true => print_json(&rows),
        false => table::print(&rows),
    };
    match written {
        // Whoever reads it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
        written => written?,
    }
    if more {
        eprintln!("there is more: use --since or a greater --limit");
    }
    Ok(())
}

fn print_json(rows: &[Row]) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for row in rows {
        serde_json::to_writer(&mut out, row)?;
        writeln!(out)?;
    }
    out.flush()
}

/// Says of what nothing is told.
fn complain(partitions: &[u16]) {
    if !partitions.is_empty() {
        eprintln!("partitions {partitions:?} are damaged, and what was written there is missing here");
    }
}
