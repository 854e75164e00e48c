//! Where a server is.

use std::{fmt, str::FromStr};

/// Quantum and WebSocket without TLS.
const PORT: u16 = 7400;

/// WebSocket with TLS.
const TLS_PORT: u16 = 443;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Quantum, over UDP, always encrypted.
    Quantum,
    /// WebSocket over TCP, not encrypted: for one's own machine, or behind something that encrypts.
    WebSocket,
    /// WebSocket over TLS.
    SecureWebSocket,
}

/// A server's address: `quantum://host:port`, `wss://host:port` or `ws://host:port`, the port being optional.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// How.
    pub scheme: Scheme,
    /// A name, or an IP address without brackets.
    pub host: String,
    /// TCP or UDP.
    pub port: u16,
}

/// Why text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a server, as quantum://host:7400, wss://host or ws://localhost:7400: {reason}")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |reason| AddressError {
            text: text.to_owned(),
            reason,
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("it has no scheme"))?;
        let (scheme, default) = match scheme {
            "quantum" => (Scheme::Quantum, PORT),
            "ws" => (Scheme::WebSocket, PORT),
            "wss" => (Scheme::SecureWebSocket, TLS_PORT),
            _ => return Err(fail("its scheme is unknown")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) || rest.contains(char::is_whitespace) {
            return Err(fail("only a host and a port may follow the scheme"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| fail("a bracket is not closed"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err(fail("it has no host"));
        }
        let port = port.map_or(Ok(default), |port| {
            port.parse().map_err(|_| fail("its port is no port"))
        })?;
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Quantum => "quantum",
            Scheme::WebSocket => "ws",
            Scheme::SecureWebSocket => "wss",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl Address {
    /// Host and port, as they stand in a URL.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed() {
        for (text, printed) in [
            ("quantum://example.org", "quantum://example.org:7400"),
            ("wss://example.org/", "wss://example.org:443"),
            ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000"),
            ("quantum://[::1]:9", "quantum://[::1]:9"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for text in [
            "",
            "example.org",
            "http://a",
            "ws://",
            "ws://a:b",
            "ws://a:70000",
            "ws://a/b",
            "ws://[::1",
            "ws://a b",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
