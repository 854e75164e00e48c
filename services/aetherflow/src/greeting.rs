//! What `aetherflow dev` says when it has started.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::quantum::Listening;

/// Where everything is.
pub(crate) struct Greeting<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    pub(crate) data_dir: &'a Path,
    pub(crate) quantum: Option<&'a Listening>,
    pub(crate) grpc: Option<SocketAddr>,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// A token for trying out what tokens do.
    pub(crate) token: &'a str,
}

impl Greeting<'_> {
    /// Prints it on standard output.
    pub(crate) fn print(&self) {
        let mut out = io::stdout().lock();
        let coloured = out.is_terminal();
        // A closed standard output is no reason to stop.
        let _ = out.write_all(self.text(coloured).as_bytes());
        let _ = out.flush();
    }

    fn text(&self, coloured: bool) -> String {
        let paint = |code: &str, text: &str| {
            if coloured {
                format!("\x1b[{code}m{text}\x1b[0m")
            } else {
                text.to_owned()
            }
        };
        let (public, admin) = (reachable(self.address), reachable(self.admin_address));
        let secure = if self.tls { "s" } else { "" };
        let mut rows = vec![
            (
                "WebSocket",
                format!("ws{secure}://{public}"),
                "for automerge-repo clients",
            ),
            ("Console", format!("http{secure}://{public}/"), ""),
            ("API", format!("http{secure}://{public}/v1/documents"), ""),
            ("Metrics", format!("http://{admin}/metrics"), ""),
            (
                "Data",
                self.data_dir.display().to_string(),
                "edits are fsynced before they are acknowledged",
            ),
        ];
        if let Some(grpc) = self.grpc {
            let row = ("gRPC", reachable(grpc).to_string(), "sessions, for other servers");
            rows.insert(rows.len() - 2, row);
        }
        if let Some(quantum) = self.quantum {
            let address = format!("quantum://{}", reachable(quantum.address));
            rows.insert(
                1,
                (
                    "Quantum",
                    address,
                    "for native clients, over UDP; its certificate's fingerprint:",
                ),
            );
            rows.insert(2, ("", quantum.fingerprint.to_string(), ""));
        }
        let title = format!("AetherFlow {}", env!("CARGO_PKG_VERSION"));
        let mut text = format!("\n  {}  development\n\n", paint("1;36", &title));
        for (name, value, note) in rows {
            let note = if note.is_empty() {
                String::new()
            } else {
                format!("  ({note})")
            };
            let _ = writeln!(text, "  {name:<11}{}{}", paint("1", &value), paint("2", &note));
        }
        let warning = "NO AUTHENTICATION. Whoever reaches these addresses can read and change everything.";
        let _ = writeln!(text, "\n  {}", paint("1;33", warning));
        if !self.address.ip().is_loopback() {
            let exposed = format!("{} IS REACHABLE FROM OTHER MACHINES.", self.address);
            let _ = writeln!(text, "  {}", paint("1;31", &exposed));
        }
        let _ = writeln!(
            text,
            "  A token, should you want to be somebody (\"developer\"; good for a day):\n  {}",
            self.token
        );
        text.push_str("  Stop with Ctrl-C.\n\n");
        text
    }
}

/// An address that a browser on this machine can open: "all addresses" is none.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: &str) -> String {
        let listening = Listening {
            address: address.parse().unwrap(),
            fingerprint: quantum::Fingerprint([0xab; 32]),
        };
        let greeting = Greeting {
            address: address.parse().unwrap(),
            admin_address: "127.0.0.1:7402".parse().unwrap(),
            data_dir: Path::new("/data"),
            quantum: Some(&listening),
            grpc: "127.0.0.1:7401".parse().ok(),
            tls: false,
            token: "a.b.c",
        };
        greeting.text(false)
    }

    #[test]
    fn it_says_where_everything_is_and_that_nothing_is_protected() {
        let text = text("127.0.0.1:7400");
        for part in [
            "ws://127.0.0.1:7400",
            "quantum://127.0.0.1:7400",
            &"ab".repeat(32),
            "http://127.0.0.1:7400/v1/documents",
            "http://127.0.0.1:7402/metrics",
            "gRPC       127.0.0.1:7401",
            "/data",
            "fsynced",
            "NO AUTHENTICATION",
            "a.b.c",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains("REACHABLE"));
    }

    #[test]
    fn a_server_that_others_can_reach_says_so() {
        for address in ["0.0.0.0:7400", "[::]:7400"] {
            let text = text(address);
            assert!(
                text.contains("REACHABLE") && !text.contains(&format!("://{address}")),
                "{text}"
            );
        }
    }
}
