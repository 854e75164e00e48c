//! What can be configured: sections `[limits]`, `[timeouts]` and `[http]`.

use std::{net::SocketAddr, time::Duration};

use aetherflow_runtime::config::Invalid;
use aetherflow_schema::limits;
use serde::{Deserialize, Serialize};

use crate::http::origin::is_well_formed;

/// Options of a gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayOptions {
    /// Where WebSocket, HTTP API and console are served; port 0 asks for a free one.
    pub listen: SocketAddr,
    /// Where metrics, health and administration are served.
    pub admin_listen: SocketAddr,
    /// Section `[limits]`.
    pub limits: Limits,
    /// Section `[timeouts]`.
    pub timeouts: Timeouts,
    /// Section `[http]`.
    pub http: HttpOptions,
}

/// Section `[limits]`: what clients may use up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Connections in all, default 50,000. More are refused unseen. Worst case: about 4 KiB each while idle, plus what
    /// the system keeps for a socket, plus the queues below.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64 network, default 1,024; 0 for no limit. More get status 429.
    pub connections_per_address: usize,
    /// Whether that counts for connections from this machine as well, default false: they are often a proxy's.
    pub count_loopback: bool,
    /// Bytes of one WebSocket message from a client, default 64 MiB. Worst case: twice that for every connection.
    pub frame_bytes: usize,
    /// Bytes queued for one client, default 16 MiB. A client that lets it fill is disconnected; one message larger than
    /// this is still delivered when nothing else is queued.
    pub queue_bytes: usize,
    /// Bytes of one connection's frames that wait for their documents, default 1 MiB; nothing more is read meanwhile.
    /// One frame more than that may wait.
    pub waiting_bytes: usize,
    /// Documents open on one connection, or subscribed to on it, default 4,096. Worst case: about 1 KiB each here, and the documents themselves.
    pub documents_per_connection: usize,
    /// Frames ignored on a connection before it joined, default 16.
    pub pre_join_frames: usize,
    /// Bytes of one ephemeral message's data, default 256 KiB. Larger ones are dropped. Each is queued for every other
    /// peer of the document.
    pub ephemeral_bytes: usize,
    /// Bytes of one change or imported file, default 64 MiB. Held in memory several times over while it is applied.
    pub change_bytes: usize,
    /// Bytes of a JSON body, default 16 MiB. Worst case: some ten times that in memory for every request.
    pub json_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 50_000,
            connections_per_address: 1024,
            count_loopback: false,
            frame_bytes: limits::CLIENT_FRAME_BYTES,
            queue_bytes: 16 << 20,
            waiting_bytes: 1 << 20,
            documents_per_connection: 4096,
            pre_join_frames: 16,
            ephemeral_bytes: 256 << 10,
            change_bytes: limits::ENTRY_PAYLOAD_BYTES,
            json_bytes: 16 << 20,
        }
    }
}

/// Section `[timeouts]`, all in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// Until the headers of a request are complete, default 10,000; also how long an idle HTTP connection is kept.
    pub header_ms: u64,
    /// Until a WebSocket client has joined, default 10,000.
    pub join_ms: u64,
    /// Between pings, default 5,000. A client of which nothing was heard from one ping to the next is disconnected.
    /// Cost: one wake-up and one small packet per connection each time.
    pub keepalive_ms: u64,
    /// Until a client has answered a close, default 2,000.
    pub close_ms: u64,
    /// Until a client that reads history, or the answer to an HTTP request, is disconnected for taking nothing of it, default
    /// 30,000.
    pub stalled_ms: u64,
    /// Within how long clients that are sent away come back, default 5,000: each is told a time of its own, so that they
    /// do not all come at once.
    pub reconnect_ms: u64,
    /// For how long an automerge-repo client is said to be present where it has documents open, default 120,000, and three times
    /// `keepalive_ms` at least; it is said again when half of that is over. Cost: an event for each document and watcher then.
    pub present_ms: u64,
    /// Until an HTTP request is answered, its body included, default 60,000.
    pub request_ms: u64,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            header_ms: 10_000,
            join_ms: 10_000,
            keepalive_ms: 5_000,
            close_ms: 2_000,
            stalled_ms: 30_000,
            reconnect_ms: 5_000,
            present_ms: 120_000,
            request_ms: 60_000,
        }
    }
}

impl Timeouts {
    pub(crate) fn header(&self) -> Duration {
        Duration::from_millis(self.header_ms)
    }

    pub(crate) fn join(&self) -> Duration {
        Duration::from_millis(self.join_ms)
    }

    pub(crate) fn keepalive(&self) -> Duration {
        Duration::from_millis(self.keepalive_ms)
    }

    pub(crate) fn close(&self) -> Duration {
        Duration::from_millis(self.close_ms)
    }

    pub(crate) fn stalled(&self) -> Duration {
        Duration::from_millis(self.stalled_ms)
    }

    pub(crate) fn present(&self) -> Duration {
        Duration::from_millis(self.present_ms).max(3 * self.keepalive())
    }

    pub(crate) fn request(&self) -> Duration {
        Duration::from_millis(self.request_ms)
    }
}

/// Section `[http]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
    /// Pages of which origins may use this server from a browser: read, change, and connect by WebSocket. Such as
    /// `https://app.example`; `http://localhost:*` is on any port. Default none, but in `aetherflow dev` those of this machine.
    /// Pages of the server's own host may always, and what is not a browser names no origin and is not asked for one.
    pub allowed_origins: Vec<String>,
    /// Whether pages of all other origins may read (`GET`), default false. They may never write.
    pub cross_origin_reads: bool,
}

impl HttpOptions {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        let all_are = self.allowed_origins.iter().all(|origin| is_well_formed(origin));
        let what = "has something else than origins in it, such as https://app.example or http://localhost:*";
        invalid.unless(all_are, "http.allowed_origins", what);
    }

    /// Where nothing else is said, pages that this machine serves are welcome, on whatever port a developer's tools run.
    pub fn welcome_this_machine(&mut self) {
        if self.allowed_origins.is_empty() {
            let hosts = ["localhost", "127.0.0.1", "[::1]"];
            self.allowed_origins = hosts.iter().map(|host| format!("http://{host}:*")).collect();
        }
    }
}

impl Limits {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        const MOST_BYTES: usize = 4 << 30;
        for (key, value, low) in [
            ("limits.frame_bytes", self.frame_bytes, 1 << 10),
            ("limits.queue_bytes", self.queue_bytes, 1 << 10),
            ("limits.waiting_bytes", self.waiting_bytes, 1),
            ("limits.ephemeral_bytes", self.ephemeral_bytes, 0),
            ("limits.change_bytes", self.change_bytes, 1 << 10),
            ("limits.json_bytes", self.json_bytes, 2),
        ] {
            invalid.unless_within(key, value, low, MOST_BYTES);
        }
        invalid.unless_within("limits.connections", self.connections, 1, 10_000_000);
        invalid.unless_within(
            "limits.documents_per_connection",
            self.documents_per_connection,
            1,
            1_000_000,
        );
        invalid.unless_within("limits.pre_join_frames", self.pre_join_frames, 0, 1_000_000);
    }
}

impl Timeouts {
    /// Notes what makes no sense.
    pub fn validate(&self, invalid: &mut Invalid) {
        for (key, value) in [
            ("timeouts.header_ms", self.header_ms),
            ("timeouts.join_ms", self.join_ms),
            ("timeouts.keepalive_ms", self.keepalive_ms),
            ("timeouts.close_ms", self.close_ms),
            ("timeouts.stalled_ms", self.stalled_ms),
            ("timeouts.reconnect_ms", self.reconnect_ms),
            ("timeouts.present_ms", self.present_ms),
            ("timeouts.request_ms", self.request_ms),
        ] {
            invalid.unless_within(key, value, 1, 3_600_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_nonsense_is_named() {
        let mut invalid = Invalid::default();
        Limits::default().validate(&mut invalid);
        Timeouts::default().validate(&mut invalid);
        assert_eq!(invalid.clone().into_result(), Ok(()));
        let limits = Limits {
            connections: 0,
            ..Limits::default()
        };
        let timeouts = Timeouts {
            join_ms: 0,
            ..Timeouts::default()
        };
        limits.validate(&mut invalid);
        timeouts.validate(&mut invalid);
        let mut http = HttpOptions::default();
        http.welcome_this_machine();
        let before = invalid.to_string();
        http.validate(&mut invalid);
        assert_eq!(invalid.to_string(), before, "this machine's origins are well formed");
        http.allowed_origins.push("https://app.example/path".to_owned());
        http.validate(&mut invalid);
        let text = invalid.to_string();
        assert!(text.contains("`http.allowed_origins`"), "{text}");
        assert!(
            text.contains("`limits.connections`") && text.contains("`timeouts.join_ms`"),
            "{text}"
        );
    }
}
