//! Who wants to hear of sessions. Each has a queue of its own; one that does not empty it is dropped, and told so.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use aetherflow_schema::{
    id::SessionId,
    sessions::{PAGE, SessionFilter},
};
use tokio::sync::mpsc;

use super::inner::Inner;
use crate::core::{
    effects::{SessionChange, SessionEvent},
    registry::matches,
};

/// Events that may wait for one watcher: at worst a few megabytes, when all sessions have as many attributes as they may.
const WAITING: usize = 1024;

/// What a watcher is told.
#[derive(Debug, Clone)]
pub enum Watched {
    /// Something happened, or exists.
    Event(SessionEvent),
    /// All that existed was told.
    Current,
    /// Too much happened while the watcher did not listen. Nothing more comes.
    Lagged,
}

#[derive(Default)]
pub(super) struct Watchers(Mutex<Vec<Watcher>>);

struct Watcher {
    filter: SessionFilter,
    events: mpsc::Sender<SessionEvent>,
    lagged: Arc<AtomicBool>,
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells everybody; whether there still is somebody.
    pub(super) fn tell(&self, events: &[SessionEvent]) -> bool {
        let mut watchers = self.lock();
        watchers.retain(|watcher| events.iter().all(|event| watcher.offer(event)));
        !watchers.is_empty()
    }
}

impl Watcher {
    fn offer(&self, event: &SessionEvent) -> bool {
        let mut event = event.clone();
        if !matches(&event.session, &self.filter) {
            // It may have left what is watched just now: then for this watcher it is over.
            let states = self.filter.states.is_empty();
            if states || event.change == SessionChange::Created {
                return !self.events.is_closed();
            }
            let anywhere = SessionFilter {
                states: Vec::new(),
                ..self.filter.clone()
            };
            if !matches(&event.session, &anywhere) {
                return !self.events.is_closed();
            }
            event.change = SessionChange::Ended;
        }
        match self.events.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Relaxed);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// A watcher's end. Dropping it ends the watch.
pub struct SessionWatch {
    inner: Arc<Inner>,
    filter: SessionFilter,
    /// Pages of what there is, while they are told.
    existing: Option<Existing>,
    events: mpsc::Receiver<SessionEvent>,
    lagged: Arc<AtomicBool>,
}

#[derive(Default)]
struct Existing {
    page: VecDeque<SessionEvent>,
    after: Option<SessionId>,
    last: bool,
}

impl SessionWatch {
    pub(super) fn start(inner: &Arc<Inner>, filter: SessionFilter, current: bool) -> Self {
        let (sender, events) = mpsc::channel(WAITING);
        let lagged = Arc::new(AtomicBool::new(false));
        inner.change(|registry, _, _| {
            registry.watched = true;
            inner.watchers.lock().push(Watcher {
                filter: filter.clone(),
                events: sender,
                lagged: lagged.clone(),
            });
        });
        Self {
            inner: inner.clone(),
            filter,
            existing: current.then(Existing::default),
            events,
            lagged,
        }
    }

    /// What comes next; `None` when the service is gone, or after [`Watched::Lagged`]. Safe to cancel.
    pub async fn next(&mut self) -> Option<Watched> {
        while let Some(existing) = &mut self.existing {
            if let Some(event) = existing.page.pop_front() {
                return Some(Watched::Event(event));
            }
            if existing.last {
                self.existing = None;
                return Some(Watched::Current);
            }
            let page = self.inner.read().list(&self.filter, existing.after, PAGE);
            existing.last = page.next.is_none();
            existing.after = page.next;
            existing.page = page
                .sessions
                .into_iter()
                .map(|session| SessionEvent {
                    change: SessionChange::Created,
                    session: Arc::new(session),
                })
                .collect();
        }
        match self.events.recv().await {
            Some(event) => Some(Watched::Event(event)),
            None if self.lagged.swap(false, Relaxed) => Some(Watched::Lagged),
            None => None,
        }
    }
}
