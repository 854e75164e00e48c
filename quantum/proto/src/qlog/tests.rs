//! The logs of two ends that talk: well-formed, complete, and saying the same.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;

use super::*;
use crate::{
    ChannelId, ClientConfig, Connection, ConnectionHandle, DatagramEvent, Delivery, Endpoint, EndpointConfig, Priority,
    ServerConfig, TransportConfig,
    handshake::tests::{NAME, configs},
};

mod json;

use self::json::Json;

/// Keeps what is written.
#[derive(Clone, Default)]
struct File(Arc<Mutex<String>>);

impl QlogSink for File {
    fn event(&mut self, record: &str) {
        self.0.lock().unwrap().push_str(record);
    }
}

impl File {
    fn records(&self) -> Vec<Json> {
        let text = self.0.lock().unwrap();
        let mut records = text.split('\u{1e}');
        assert_eq!(records.next(), Some(""), "the separator comes first");
        records
            .map(|record| {
                let mut rest = record;
                let json = Json::read(&mut rest);
                assert_eq!(rest, "\n", "{record}");
                json
            })
            .collect()
    }
}

/// Events of a name.
fn named<'a>(records: &'a [Json], name: &str) -> Vec<&'a Json> {
    let is = |record: &&Json| record.find("name").is_some_and(|found| found.text() == name);
    records.iter().filter(is).map(|record| record.get("data")).collect()
}

/// Two ends and a network without loss, 10 ms one way.
struct Exchange {
    now: Time,
    client: (Endpoint, ConnectionHandle, Box<Connection>),
    server: (Endpoint, Option<(ConnectionHandle, Box<Connection>)>),
    under_way: VecDeque<(bool, Vec<u8>)>,
    server_log: File,
    received: usize,
}

const CLIENT: &str = "192.0.2.1:5000";
const SERVER: &str = "192.0.2.2:443";

impl Exchange {
    fn new(client_log: &File, server_log: &File) -> Self {
        let (client, server) = configs();
        let transport = Arc::new(TransportConfig::default());
        let config = ServerConfig {
            tls: server,
            transport: transport.clone(),
        };
        let server = Endpoint::new(EndpointConfig::new([1; 32], [2; 32]), Some(Arc::new(config)));
        let mut endpoint = Endpoint::new(EndpointConfig::new([3; 32], [4; 32]), None);
        let now = Time::ZERO + Duration::from_secs(5);
        let config = ClientConfig {
            token: None,
            tls: client,
            transport,
        };
        let (handle, mut connection) = endpoint.connect(now, &config, SERVER.parse().unwrap(), NAME).unwrap();
        connection.set_qlog(now, Box::new(client_log.clone()));
        Self {
            now,
            client: (endpoint, handle, connection),
            server: (server, None),
            under_way: VecDeque::new(),
            server_log: server_log.clone(),
            received: 0,
        }
    }

    fn arrive(&mut self, up: bool, bytes: &[u8]) {
        let (endpoint, from) = if up {
            (&mut self.server.0, CLIENT)
        } else {
            (&mut self.client.0, SERVER)
        };
        match endpoint.on_datagram(self.now, from.parse().unwrap(), None, BytesMut::from(bytes)) {
            DatagramEvent::Known(_, event) => {
                let connection = if up {
                    self.server.1.as_mut().map(|(_, c)| c)
                } else {
                    Some(&mut self.client.2)
                };
                connection.unwrap().on_event(self.now, event);
            }
            DatagramEvent::New(handle, mut connection, event) => {
                connection.set_qlog(self.now, Box::new(self.server_log.clone()));
                connection.on_event(self.now, event);
                self.server.1 = Some((handle, connection));
            }
            other => panic!("{other:?}"),
        }
    }

    fn turn(&mut self) {
        let server = self
            .server
            .1
            .as_mut()
            .map(|(handle, connection)| (true, &mut self.server.0, *handle, connection));
        let client = (false, &mut self.client.0, self.client.1, &mut self.client.2);
        for (is_server, endpoint, handle, connection) in std::iter::once(client).chain(server) {
            connection.on_timeout(self.now);
            while let Some(event) = connection.poll_endpoint_event() {
                if let Some(answer) = endpoint.on_connection_event(handle, event) {
                    connection.on_event(self.now, answer);
                }
            }
            while connection.poll_event().is_some() {}
            self.received += std::iter::from_fn(|| connection.recv()).count();
            let mut out = Vec::new();
            while let Some(transmit) = connection.poll_transmit(self.now, 1, &mut out) {
                assert_eq!(transmit.bytes, out.len());
                self.under_way.push_back((!is_server, std::mem::take(&mut out)));
            }
        }
    }

    /// Steps of 10 ms.
    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.turn();
            self.now += Duration::from_millis(10);
            for (up, bytes) in std::mem::take(&mut self.under_way) {
                self.arrive(up, &bytes);
            }
        }
    }
}

/// A handshake, two messages, a datagram, a key update and a close.
fn exchange() -> (Vec<Json>, Vec<Json>) {
    let logs = (File::default(), File::default());
    let mut exchange = Exchange::new(&logs.0, &logs.1);
    exchange.run(20);
    let client = &mut exchange.client.2;
    client
        .send(ChannelId(3), Delivery::Ordered, Priority::Interactive, "hello".into())
        .unwrap();
    client
        .send(
            ChannelId(4),
            Delivery::Unordered,
            Priority::Bulk,
            vec![7; 20_000].into(),
        )
        .unwrap();
    client.send_datagram("presence".into()).unwrap();
    exchange.run(40);
    assert_eq!(exchange.received, 2);
    exchange.client.2.update_keys();
    exchange
        .client
        .2
        .send(ChannelId(3), Delivery::Ordered, Priority::Normal, "bye".into())
        .unwrap();
    exchange.run(10);
    let now = exchange.now;
    exchange.client.2.close(now, CloseCode::application(9), "done");
    exchange.run(5);
    (logs.0.records(), logs.1.records())
}

#[test]
fn the_form_that_qvis_reads() {
    let (client, server) = exchange();
    for (records, side) in [(&client, "client"), (&server, "server")] {
        let header = &records[0];
        assert_eq!(header.get("qlog_version").text(), "0.3");
        assert_eq!(header.get("qlog_format").text(), "JSON-SEQ");
        assert_eq!(header.get("trace.vantage_point.type").text(), side);
        assert_eq!(header.get("trace.common_fields.time_format").text(), "relative");
        let mut before = 0.0;
        for event in &records[1..] {
            let time = event.get("time").number();
            assert!(time >= before, "times rise");
            before = time;
            assert!(event.get("name").text().contains(':'));
            event.get("data");
        }
        let names: std::collections::BTreeSet<_> = records[1..].iter().map(|event| event.get("name").text()).collect();
        for name in [
            "connectivity:connection_started",
            "connectivity:connection_closed",
            "transport:parameters_set",
            "transport:packet_sent",
            "transport:packet_received",
            "recovery:metrics_updated",
            "recovery:congestion_state_updated",
            "security:key_updated",
        ] {
            assert!(names.contains(name), "no {name} of the {side}");
        }
    }
}

#[test]
fn what_one_sends_the_other_receives() {
    let (client, server) = exchange();
    let key = |data: &Json| {
        let field = |path| format!("{:?}", data.get(path));
        [
            field("header.packet_type"),
            field("header.packet_number"),
            field("header.flags"),
            field("raw.length"),
        ]
        .join(" ")
    };
    let frames = |records, name| -> BTreeMap<String, Json> {
        let packets = named(records, name).into_iter();
        packets.map(|data| (key(data), data.get("frames").clone())).collect()
    };
    let (up, down) = (
        frames(&client, "transport:packet_sent"),
        frames(&server, "transport:packet_sent"),
    );
    let (upped, downed) = (
        frames(&server, "transport:packet_received"),
        frames(&client, "transport:packet_received"),
    );
    assert!(up.len() > 20 && down.len() > 10);
    for (received, sent) in [(upped, up), (downed, down)] {
        // The server's log begins behind its first packet; who has closed looks at nothing any more.
        assert!(received.len() + 4 >= sent.len());
        for (packet, frames) in received {
            assert_eq!(Some(&frames), sent.get(&packet), "{packet}");
        }
    }
}

#[test]
fn frames_have_the_names_of_qlog() {
    let (client, _) = exchange();
    let sent = named(&client, "transport:packet_sent");
    let frames: Vec<_> = sent.iter().flat_map(|data| data.get("frames").items()).collect();
    let of = |kind: &str| {
        frames
            .iter()
            .filter(|frame| frame.get("frame_type").text() == kind)
            .collect::<Vec<_>>()
    };
    for kind in ["crypto", "padding", "ack", "stream", "datagram", "connection_close"] {
        assert!(!of(kind).is_empty(), "no {kind}");
    }
    let streams = of("stream");
    assert_eq!(streams[0].get("stream_id").number(), 3.0);
    assert_eq!(streams[0].get("length").number(), 5.0);
    assert_eq!(streams[0].get("fin"), &Json::Flag(true));
    let bulk: f64 = streams
        .iter()
        .filter(|frame| frame.get("stream_id").number() == 4.0)
        .map(|f| f.get("length").number())
        .sum();
    assert_eq!(bulk, 20_000.0);
    for ack in of("ack") {
        ack.get("acked_ranges").items();
    }
    let close = of("connection_close")[0];
    assert_eq!(
        (close.get("error_space").text(), close.get("error_code").number()),
        ("application", 9.0)
    );
    assert_eq!(close.get("reason").text(), "done");
}

#[test]
fn the_end_and_the_keys() {
    let (client, server) = exchange();
    let closed = named(&client, "connectivity:connection_closed")[0];
    assert_eq!(
        (closed.get("owner").text(), closed.get("application_code").number()),
        ("local", 9.0)
    );
    let closed = named(&server, "connectivity:connection_closed")[0];
    assert_eq!(closed.get("owner").text(), "remote");
    let update = named(&client, "security:key_updated")[0];
    assert_eq!(
        (update.get("key_type").text(), update.get("trigger").text()),
        ("client_1rtt_secret", "local_update")
    );
    let update = named(&server, "security:key_updated")[0];
    assert_eq!(
        (update.get("generation").number(), update.get("trigger").text()),
        (1.0, "remote_update")
    );
    let set = named(&client, "transport:parameters_set");
    assert_eq!(
        set.iter().map(|data| data.get("owner").text()).collect::<Vec<_>>(),
        ["local", "remote"]
    );
}

#[test]
fn losses_and_strays_are_told() {
    let logs = (File::default(), File::default());
    let mut exchange = Exchange::new(&logs.0, &logs.1);
    exchange.run(20);
    exchange
        .client
        .2
        .send(ChannelId(0), Delivery::Ordered, Priority::Bulk, vec![1; 9_000].into())
        .unwrap();
    exchange.turn();
    let twice = exchange.under_way.back().cloned().unwrap();
    exchange.under_way.pop_front();
    exchange.under_way.push_back(twice);
    exchange.run(20);
    let lost = logs.0.records();
    let lost = named(&lost, "recovery:packet_lost");
    assert!(!lost.is_empty());
    assert_eq!(lost[0].get("header.packet_type").text(), "1RTT");
    let dropped = logs.1.records();
    assert_eq!(
        named(&dropped, "transport:packet_dropped")[0].get("trigger").text(),
        "duplicate"
    );
}
