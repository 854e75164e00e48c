//! A shared to-do list.
//!
//! ```sh
//! cargo run -p aetherflow-client --example list -- add milk and bread
//! cargo run -p aetherflow-client --example list -- --watch
//! ```

mod common;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    time::Duration,
};

use aetherflow_client::{
    Client, CloseError, Document, LoadError, Receipt,
    automerge::{Automerge, ObjId, ObjType, ROOT, ReadDoc, transaction::Transactable},
};
use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::time::timeout;

/// How long entries may take to come after the connection was made.
const CATCH_UP: Duration = Duration::from_millis(300);

/// A to-do list shared by everybody who names it.
#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// The list: any name, or the automerge: URL of a document.
    #[arg(long, global = true, default_value = "groceries")]
    list: String,

    /// Shows the list, and again whenever it changes, until Ctrl-C.
    #[arg(long, short, global = true)]
    watch: bool,

    /// A file that keeps the list, so that everything works offline. Without one a server is needed.
    #[arg(long, global = true, value_name = "FILE")]
    store: Option<PathBuf>,

    /// Seconds to wait for the server.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 5)]
    wait: u64,

    #[command(flatten)]
    server: common::ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Adds an item.
    Add {
        /// What to do.
        #[arg(required = true)]
        text: Vec<String>,
    },
    /// Marks an item as done.
    Done {
        /// Its number in the list.
        item: usize,
    },
    /// Removes an item.
    Rm {
        /// Its number in the list.
        item: usize,
    },
    /// Shows the list; the same as no command.
    Show,
}

struct Item {
    key: String,
    object: ObjId,
    text: String,
    done: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let client = Client::connect(&args.server.server, args.server.options(args.store.clone())?).await?;
    let list = client.open(&common::document("list", &args.list)?).await?;
    let wait = Duration::from_secs(args.wait);
    let is_online = catch_up(&client, &list, &args, wait).await?;
    match &args.command {
        Some(Command::Add { text }) => {
            let text = text.join(" ");
            let key = common::new_key();
            let added = list.change(|tx| {
                let item = tx.put_object(ROOT, &key, ObjType::Map)?;
                tx.put(&item, "text", text)?;
                tx.put(&item, "done", false)
            });
            saved(added.await?, wait).await?;
        }
        Some(Command::Done { item }) => {
            let item = nth(&list, *item)?;
            let done = list.change(|tx| tx.put(&item.object, "done", true));
            saved(done.await?, wait).await?;
        }
        Some(Command::Rm { item }) => {
            let item = nth(&list, *item)?;
            let removed = list.change(|tx| tx.delete(ROOT, item.key.as_str()));
            saved(removed.await?, wait).await?;
        }
        Some(Command::Show) | None => {}
    }
    if args.watch {
        return watch(&client, &list).await;
    }
    let note = if is_online {
        ""
    } else {
        "  (offline: as of the last time)"
    };
    print(&list, note);
    drop(list);
    match client.close(Duration::from_secs(3)).await {
        Err(CloseError::Kept(_)) => println!("not sent yet; the next run with this --store sends it"),
        closed => closed?,
    }
    Ok(())
}

/// Waits until the list is as the server has it; `false` when there is no server and a store instead.
async fn catch_up(client: &Client, list: &Document, args: &Args, wait: Duration) -> anyhow::Result<bool> {
    match list.loaded(wait).await {
        Err(LoadError::Late) if args.store.is_none() => {
            let link = common::describe(&client.status().borrow().link);
            anyhow::bail!(
                "{} does not answer: {link}. Is it running? With --store FILE you can work offline",
                args.server.server
            )
        }
        Err(LoadError::Late) => return Ok(false),
        loaded => loaded?,
    }
    if args.store.is_none() {
        return Ok(true);
    }
    let mut status = client.status();
    let is_online = timeout(wait, status.wait_for(|status| status.link.is_online()))
        .await
        .is_ok();
    let mut changed = list.changed();
    while is_online && timeout(CATCH_UP, changed.changed()).await.is_ok() {}
    Ok(is_online)
}

/// Waits until an edit is on the server's disk, or at least on this one's.
async fn saved(mut receipt: Receipt, wait: Duration) -> anyhow::Result<()> {
    match timeout(wait, &mut receipt).await {
        Ok(committed) => committed.map(|_| ()).context("the server does not take it"),
        Err(_) => receipt.kept().await.context("it is not saved"),
    }
}

async fn watch(client: &Client, list: &Document) -> anyhow::Result<()> {
    let mut changed = list.changed();
    let mut status = client.status();
    loop {
        let link = status.borrow_and_update().link.clone();
        if io::stdout().is_terminal() {
            print!("\x1b[2J\x1b[H");
        }
        print(list, &format!("  ({})", common::describe(&link)));
        tokio::select! {
            _ = changed.changed() => {}
            _ = status.wait_for(|status| status.link != link) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn print(list: &Document, note: &str) {
    let items = list.with(items);
    let open = items.iter().filter(|item| !item.done).count();
    println!("{open} to do{note}");
    for (number, item) in (1..).zip(items) {
        println!("{number:>4} [{}] {}", if item.done { 'x' } else { ' ' }, item.text);
    }
}

fn nth(list: &Document, number: usize) -> anyhow::Result<Item> {
    let mut items = list.with(items);
    let count = items.len();
    let index = number.checked_sub(1).filter(|index| *index < count);
    let index = index.with_context(|| format!("there is no item {number}; the list has {count}"))?;
    Ok(items.swap_remove(index))
}

/// In the order in which they were added.
fn items(document: &Automerge) -> Vec<Item> {
    let read = |key: String| {
        let (_, object) = document.get(ROOT, &key).ok()??;
        let text = document.get(&object, "text").ok()??.0.into_string().ok()?;
        let done = document.get(&object, "done").ok()??.0.as_bool()?;
        Some(Item {
            key,
            object,
            text,
            done,
        })
    };
    document.keys(ROOT).filter_map(read).collect()
}
