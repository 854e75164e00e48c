//! What happens in tests of one thing at a time.

use std::time::{Duration, Instant};

use aetherflow_schema::{
    id::DocumentId,
    native::{encode, wire},
};

use super::{
    super::{Input, LinkStatus},
    model::{Client, Server},
};

pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn id() -> DocumentId {
    DocumentId::from_bytes(&[1; 16]).unwrap()
}

/// Everything that is under way arrives.
pub(super) fn exchange(now: Instant, client: &mut Client, server: &mut Server) {
    for _ in 0..20 {
        client.connect(now);
        client.send(now);
        while !client.to_server.is_empty() {
            client.serve(server);
        }
        client.tell_news(server);
        while !client.to_client.is_empty() {
            client.hear(now);
        }
    }
}

pub(super) fn online(now: Instant, server: &mut Server) -> Client {
    let mut client = Client::new(1, now);
    client.open(now, &id());
    exchange(now, &mut client, server);
    assert!(matches!(client.status, Some(LinkStatus::Online { .. })));
    client
}

pub(super) fn edit(now: Instant, client: &mut Client) {
    let (_, input) = client.edit(&id());
    client.tell(now, input);
}

pub(super) fn say(now: Instant, client: &mut Client, frame: impl Into<wire::ServerFrame>) {
    client.to_client.push_back(encode(&frame.into()));
    client.hear(now);
}

/// When the next attempt to connect is made.
pub(super) fn redialed(client: &mut Client, mut now: Instant) -> Instant {
    while !client.dialing {
        now = client.session.next_timeout().expect("it comes back").max(now);
        client.tell(now, Input::Tick);
    }
    now
}
