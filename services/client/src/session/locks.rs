//! The lock of one document, as this client has it: asked for until whoever holds it gives way, renewed while it is held, given
//! back when what was made under it is settled.
//!
//! **Owns**: which of the application's guards has its turn, and until when the lock is held for certain. **Inputs**: what the
//! guards want, the server's answers, the time. **Effects**: [`Ask`]s to the server, [`LockNews`] for the guards.
//! **Invariants**: one guard at most holds the lock, and not after its time by this client's clock, counted from when it was asked
//! for; each guard hears of one end. Nothing is forgotten before its answer: a guard whose application does not want it any more
//! keeps its turn until the server has nothing of it, so that what is granted to nobody is given back and the next guard has a
//! token of its own. **On failure** the guard is told that it has lost the lock, or will not have it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use aetherflow_schema::{
    locks::Fencing,
    native::{RequestId, wire::RejectCode},
};
use rand::Rng;

use super::{
    Backoff,
    io::{LockId, LockNews, Refusal},
};
use crate::error::{LockError, LockLost};

/// A lock that somebody else holds is asked for again after this at the latest.
const INTERVAL: Duration = Duration::from_secs(2);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Locks {
    /// Who wants it; the first has its turn.
    guards: VecDeque<Guard>,
}

/// Somebody in the application who wants the lock, or has it.
#[derive(Debug)]
struct Guard {
    id: LockId,
    ttl: Duration,
    /// Whoever else holds it has to give way by then.
    deadline: Instant,
    /// Without any answer of the server it ends then.
    give_up: Instant,
    /// How often somebody else held it.
    failures: u32,
    /// What the server said last about that.
    holder: Option<String>,
    /// The application has left it, or was told its end: it stays until the server has nothing of it, and nothing more is told.
    left: bool,
    /// An answer was lost, or said nothing: the server may have granted it.
    unsure: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// To be asked for, then or at once.
    Wanted(Option<Instant>),
    Asked(RequestId, Instant),
    Held(Held),
}

#[derive(Debug)]
struct Held {
    fencing: Fencing,
    until: Instant,
    /// When to ask for more time; at once if there is none.
    renew: Option<Instant>,
    /// A request that is not answered, and when it was made.
    asked: Option<(RequestId, Instant)>,
    /// Its guard is gone.
    giving_back: bool,
    /// The server was told so, perhaps in vain.
    released: bool,
    /// It has asked not to be told again before.
    hold: Option<Instant>,
}

/// What the server is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Acquire(Duration, Option<Fencing>),
    Release(Fencing),
}

/// Why the server did not do what it was asked for.
#[derive(Debug, Clone)]
pub(super) struct No {
    pub(super) refusal: Refusal,
    /// When to ask again, if that makes sense.
    pub(super) retry_after: Option<Duration>,
}

/// For whom, and what.
pub(super) type News = (LockId, LockNews);

impl Locks {
    /// Nothing is left to be done or remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.guards.is_empty()
    }

    /// Somebody wants it for `ttl`, and waits until `deadline` for others; until `give_up` for the server.
    pub(super) fn want(&mut self, id: LockId, ttl: Duration, deadline: Instant, give_up: Instant) {
        self.guards.push_back(Guard {
            id,
            ttl,
            deadline,
            give_up,
            failures: 0,
            holder: None,
            left: false,
            unsure: false,
            stage: Stage::Wanted(None),
        });
    }

    /// Somebody does not want it any more.
    pub(super) fn leave(&mut self, id: LockId) {
        let Some(at) = self.guards.iter().position(|guard| guard.id == id) else {
            return;
        };
        let guard = &mut self.guards[at];
        match &mut guard.stage {
            Stage::Held(held) => held.giving_back = true,
            Stage::Wanted(_) if !guard.unsure => {
                self.guards.remove(at);
            }
            // The answer will be found to be for nobody.
            Stage::Wanted(_) | Stage::Asked(..) => guard.left = true,
        }
    }

    /// What to ask the server for now. `is_settled`: nothing that was made under this token waits for its outcome.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        request: RequestId,
        is_settled: impl Fn(Fencing) -> bool,
    ) -> Option<Ask> {
        let guard = self.guards.front_mut()?;
        match &mut guard.stage {
            // Also for who has left it: the answer tells the token with which to give it back.
            Stage::Wanted(hold) if hold.is_none_or(|hold| hold <= now) => {
                guard.stage = Stage::Asked(request, now);
                Some(Ask::Acquire(guard.ttl, None))
            }
            Stage::Held(held) if held.asked.is_none() => {
                let fencing = held.fencing;
                let may_release = guard.left || held.giving_back && is_settled(fencing);
                let release = may_release && held.hold.is_none_or(|hold| hold <= now);
                if !release && (guard.left || held.renew.is_some_and(|renew| renew > now)) {
                    return None;
                }
                held.asked = Some((request, now));
                held.released |= release;
                Some(match release {
                    true => Ask::Release(fencing),
                    false => Ask::Acquire(guard.ttl, Some(fencing)),
                })
            }
            _ => None,
        }
    }

    /// The server says that it is held with this token for so long.
    pub(super) fn on_granted(&mut self, request: RequestId, fencing: Fencing, ttl: Duration) -> Option<News> {
        let guard = self.guards.front_mut()?;
        let ttl = ttl.min(guard.ttl);
        match &mut guard.stage {
            Stage::Asked(asked, since) if *asked == request => {
                let (until, renew) = (*since + ttl, *since + ttl / 3);
                guard.stage = Stage::Held(Held {
                    fencing,
                    until,
                    renew: Some(renew),
                    asked: None,
                    giving_back: guard.left,
                    released: false,
                    hold: None,
                });
                (!guard.left).then_some((guard.id, LockNews::Granted(fencing, until)))
            }
            Stage::Held(held) if held.is_asked(request) => {
                let since = held.asked.take().map_or(held.until, |(_, since)| since);
                if held.fencing != fencing {
                    held.fencing = fencing;
                    return self.abandon(LockNews::Over(Err(LockLost::NotHeld)));
                }
                held.until = since + ttl;
                held.renew = Some(since + ttl / 3);
                (!guard.left).then_some((guard.id, LockNews::Renewed(held.until)))
            }
            _ => None,
        }
    }

    /// The server has taken it back.
    pub(super) fn on_released(&mut self, request: RequestId) -> Option<News> {
        match &self.guards.front()?.stage {
            Stage::Held(held) if held.is_asked(request) => self.end(LockNews::Over(Ok(()))),
            _ => None,
        }
    }

    /// The server does not do what it was asked for.
    pub(super) fn on_reject(
        &mut self,
        now: Instant,
        request: RequestId,
        no: No,
        backoff: Backoff,
        rng: &mut impl Rng,
    ) -> Option<News> {
        let guard = self.guards.front_mut()?;
        let failures = guard.failures;
        let mut wait = |least| backoff.at_most(INTERVAL).delay_from(least, failures, rng);
        match &mut guard.stage {
            Stage::Asked(asked, _) if *asked == request => {
                let Some(least) = no.retry_after else {
                    return self.end(LockNews::Failed(LockError::Refused(no.refusal)));
                };
                let mut next = now + wait(least);
                guard.unsure |= no.refusal.code == RejectCode::OutcomeUnknown;
                if no.refusal.code == RejectCode::Locked {
                    guard.unsure = false;
                    guard.failures += 1;
                    if now + least > guard.deadline {
                        return self.end(LockNews::Failed(LockError::Held(no.refusal.message)));
                    }
                    guard.holder = Some(no.refusal.message);
                    if next + least > guard.deadline {
                        // For a last time.
                        next = guard.deadline;
                    }
                }
                if guard.left && !guard.unsure {
                    self.guards.pop_front();
                    return None;
                }
                guard.stage = Stage::Wanted(Some(next));
                None
            }
            Stage::Held(held) if held.is_asked(request) => {
                held.asked = None;
                match no.retry_after {
                    Some(least) => {
                        held.hold = Some(now + wait(least));
                        held.renew = held.hold;
                        None
                    }
                    // It was given back before, and the answer was lost; or its time was over with nothing left to be done.
                    None if guard.left || held.released && no.refusal.code == RejectCode::StaleFencing => {
                        self.end(LockNews::Over(Ok(())))
                    }
                    None if no.refusal.code == RejectCode::StaleFencing => {
                        self.end(LockNews::Over(Err(LockLost::NotHeld)))
                    }
                    None => self.abandon(LockNews::Over(Err(LockLost::Refused(no.refusal)))),
                }
            }
            _ => None,
        }
    }

    /// Whose time is over.
    pub(super) fn on_time(&mut self, now: Instant) -> Vec<News> {
        let mut news = Vec::new();
        if let Some(first) = self.guards.front().filter(|first| !first.left) {
            news.extend(match &first.stage {
                Stage::Held(held) if held.until <= now => self.abandon(LockNews::Over(Err(LockLost::Expired))),
                Stage::Wanted(_) | Stage::Asked(..) if first.give_up <= now => {
                    let error = first.holder.clone().map_or(LockError::Late, LockError::Held);
                    self.abandon(LockNews::Failed(error))
                }
                _ => None,
            });
        }
        // Those behind the first one, which has its turn; or behind nobody, while the server has not said so.
        let is_left = self.guards.front().is_some_and(|first| first.left);
        let mut place = 0;
        self.guards.retain(|guard| {
            place += 1;
            let stays = place == 1 || guard.waits_until(is_left) > now;
            if !stays {
                let error = match is_left {
                    true => LockError::Late,
                    false => LockError::Held("another guard of this client has it".to_owned()),
                };
                news.push((guard.id, LockNews::Failed(error)));
            }
            stays
        });
        news
    }

    /// When [`Self::on_time`] or [`Self::poll`] may have something to do.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let is_left = self.guards.front().is_some_and(|first| first.left);
        let first = self.guards.front().map(|guard| match &guard.stage {
            Stage::Wanted(hold) => [*hold, Some(guard.give_up).filter(|_| !is_left)],
            Stage::Asked(..) => [None, Some(guard.give_up).filter(|_| !is_left)],
            Stage::Held(held) => {
                let renew = held.renew.filter(|_| !is_left);
                let next = [renew, held.hold.filter(|_| held.giving_back)];
                let next = next.into_iter().flatten().min();
                [
                    next.filter(|_| held.asked.is_none()),
                    Some(held.until).filter(|_| !is_left),
                ]
            }
        });
        let others = self.guards.iter().skip(1).map(move |guard| guard.waits_until(is_left));
        others.chain(first.into_iter().flatten().flatten())
    }

    /// A new connection, or none: what was asked will not be answered.
    pub(super) fn restart(&mut self) {
        let Some(guard) = self.guards.front_mut() else { return };
        match &mut guard.stage {
            Stage::Wanted(_) => {}
            Stage::Asked(..) => {
                guard.stage = Stage::Wanted(None);
                guard.unsure = true;
            }
            Stage::Held(held) => {
                held.asked = None;
                held.hold = None;
                // Whether it is still held is to be found out.
                held.renew = None;
            }
        }
    }

    /// The server has begun another session with this client: what the last one held, this one does not.
    pub(super) fn session_over(&mut self) -> Option<News> {
        self.guards.retain(|guard| !guard.left);
        let guard = self.guards.front_mut()?;
        guard.unsure = false;
        match guard.stage {
            Stage::Held(_) => self.end(LockNews::Over(Err(LockLost::Session))),
            Stage::Wanted(_) | Stage::Asked(..) => None,
        }
    }

    /// The server knows no locks.
    pub(super) fn unsupported(&mut self) -> Vec<News> {
        let failed = |guard: Guard| match guard.stage {
            Stage::Held(_) => (guard.id, LockNews::Over(Err(LockLost::Session))),
            Stage::Wanted(_) | Stage::Asked(..) => (guard.id, LockNews::Failed(LockError::Unsupported)),
        };
        let guards = self.guards.drain(..).filter(|guard| !guard.left);
        guards.map(failed).collect()
    }

    /// The first guard is told its end. It keeps its turn while the server may have something of it, which may see the end later
    /// than this clock: nobody else has to wait for that.
    fn abandon(&mut self, news: LockNews) -> Option<News> {
        let guard = self.guards.front_mut()?;
        match &mut guard.stage {
            Stage::Wanted(_) if !guard.unsure => return self.end(news),
            Stage::Wanted(_) | Stage::Asked(..) => {}
            Stage::Held(held) => {
                held.giving_back = true;
                held.asked = None;
                held.hold = None;
            }
        }
        let was_left = std::mem::replace(&mut guard.left, true);
        (!was_left).then_some((guard.id, news))
    }

    /// The first one's turn is over.
    fn end(&mut self, news: LockNews) -> Option<News> {
        let guard = self.guards.pop_front().filter(|guard| !guard.left)?;
        Some((guard.id, news))
    }
}

impl Guard {
    /// How long it waits behind another one of this client, or one that is left, which only the server holds up.
    fn waits_until(&self, is_left: bool) -> Instant {
        match is_left {
            true => self.give_up,
            false => self.deadline,
        }
    }
}

impl Held {
    fn is_asked(&self, request: RequestId) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == request)
    }
}
