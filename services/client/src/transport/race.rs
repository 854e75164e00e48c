//! Two ways to the same server: the better one first, the other one too when that takes long.
//!
//! What worked last goes first for a while, so that where UDP is blocked a reconnect does not wait for it each time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{Either, select};
use tokio::time::{Instant, timeout};

use super::{BoxFuture, Connection, Transport, broken};
use crate::{lock, session::Parting};

/// For how long the second one goes first after it won.
const REMEMBER: Duration = Duration::from_secs(600);

/// See the [module](self).
pub(super) struct Race<A, B> {
    first: Arc<A>,
    second: Arc<B>,
    head_start: Duration,
    /// When the second one won last.
    second_won: Arc<Mutex<Option<Instant>>>,
}

impl<A, B> Race<A, B> {
    pub(super) fn new(first: A, second: B, head_start: Duration) -> Self {
        Self {
            first: Arc::new(first),
            second: Arc::new(second),
            head_start,
            second_won: Arc::default(),
        }
    }
}

type Dialed = Result<Arc<dyn Connection>, Parting>;

impl<A, B> Transport for Race<A, B>
where
    A: Transport + 'static,
    B: Transport + 'static,
{
    fn dial(&self) -> BoxFuture<Dialed> {
        let (first, second) = (self.first.clone(), self.second.clone());
        let second_won = self.second_won.clone();
        let head_start = self.head_start;
        Box::pin(async move {
            let remembered = lock(&second_won).is_some_and(|won| won.elapsed() < REMEMBER);
            let (won, connection) = if remembered {
                let (won, connection) = race(&*second, &*first, head_start).await?;
                (!won, connection)
            } else {
                race(&*first, &*second, head_start).await?
            };
            *lock(&second_won) = match (won, remembered) {
                (true, _) => None,
                // Now and then the first one gets its chance again.
                (false, true) => *lock(&second_won),
                (false, false) => Some(Instant::now()),
            };
            Ok(connection)
        })
    }
}

/// Who won: the favourite or not.
async fn race(
    favourite: &dyn Transport,
    other: &dyn Transport,
    head_start: Duration,
) -> Result<(bool, Arc<dyn Connection>), Parting> {
    let mut running = favourite.dial();
    match timeout(head_start, &mut running).await {
        Ok(Ok(connection)) => return Ok((true, connection)),
        Ok(Err(failed)) => return either(failed, other.dial().await, false),
        Err(_) => {}
    }
    match select(running, other.dial()).await {
        Either::Left((Ok(connection), _)) => Ok((true, connection)),
        Either::Right((Ok(connection), _)) => Ok((false, connection)),
        Either::Left((Err(failed), rest)) => either(failed, rest.await, false),
        Either::Right((Err(failed), rest)) => either(failed, rest.await, true),
    }
}

fn either(failed: Parting, last: Dialed, favourite: bool) -> Result<(bool, Arc<dyn Connection>), Parting> {
    match last {
        Ok(connection) => Ok((favourite, connection)),
        // What a server said counts more than that another one was not reached.
        Err(last) if last.code.is_some() || failed.code.is_none() => {
            let reason = format!("{}; {}", failed.reason, last.reason);
            Err(Parting {
                code: last.code,
                ..broken(reason)
            })
        }
        Err(_) => Err(failed),
    }
}

#[cfg(test)]
mod tests {
    use aetherflow_schema::{close::CloseCode, id::DocumentId};
    use bytes::Bytes;
    use tokio::time::sleep;

    use super::*;
    use crate::transport::Carrier;

    /// Takes so long, and then fails or not.
    struct Dummy(Carrier, u64, bool);

    impl Transport for Dummy {
        fn dial(&self) -> BoxFuture<Dialed> {
            let Self(carrier, ms, works) = *self;
            Box::pin(async move {
                sleep(Duration::from_millis(ms)).await;
                if works {
                    Ok(Arc::new(Dummy(carrier, 0, true)) as Arc<dyn Connection>)
                } else {
                    Err(broken("blocked"))
                }
            })
        }
    }

    impl Connection for Dummy {
        fn carrier(&self) -> Carrier {
            self.0
        }

        fn frame_bytes(&self) -> usize {
            0
        }

        fn takes(&self) -> u32 {
            0
        }

        fn send(self: Arc<Self>, _: Option<DocumentId>, _: Bytes) -> BoxFuture<Result<(), Parting>> {
            Box::pin(async { Ok(()) })
        }

        fn receive(self: Arc<Self>) -> BoxFuture<Result<Bytes, Parting>> {
            Box::pin(async { Err(broken("")) })
        }

        fn close(self: Arc<Self>, _: CloseCode) -> BoxFuture<()> {
            Box::pin(async {})
        }
    }

    /// Who wins, and after how long, in one race after the other.
    async fn races(quantum: (u64, bool), websocket: (u64, bool), times: usize) -> Vec<(Option<Carrier>, u128)> {
        let race = Race::new(
            Dummy(Carrier::Quantum, quantum.0, quantum.1),
            Dummy(Carrier::WebSocket, websocket.0, websocket.1),
            Duration::from_millis(300),
        );
        let mut results = Vec::new();
        for _ in 0..times {
            let start = Instant::now();
            let won = race.dial().await.ok().map(|connection| connection.carrier());
            results.push((won, start.elapsed().as_millis()));
        }
        results
    }

    #[tokio::test(start_paused = true)]
    async fn the_better_one_wins_unless_it_takes_too_long_or_fails() {
        use Carrier::{Quantum, WebSocket};
        let won = |carrier, ms| vec![(Some(carrier), ms)];
        assert_eq!(races((250, true), (1, true), 1).await, won(Quantum, 250));
        assert_eq!(races((360, true), (100, true), 1).await, won(Quantum, 360));
        assert_eq!(races((9_000, true), (100, true), 1).await, won(WebSocket, 400));
        assert_eq!(races((10, false), (100, true), 1).await, won(WebSocket, 110));
        assert_eq!(races((500, true), (10, false), 1).await, won(Quantum, 500));
        assert_eq!(races((500, false), (10, false), 1).await, [(None, 500)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_worked_goes_first_the_next_time() {
        let blocked = races((60_000, false), (50, true), 3).await;
        let times: Vec<_> = blocked.iter().map(|(_, ms)| *ms).collect();
        assert_eq!(times, [350, 50, 50]);
    }
}
