//! A chat in the terminal: everybody in a room sees what the others write and who is there. What is written offline is
//! kept in a file and sent later, also by the next run.
//!
//! ```sh
//! cargo run -p aetherflow-client --example chat -- --name ann
//! ```

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal},
    mem::discriminant,
    path::PathBuf,
    time::Duration,
};

use aetherflow_client::{
    Client, CloseError, Document, Everybody, Link, SessionId, StoreError, SubmitError,
    automerge::{Automerge, AutomergeError, ObjType, ROOT, ReadDoc, transaction::Transactable},
};
use anyhow::Context;
use clap::Parser;
use tokio::sync::mpsc;

/// Lines of the past that are shown at the beginning.
const HISTORY: usize = 20;

/// How long others see somebody whose connection was lost.
const PRESENT: Duration = Duration::from_secs(30);

/// Chat in a room with everybody who names the same room.
///
/// Works without a server, too: what you write is kept in a file and sent as soon as there is one.
/// Type /help while it runs.
#[derive(Debug, Parser)]
struct Args {
    /// The room: any name, or the automerge: URL of a document.
    #[arg(default_value = "lobby")]
    room: String,

    /// Your name.
    #[arg(long, env = "USER", default_value = "guest")]
    name: String,

    /// The file that keeps the room and what is not sent yet. The default is one for each name and room.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,

    #[command(flatten)]
    server: common::ServerArgs,
}

struct Line {
    name: String,
    text: String,
    at_ms: i64,
}

struct Chat {
    name: String,
    room: Document,
    /// Lines that were shown.
    seen: BTreeSet<String>,
    /// Who was there when that was shown last.
    present: BTreeMap<SessionId, String>,
    link: Option<Link>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let store = match args.store.clone() {
        Some(store) => store,
        None => data_file(&format!("chat-{}-{}", args.name, args.room))?,
    };
    let options = args.server.options(Some(store.clone()))?;
    let client = match Client::connect(&args.server.server, options).await {
        Err(aetherflow_client::ConnectError::Store(StoreError::InUse { .. })) => anyhow::bail!(
            "{} chats in {} already on this machine. Choose another --name, or a --store of your own",
            args.name,
            args.room
        ),
        connected => connected?,
    };
    let room = client.open(&common::document("chat", &args.room)?).await?;
    println!(
        "* room {} ({}), you are {}; /help says more",
        args.room,
        room.id().url(),
        args.name
    );
    room.presence().set(args.name.clone(), PRESENT).await?;
    let mut chat = Chat {
        name: args.name,
        room,
        seen: BTreeSet::new(),
        present: BTreeMap::new(),
        link: None,
    };
    chat.run(&client).await?;
    let room = chat.room;
    room.presence().clear().await?;
    drop(room);
    match client.close(Duration::from_secs(3)).await {
        Err(CloseError::Kept(count)) => println!("* {count} of your lines are not sent yet; the next run sends them"),
        closed => closed?,
    }
    Ok(())
}

/// Where data is kept unless said otherwise.
fn data_file(name: &str) -> anyhow::Result<PathBuf> {
    let folder = match (std::env::var_os("XDG_DATA_HOME"), std::env::var_os("HOME")) {
        (Some(data), _) if !data.is_empty() => PathBuf::from(data),
        (_, Some(home)) => PathBuf::from(home).join(".local/share"),
        _ => anyhow::bail!("there is no HOME to keep data in; name a file with --store"),
    };
    let name = name.replace(|c: char| !c.is_alphanumeric() && c != '-', "_");
    Ok(folder.join("aetherflow-examples").join(name))
}

impl Chat {
    async fn run(&mut self, client: &Client) -> anyhow::Result<()> {
        let mut input = lines_of_stdin();
        let (failed, mut failures) = mpsc::channel(16);
        let mut changed = self.room.changed();
        let mut status = client.status();
        let mut presence = self.room.presence().subscribe();
        status.mark_changed();
        changed.mark_changed();
        loop {
            tokio::select! {
                line = input.recv() => match line.as_deref().map(str::trim) {
                    None | Some("/quit") => return Ok(()),
                    Some("") => {}
                    Some("/who") => self.show_everybody(),
                    Some(command) if command.starts_with('/') => help(),
                    Some(text) => self.say(text, failed.clone()).await?,
                },
                _ = changed.changed() => self.show_new_lines(),
                _ = presence.changed() => {
                    let everybody = presence.borrow_and_update().clone();
                    self.show_coming_and_going(&everybody);
                }
                _ = status.changed() => {
                    let now = status.borrow_and_update().clone();
                    self.show_link(now.link);
                }
                Some(failure) = failures.recv() => println!("* not sent: {failure}"),
            }
        }
    }

    async fn say(&mut self, text: &str, failed: mpsc::Sender<SubmitError>) -> anyhow::Result<()> {
        let key = common::new_key();
        let said = self.room.change(|tx| {
            let line = tx.put_object(ROOT, &key, ObjType::Map)?;
            tx.put(&line, "name", self.name.as_str())?;
            tx.put(&line, "text", text)?;
            tx.put(&line, "at", common::now_ms())?;
            Ok::<_, AutomergeError>(())
        });
        let mut receipt = said.await?;
        receipt.kept().await.context("the line is not kept")?;
        tokio::spawn(async move {
            match receipt.await {
                Ok(_) | Err(SubmitError::Closed) => {}
                Err(error) => {
                    let _ = failed.send(error).await;
                }
            }
        });
        // What was typed stands there already.
        if io::stdin().is_terminal() {
            self.seen.insert(key);
        }
        Ok(())
    }

    fn show_new_lines(&mut self) {
        let seen = &self.seen;
        let new: Vec<(String, Line)> = self.room.with(|document| {
            let new = document.keys(ROOT).filter(|key| !seen.contains(key));
            new.filter_map(|key| read(document, &key).map(|line| (key, line)))
                .collect()
        });
        let skipped = if self.seen.is_empty() {
            new.len().saturating_sub(HISTORY)
        } else {
            0
        };
        if skipped > 0 {
            println!("* {skipped} earlier lines");
        }
        for (_, line) in &new[skipped..] {
            println!("{}: {}{}", line.name, line.text, ago(common::now_ms() - line.at_ms));
        }
        self.seen.extend(new.into_iter().map(|(key, _)| key));
    }

    fn show_coming_and_going(&mut self, everybody: &Everybody) {
        let names = |everybody: &Everybody| -> BTreeMap<SessionId, String> {
            let name = |state: &[u8]| String::from_utf8_lossy(state).into_owned();
            everybody
                .iter()
                .map(|(session, present)| (*session, name(&present.state)))
                .collect()
        };
        let before = std::mem::replace(&mut self.present, names(everybody));
        for (_, name) in self.present.iter().filter(|(session, _)| !before.contains_key(session)) {
            println!("* {name} is here");
        }
        for (_, name) in before.iter().filter(|(session, _)| !self.present.contains_key(session)) {
            println!("* {name} has left");
        }
    }

    fn show_everybody(&self) {
        let names: Vec<&str> = self.present.values().map(String::as_str).collect();
        println!("* here: {}", [&[self.name.as_str()], &names[..]].concat().join(", "));
    }

    /// Once for each change that people care about.
    fn show_link(&mut self, link: Link) {
        let is_news = self
            .link
            .as_ref()
            .is_none_or(|before| discriminant(before) != discriminant(&link));
        if link == Link::Connecting || !is_news {
            return;
        }
        println!("* {}", common::describe(&link));
        if let Link::Offline { .. } = link {
            println!("* what you write is kept, and sent later");
        }
        self.link = Some(link);
    }
}

/// `None` for what is no line of a chat.
fn read(document: &Automerge, key: &str) -> Option<Line> {
    let (_, line) = document.get(ROOT, key).ok()??;
    let text = |key: &str| document.get(&line, key).ok()??.0.into_string().ok();
    let at_ms = document.get(&line, "at").ok()??.0.as_i64()?;
    let (name, text) = (text("name")?, text("text")?);
    Some(Line { name, text, at_ms })
}

/// How long ago, if that is worth saying.
fn ago(ms: i64) -> String {
    match ms / 60_000 {
        ..1 => String::new(),
        minutes @ ..60 => format!("  ({minutes} min ago)"),
        minutes @ ..1440 => format!("  ({} h ago)", minutes / 60),
        minutes => format!("  ({} days ago)", minutes / 1440),
    }
}

fn help() {
    println!("* /who says who is here, /quit ends; everything else is said to the room");
}

/// From a thread, since reading a terminal blocks.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (lines, queue) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    queue
}
