//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{config::Sources, who::WhoArgs};

/// A sync backend for collaborative applications: every edit durable, ordered and replayable.
#[derive(Debug, Parser)]
#[command(name = "aetherflow", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Print the configuration, with all values, as TOML, and exit.
    #[arg(long, global = true)]
    pub(crate) dump_config: bool,

    /// A configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE", env = "AETHERFLOW_CONFIG")]
    config: Option<PathBuf>,

    /// Where WebSocket, HTTP API and console are served; port 0 asks for a free one.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    listen: Option<String>,

    /// Where metrics, health and administration are served.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    admin_listen: Option<String>,

    /// Where other servers call the session service by gRPC.
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    grpc_listen: Option<String>,

    /// Where everything is stored.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve everybody, without authentication: for development.
    Dev,
    /// Serve those who have a token or a key.
    Serve,
    /// Tokens for clients, signed with `access.signing_key`.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// API keys for servers.
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// What the log says.
    Log {
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Print the version.
    Version,
}

/// What can be asked of the log.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// What somebody wrote, when, and from where: of a running server with `--url`, else of the data directory.
    Who(WhoArgs),
}

/// What can be done about tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a new token.
    Mint {
        /// Who its holder is.
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// What it grants beside what documents do; `*` is every document. May be given several times.
        #[arg(long = "grant", value_name = "DOCUMENT=ROLE", value_parser = grant)]
        grants: Vec<(String, String)>,
        /// Seconds for which it holds.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        seconds: u64,
    },
}

/// What can be done about API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it: it can never be seen again.
    Create {
        /// Whose it is.
        #[arg(long)]
        name: String,
        /// What it may do; `*` is every document. May be given several times.
        #[arg(long = "grant", value_name = "DOCUMENT=ROLE", value_parser = grant)]
        grants: Vec<(String, String)>,
        /// Seconds for which it holds; for ever when not given.
        #[arg(long, value_name = "SECONDS")]
        seconds: Option<u64>,
    },
    /// Print what keys there are, without their secrets.
    List,
    /// Take a key back. Connections of its holder end within a second.
    Revoke {
        /// Its public part, as `list` prints it.
        id: String,
    },
}

fn grant(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(document, role)| (document.to_owned(), role.to_owned()))
        .ok_or_else(|| "a grant is DOCUMENT=ROLE, as in '*=viewer'".to_owned())
}

impl Cli {
    /// The layers of the configuration that the command line names.
    pub(crate) fn sources(&self) -> Sources {
        let flags = [
            ("listen", "--listen", &self.listen),
            ("admin_listen", "--admin-listen", &self.admin_listen),
            ("grpc.listen", "--grpc-listen", &self.grpc_listen),
            ("data_dir", "--data-dir", &self.data_dir),
        ];
        Sources {
            file: self.config.clone(),
            flags: flags
                .into_iter()
                .filter_map(|(key, flag, value)| Some((key, flag, value.clone()?)))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_are_understood_before_and_behind_the_command() {
        for line in [
            ["aetherflow", "dev", "--listen", "127.0.0.1:0", "--data-dir", "x"],
            ["aetherflow", "--listen", "127.0.0.1:0", "--data-dir", "x", "dev"],
        ] {
            let cli = Cli::try_parse_from(line).unwrap();
            assert!(matches!(cli.command, Some(Command::Dev)));
            let flags = cli.sources().flags;
            assert_eq!(flags[0], ("listen", "--listen", "127.0.0.1:0".to_owned()));
            assert_eq!(flags[1].0, "data_dir");
        }
    }
}
