//! Noticing that a server on Quantum is gone. With TCP the system says so; here it is that packets are under way and nothing comes
//! back, not even that they arrived.
//!
//! Nothing is sent for this while the server answers: the transport itself sends a ping now and then. Once one of its packets is
//! overdue the server is asked at each look, so that a short gap does no harm.

use std::time::Duration;

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// Between two looks while packets are under way.
const LOOK: Duration = Duration::from_millis(500);

/// Between two looks while none are: this costs no packets.
const IDLE_LOOK: Duration = Duration::from_secs(2);

/// So many looks in silence mean that the server is gone: three seconds. They are counted, so that a machine that slept meanwhile
/// takes its time.
const LOOKS: u32 = 6;

/// The same on slow networks, in round trips.
const ROUND_TRIPS: u32 = 4;

/// What the transport knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vital {
    /// Packets that came.
    pub(super) received: u64,
    /// Bytes that are under way.
    pub(super) in_flight: u64,
    /// How often an acknowledgement did not come in time.
    pub(super) overdue: u64,
    pub(super) rtt: Duration,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Pulse {
    sent: Notify,
}

impl Pulse {
    /// Something is sent.
    pub(super) fn sent(&self) {
        self.sent.notify_one();
    }

    /// Returns when the server is gone. `ping` asks it for a sign of life.
    pub(super) async fn stops(&self, look: impl Fn() -> Vital, ping: impl Fn()) {
        let mut last = look();
        let mut silent = 0;
        loop {
            // Or sooner, when something is sent: that leaves a little later, and the silence begins with it.
            let is_idle = silent == 0 && last.in_flight == 0;
            let sends = is_idle && timeout(IDLE_LOOK, self.sent.notified()).await.is_ok();
            if sends || !is_idle {
                sleep(LOOK).await;
            }
            let vital = look();
            let in_flight = if sends { vital.in_flight } else { last.in_flight };
            if vital.received != last.received {
                silent = 0;
            } else if silent > 0 || in_flight > 0 || vital.overdue > last.overdue {
                silent += 1;
                ping();
            }
            last = vital;
            if silent >= LOOKS && LOOK * silent >= vital.rtt * ROUND_TRIPS {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    };

    use tokio::time::Instant;

    use super::*;

    #[derive(Default)]
    struct Peer {
        received: AtomicU64,
        in_flight: AtomicU64,
        overdue: AtomicU64,
        rtt_ms: AtomicU64,
        /// It hears pings.
        hears: AtomicBool,
    }

    impl Peer {
        fn look(&self) -> Vital {
            Vital {
                received: self.received.load(Relaxed),
                in_flight: self.in_flight.load(Relaxed),
                overdue: self.overdue.load(Relaxed),
                rtt: Duration::from_millis(self.rtt_ms.load(Relaxed)),
            }
        }

        fn ping(&self) {
            self.received.fetch_add(self.hears.load(Relaxed).into(), Relaxed);
        }

        /// After how long it is given up; `None` when it is not.
        async fn gone_after(&self, pulse: &Pulse) -> Option<u128> {
            let start = Instant::now();
            let stops = pulse.stops(|| self.look(), || self.ping());
            let stops = timeout(Duration::from_secs(600), stops).await;
            stops.ok().map(|()| start.elapsed().as_millis())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_owes_nothing_or_answers_is_there() {
        let (peer, pulse) = (Peer::default(), Pulse::default());
        // A message that is acknowledged at once.
        pulse.sent();
        assert_eq!(peer.gone_after(&pulse).await, None);
        // Something is always under way, and something comes back, if only to a ping.
        peer.in_flight.store(1_000, Relaxed);
        peer.hears.store(true, Relaxed);
        assert_eq!(peer.gone_after(&pulse).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_from_which_nothing_comes_back_is_gone() {
        let (peer, pulse) = (Peer::default(), Pulse::default());
        peer.in_flight.store(1, Relaxed);
        assert_eq!(peer.gone_after(&pulse).await, Some(3_000));
        // More patience with slow networks.
        peer.rtt_ms.store(2_000, Relaxed);
        assert_eq!(peer.gone_after(&pulse).await, Some(8_000));
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_a_little_after_it_was_sent_is_looked_after_as_soon() {
        let peer = Arc::new(Peer::default());
        let pulse = Arc::new(Pulse::default());
        tokio::spawn({
            let (peer, pulse) = (peer.clone(), pulse.clone());
            async move {
                sleep(Duration::from_millis(10_100)).await;
                pulse.sent();
                sleep(Duration::from_millis(1)).await;
                peer.in_flight.store(1, Relaxed);
            }
        });
        assert_eq!(peer.gone_after(&pulse).await, Some(13_100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_looked_after_at_once_and_a_ping_of_the_transport_soon() {
        for tells in [true, false] {
            let peer = Arc::new(Peer::default());
            let pulse = Arc::new(Pulse::default());
            tokio::spawn({
                let (peer, pulse) = (peer.clone(), pulse.clone());
                async move {
                    sleep(Duration::from_millis(10_100)).await;
                    if tells {
                        peer.in_flight.store(1, Relaxed);
                        pulse.sent();
                    } else {
                        // It was given up as lost before anybody looked.
                        peer.overdue.store(4, Relaxed);
                    }
                }
            });
            let gone = peer.gone_after(&pulse).await.unwrap();
            let latest = if tells { 13_100 } else { 15_000 };
            assert!(gone >= 12_600 && gone <= latest, "{tells}: {gone}");
        }
    }
}
