//! The addresses of a connection: where the peer is, where it was, and proving that it is there. `quantum/SPEC.md` section 6.

use std::net::SocketAddr;

use rand::RngCore;

use crate::{
    bbr::Bbr,
    connection::{Connection, Event},
    path::Path,
    pmtu::Pmtu,
    recovery::Recovery,
    time::Time,
    types::{Side, Space},
};

pub(super) struct Paths {
    current: Path,
    /// The one before, until the current one is proved.
    previous: Option<Path>,
    /// The previous one is to be asked too.
    ask_previous: Option<[u8; 8]>,
}

impl Paths {
    pub(super) fn new(remote: SocketAddr, validated: bool) -> Self {
        Self {
            current: Path::new(remote, validated),
            previous: None,
            ask_previous: None,
        }
    }

    pub(super) fn current(&self) -> &Path {
        &self.current
    }

    pub(super) fn current_mut(&mut self) -> &mut Path {
        &mut self.current
    }

    pub(super) fn due(&self) -> Option<Time> {
        [self.current.gives_up_at(), self.current.resend_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The previous address and the challenge to send there, once.
    pub(super) fn take_previous_challenge(&mut self) -> Option<(SocketAddr, [u8; 8])> {
        let challenge = self.ask_previous.take()?;
        Some((self.previous.as_ref()?.remote(), challenge))
    }
}

impl Connection {
    /// Server: the newest packet came from another address.
    ///
    /// With the id of before it may be that somebody in between forwards packets: then the old address is asked too. With a fresh
    /// id the client means to move, and the new id must not be seen at the old address.
    pub(super) fn migrate(&mut self, now: Time, remote: SocketAddr, same_id: bool) {
        let only_port = self.paths.current.is_rebinding(remote);
        let returns = self
            .paths
            .previous
            .as_ref()
            .is_some_and(|previous| previous.remote() == remote);
        let (mut challenge, mut ask) = ([0; 8], [0; 8]);
        self.rng.fill_bytes(&mut challenge);
        self.rng.fill_bytes(&mut ask);
        if returns {
            if let Some(previous) = self.paths.previous.take() {
                self.paths.current = previous;
            }
            self.paths.ask_previous = None;
        } else {
            let left = std::mem::replace(&mut self.paths.current, Path::new(remote, false));
            if left.is_validated() {
                self.paths.previous = Some(left);
                self.paths.ask_previous = same_id.then_some(ask);
            }
        }
        if !self.paths.current.is_validated() {
            // RFC 9000 section 8.2.4: the new path may be slower than the old one.
            let patience = self
                .linger()
                .max(3 * Recovery::new(self.config.initial_rtt).probe_timeout(self.config.max_ack_delay));
            self.paths.current.challenge(challenge, now, now + patience);
        }
        if !only_port {
            self.restart_path(now);
        }
        self.events.push_back(Event::Moved(remote));
    }

    /// Client: this end moves.
    pub(super) fn leave_path(&mut self, now: Time) {
        let linger = self.linger();
        self.ids.take_fresh(now, linger);
        self.outgoing.ping = true;
        self.restart_path(now);
    }

    /// Nothing is known of the path any more.
    fn restart_path(&mut self, now: Time) {
        self.recovery.reset_rtt(self.config.initial_rtt);
        self.bbr = Bbr::new(now, Pmtu::BASE, self.config.initial_rtt, self.rng.next_u64());
        self.pmtu.reset();
        self.marking.on_new_path();
        self.path_began = self.recovery.next_number(Space::Application);
        self.protection.on_new_path();
    }

    pub(super) fn on_path_response(&mut self, data: [u8; 8]) {
        if self.paths.current.on_response(data) {
            self.paths.previous = None;
            self.paths.ask_previous = None;
        }
    }

    /// Timers of paths.
    pub(super) fn check_paths(&mut self, now: Time) {
        if self.paths.current.resend_at().is_some_and(|at| at <= now) {
            self.paths.current.resend_challenge(now);
        }
        if self.paths.current.gives_up_at().is_some_and(|at| at <= now) {
            self.paths.current.abandon_challenge();
            // The peer is not where it seemed to be: back to where it was proved to be.
            if let Some(previous) = self.paths.previous.take() {
                self.paths.current = previous;
                self.events.push_back(Event::Moved(self.paths.current.remote()));
            }
        }
        debug_assert!(self.side == Side::Server || self.paths.previous.is_none());
    }
}
