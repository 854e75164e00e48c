//! What lies between a client and the server: it can be cut at any frame.

use std::time::Instant;

use aetherflow_schema::{
    close::CloseCode,
    native::{ClientFrame, RequestId, encode, wire},
};
use bytes::Bytes;

use super::{
    super::super::{Input, Parting},
    client::Client,
    server::{Mood, Served, Server, no},
};

impl Client {
    /// As a new transport takes frames, but never many at once.
    pub(in crate::session::tests) fn send(&mut self, now: Instant) {
        while self.connected && self.to_server.len() < 3 {
            let outgoing = self.session.poll_frame(now);
            self.carry_out(now);
            let Some(outgoing) = outgoing else { break };
            self.to_server.push_back(outgoing.frame);
        }
    }

    /// The connection is gone, with everything that is on its way.
    pub(in crate::session::tests) fn cut(&mut self) {
        self.dialing = false;
        self.connected = false;
        self.to_server.clear();
        self.to_client.clear();
        self.served = Served::default();
        self.last_ops = None;
    }

    pub(in crate::session::tests) fn disconnect(&mut self, now: Instant, code: Option<u16>) {
        self.cut();
        let reason = "cut".to_owned();
        self.tell(now, Input::Disconnected(Parting { code, reason }));
    }

    pub(in crate::session::tests) fn connect(&mut self, now: Instant) {
        if std::mem::take(&mut self.dialing) {
            self.connected = true;
            self.tell(
                now,
                Input::Connected {
                    frame_bytes: 1 << 20,
                    takes: 64 << 20,
                },
            );
        }
    }

    /// The server gets the next frame.
    pub(in crate::session::tests) fn serve(&mut self, server: &mut Server) {
        let Some(frame) = self.to_server.pop_front() else {
            return;
        };
        let greeted = std::mem::replace(&mut self.served.greeted, true);
        assert!(
            greeted || matches!(frame, ClientFrame::Hello(_)),
            "{frame:?} before a hello"
        );
        let answer = match frame {
            ClientFrame::Hello(_) => Some(self.welcome(server)),
            ClientFrame::Submit(submit) => Some(server.submit(&submit, std::mem::replace(&mut self.mood, Mood::Fine))),
            ClientFrame::Subscribe(subscribe) => server.subscribe(&mut self.served, subscribe),
            ClientFrame::Unsubscribe(document) => {
                self.served.subscriptions.remove(&document);
                None
            }
            ClientFrame::Presence(presence) => {
                server
                    .present
                    .insert((self.number, presence.document.clone()), presence);
                None
            }
            ClientFrame::Ping(nonce) => Some(wire::ServerFrame::from(wire::Pong {
                nonce,
                server_time_ms: 0,
            })),
            ClientFrame::Fetch(fetch) => {
                let mood = std::mem::replace(&mut self.mood, Mood::Fine);
                self.to_client.extend(server.fetch(&fetch, mood).iter().map(encode));
                None
            }
            ClientFrame::AcquireLock(acquire) => {
                let answer = server.acquire(self.server_session, &acquire);
                Some(self.unless_unknown(acquire.request, answer))
            }
            ClientFrame::ReleaseLock(release) => {
                let answer = server.release(self.server_session, &release);
                Some(self.unless_unknown(release.request, answer))
            }
            ClientFrame::ListLocks(_) => panic!("nobody asks"),
        };
        self.to_client.extend(answer.iter().map(encode));
    }

    /// The answer, unless the server is not in the mood to know it.
    fn unless_unknown(&mut self, request: RequestId, answer: wire::ServerFrame) -> wire::ServerFrame {
        if self.mood != Mood::Unknown {
            return answer;
        }
        self.mood = Mood::Fine;
        no(request, wire::RejectCode::OutcomeUnknown, Some(1_000))
    }

    /// The client goes on with its session, unless it has said goodbye.
    fn welcome(&mut self, server: &mut Server) -> wire::ServerFrame {
        if self.hung_up.take() == Some(CloseCode::Normal) {
            server.end_session(self.server_session);
            self.server_session += 1 << 16;
        }
        wire::ServerFrame::from(wire::Welcome {
            session_id: Bytes::copy_from_slice(uuid::Uuid::from_u128(self.server_session).as_bytes()),
            limits: Some(wire::Limits {
                frame_bytes: 1 << 20,
                change_bytes: 1 << 20,
                submit_changes: 3,
                ..wire::Limits::default()
            }),
            capabilities: self.capabilities.iter().map(|name| (*name).to_owned()).collect(),
            resume_token: Bytes::from_static(b"to go on"),
            ..wire::Welcome::default()
        })
    }

    /// The server sends what it has to say.
    pub(in crate::session::tests) fn tell_news(&mut self, server: &Server) {
        for frame in server.news(&mut self.served) {
            let frame = encode(&frame);
            self.last_ops = Some(frame.clone());
            self.to_client.push_back(frame);
        }
    }

    /// The server says something twice.
    pub(in crate::session::tests) fn repeat(&mut self) {
        self.to_client.extend(self.last_ops.clone());
    }

    /// The client gets the next frame.
    pub(in crate::session::tests) fn hear(&mut self, now: Instant) {
        if let Some(frame) = self.to_client.pop_front() {
            self.tell(now, Input::Frame(frame));
        }
    }
}
