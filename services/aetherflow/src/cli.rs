//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Sources;

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

    /// Where everything is stored.
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve everybody, without authentication: for development.
    Dev,
    /// Serve.
    Serve,
    /// Print the version.
    Version,
}

impl Cli {
    /// The layers of the configuration that the command line names.
    pub(crate) fn sources(&self) -> Sources {
        let flags = [
            ("listen", "--listen", &self.listen),
            ("admin_listen", "--admin-listen", &self.admin_listen),
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
