//! One session in memory: what is stored of it, and what its connection shares with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use aetherflow_schema::{
    id::ConnectionId,
    sessions::{SessionInfo, SessionSink, SessionState, Traffic, TrafficStats, record::SessionRecord},
};

use super::wheel::TimerId;
use crate::store::Revision;

/// What a session's connection moves without asking anybody.
pub(crate) struct Live {
    /// `None` when the session was made through the service.
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) sink: Option<Arc<dyn SessionSink>>,
    pub(crate) traffic: Traffic,
    heard_ms: AtomicU64,
    idle: AtomicBool,
}

impl Live {
    pub(crate) fn new(connection: Option<(ConnectionId, Arc<dyn SessionSink>)>, now_ms: u64) -> Self {
        let (connection, sink) = connection.unzip();
        Self {
            connection,
            sink,
            traffic: Traffic::default(),
            heard_ms: AtomicU64::new(now_ms),
            idle: AtomicBool::new(false),
        }
    }

    /// Something was heard; `true` when the session is idle and should be woken.
    pub(crate) fn heard(&self, now_ms: u64) -> bool {
        self.heard_ms.fetch_max(now_ms, Relaxed);
        self.idle.load(Relaxed)
    }

    pub(crate) fn heard_ms(&self) -> u64 {
        self.heard_ms.load(Relaxed)
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Relaxed);
    }
}

/// What is known of the stored copy. Held while it is being written, so that writes follow one another.
pub(crate) type Stored = Arc<tokio::sync::Mutex<Option<Revision>>>;

pub(crate) struct Entry {
    /// As it was last stored, or is to be stored; what is in [`Live`] is put in when it is.
    pub(crate) record: SessionRecord,
    /// While this node serves it and it has a client.
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) stored: Stored,
    /// The newest revision of the stored copy that is known; `None` when there is none.
    pub(crate) revision: Option<Revision>,
    /// Grows with each change.
    pub(crate) version: u64,
    /// What was exchanged on earlier connections.
    pub(super) past: TrafficStats,
    /// When its token was made anew; a client that was heard of since then has it.
    pub(super) renewed_ms: u64,
    pub(super) timer: Option<TimerId>,
    pub(super) save_timer: Option<TimerId>,
}

impl Entry {
    pub(crate) fn new(record: SessionRecord, live: Option<Arc<Live>>, stored: Option<Revision>) -> Self {
        Self {
            renewed_ms: record.heard_ms,
            record,
            live,
            stored: Arc::new(tokio::sync::Mutex::new(stored)),
            revision: stored,
            version: 1,
            past: TrafficStats::default(),
            timer: None,
            save_timer: None,
        }
    }

    pub(crate) fn state(&self) -> SessionState {
        self.record.state
    }

    pub(crate) fn heard_ms(&self) -> u64 {
        self.live
            .as_ref()
            .map_or(self.record.heard_ms, |live| live.heard_ms().max(self.record.heard_ms))
    }

    pub(crate) fn traffic(&self) -> TrafficStats {
        let mut sum = self.past;
        if let Some(live) = &self.live {
            let rtt_us = live.traffic.stats().rtt_us;
            sum += live.traffic.stats();
            sum.rtt_us = rtt_us;
        }
        sum
    }

    /// What is to be stored now.
    pub(crate) fn to_record(&self) -> SessionRecord {
        let mut record = self.record.clone();
        record.heard_ms = self.heard_ms();
        record.connection = self.live.as_ref().and_then(|live| live.connection);
        // A client that was heard of has the newest token.
        if let Some(resume) = &mut record.resume
            && record.heard_ms > self.renewed_ms
        {
            resume.before = None;
        }
        record
    }

    pub(crate) fn info(&self) -> SessionInfo {
        let record = &self.record;
        SessionInfo {
            id: record.id,
            principal: record.principal.clone(),
            client: record.client.clone(),
            node: record.node.clone(),
            connection: match &self.live {
                Some(live) => live.connection,
                None => record.connection,
            },
            protocol: record.protocol,
            peer: record.peer,
            created_ms: record.created_ms,
            heard_ms: self.heard_ms(),
            state: record.state,
            resumable: record.resume.is_some(),
            attributes: record.attributes.clone(),
            cursors: record.cursors.clone(),
            traffic: self.traffic(),
            revision: self.version,
        }
    }
}
