//! The AetherFlow server.
//!
//! Owns: the command line, the configuration tree, and the wiring of what other crates provide. Nothing else.
//!
//! | module | what |
//! | --- | --- |
//! | `cli` | the command line |
//! | `config` | the configuration tree |
//! | `wire` | from a configuration to a running server, and to its end |
//! | `access` | who is let in, and what they may do; tokens and keys from the command line |
//! | `backend` | log and documents |
//! | `cluster` | sharing sessions and presence with other nodes |
//! | `reload` | reading the configuration again while the server runs |
//! | `figures` | what `/metrics` says of log and documents |
//! | `history` | who wrote what and from where, for the gateway |
//! | `who` | the same on the command line |
//! | `console` | the console's files, as the gateway wants them |
//! | `quantum` | the native protocol over UDP |
//! | `grpc` | the session service for other servers |
//! | `sessions` | who is connected |
//! | `greeting` | what `aetherflow dev` says when it has started |

mod access;
mod backend;
mod cli;
mod cluster;
mod config;
mod console;
mod figures;
mod greeting;
mod grpc;
mod history;
mod quantum;
mod reload;
mod sessions;
mod who;
mod wire;

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

use crate::{
    cli::{Cli, Command, LogCommand},
    wire::Mode,
};

/// Appends are made by one thread and freed by another, which costs this allocator least.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aetherflow: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if matches!(cli.command, Some(Command::Version)) {
        println!("aetherflow {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let sources = cli.sources();
    let config = config::load(&sources, std::env::vars())?;
    if cli.dump_config {
        print!("{}", aetherflow_runtime::config::dump(&config)?);
        return Ok(());
    }
    let mode = match &cli.command {
        Some(Command::Dev) => Mode::Dev,
        Some(Command::Serve) => Mode::Serve,
        Some(Command::Token { command }) => return access::token(&config, command),
        Some(Command::Key { command }) => return access::key(&config, command),
        Some(Command::Log {
            command: LogCommand::Who(args),
        }) => return who::run(&config, args),
        Some(Command::Version) | None => anyhow::bail!("say what to do: `aetherflow dev` or `aetherflow serve`"),
    };
    let filter = config.logs.install()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(wire::run(config, mode, sources, filter))
}
