//! Serving the native protocol on a transport that carries whole messages, such as Quantum.
//!
//! A [`Carrier`] is what such a transport has to offer. It knows whether its peer lives, so there are no pings here, and
//! closes with a code and a text. Messages about one document must arrive in order; others may overtake them.
//!
//! Invariants: nothing holds up anything else: while the client takes nothing, its requests are still read as long as
//! there is room, and an end that was decided comes at once.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use aetherflow_schema::{close::CloseCode, documents::BoxFuture, id::DocumentId, sessions};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Native;
use crate::{
    caller::Shown,
    close::Close,
    outbound::{Ending, IDLE_FRAMES, Outbound},
    protocol::{Parting, Protocol},
    shared::Shared,
    websocket::Frame,
};

/// A connection that carries whole messages. Dropping it ends it.
pub trait Carrier: Send + Sync + 'static {
    /// Where the client is.
    fn address(&self) -> SocketAddr;

    /// The next message of the client, or when there will be none, the code with which the client closed, if it did. Nothing
    /// is lost when it is not waited for to the end.
    fn receive(&self) -> BoxFuture<'_, Result<Bytes, Option<u16>>>;

    /// Sends a message, waiting as long as flow control demands; `false` when the connection is gone. What is about the
    /// same document, or about none, arrives in the order in which it was sent.
    fn send(&self, document: Option<DocumentId>, message: Bytes) -> BoxFuture<'_, bool>;

    /// Ends the connection: what was sent before is still delivered if possible.
    fn close(&self, code: CloseCode, reason: &str) -> BoxFuture<'_, ()>;
}

/// Serves a connection to its end.
pub(crate) async fn serve(shared: Arc<Shared>, carrier: &dyn Carrier) {
    let shown = Shown {
        peer: carrier.address(),
        identity: None,
        agent: String::new(),
    };
    if shared.throttle.arrival(shown.peer.ip()).is_err() {
        shared.metrics.throttled.inc();
        return carrier
            .close(CloseCode::RateLimited, CloseCode::RateLimited.reason())
            .await;
    }
    let outbound = shared.new_outbound();
    let connection = outbound.id();
    let ending = {
        let mut connection = Connection {
            timer: Box::pin(sleep(shared.options.timeouts.join())),
            carrier,
            sender: Sender::new(carrier),
            protocol: Native::new(&shared, &outbound, shown, sessions::Protocol::NativeQuantum),
            shared: shared.clone(),
            outbound,
            receiving: None,
            finishing: None,
        };
        poll_fn(|context| connection.poll(context)).await
    };
    if let Some(close) = ending {
        tracing::debug!(%connection, code = close.code.code(), reason = %close.text, "closing");
        shared.metrics.closed(close.code);
        let closing = carrier.close(close.code, &close.text);
        if timeout(shared.options.timeouts.close(), closing).await.is_err() {
            tracing::debug!(%connection, "not closed in time");
        }
    }
}

struct Connection<'a> {
    carrier: &'a dyn Carrier,
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    protocol: Native,
    /// Until it must have said hello; after that, until its session hears again that the transport knows it to live.
    timer: Pin<Box<Sleep>>,
    receiving: Option<BoxFuture<'a, Result<Bytes, Option<u16>>>>,
    sender: Sender<'a>,
    /// The server stops: how to close when everything is done.
    finishing: Option<Close>,
}

/// What is on its way to the client, one message at a time.
struct Sender<'a> {
    carrier: &'a dyn Carrier,
    /// A message on its way, and its bytes in the queue.
    sending: Option<(usize, BoxFuture<'a, bool>)>,
    /// What comes next.
    batch: VecDeque<Frame>,
}

impl<'a> Sender<'a> {
    fn new(carrier: &'a dyn Carrier) -> Self {
        Self {
            carrier,
            sending: None,
            batch: VecDeque::new(),
        }
    }

    /// Whether everything that was taken is sent.
    fn is_idle(&self) -> bool {
        self.sending.is_none() && self.batch.is_empty()
    }

    /// Ready when a message was sent, with its bytes; `None` when the connection is gone.
    fn poll(&mut self, outbound: &Outbound, context: &mut Context<'_>) -> Poll<Option<usize>> {
        let carrier = self.carrier;
        let next = |frame: Frame| {
            let bytes = frame.len();
            let (document, message) = frame.into_message();
            (bytes, carrier.send(document, message))
        };
        let sending = self.sending.take().or_else(|| self.batch.pop_front().map(next));
        let Some((bytes, mut sending)) = sending else {
            return Poll::Pending;
        };
        match sending.as_mut().poll(context) {
            Poll::Ready(true) => {}
            Poll::Ready(false) => return Poll::Ready(None),
            Poll::Pending => {
                self.sending = Some((bytes, sending));
                return Poll::Pending;
            }
        }
        outbound.written(bytes, self.batch.is_empty());
        if self.batch.is_empty() {
            // It takes turns with the queue, so that otherwise both would stay as large as the largest burst.
            self.batch.shrink_to(IDLE_FRAMES);
        }
        Poll::Ready(Some(bytes))
    }

    /// How to end if that was decided, else what comes next, once all before it is sent.
    fn poll_take(&mut self, outbound: &Outbound, context: &Context<'_>) -> Poll<Option<Ending>> {
        let hungry = self.is_idle();
        outbound.poll_take(hungry, &mut self.batch, context)
    }
}

/// Something that a connection may go on with; an error ends it.
type Step<T> = fn(&mut T, &mut Context<'_>) -> Poll<Result<(), Option<Close>>>;

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.outbound.over();
        self.shared.peers.remove(&self.outbound, None);
    }
}

impl Connection<'_> {
    /// Ready when the connection is to end: how to close it, unless it is gone.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Close>> {
        loop {
            let steps: [Step<Self>; 4] = [
                Self::poll_progress,
                Self::poll_send,
                Self::poll_outbound,
                Self::poll_receive,
            ];
            let mut moved = false;
            for step in steps {
                match step(self, context) {
                    Poll::Ready(Ok(())) => moved = true,
                    Poll::Ready(Err(ending)) => return Poll::Ready(ending),
                    Poll::Pending => {}
                }
            }
            if moved {
                continue;
            }
            while self.timer.as_mut().poll(context).is_ready() {
                if !self.protocol.is_introduced() {
                    return Poll::Ready(Some(Close::plain(CloseCode::JoinTimeout)));
                }
                if let Some(session) = self.protocol.session() {
                    session.heard();
                }
                self.protocol.on_tick();
                let next = Instant::now() + self.shared.options.timeouts.keepalive();
                self.timer.as_mut().reset(next);
            }
            if let Some(close) = &self.finishing
                && self.protocol.is_idle()
                && self.sender.is_idle()
                && self.outbound.is_empty()
            {
                return Poll::Ready(Some(close.clone()));
            }
            return Poll::Pending;
        }
    }

    fn poll_progress(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<Close>>> {
        self.protocol.poll_progress(context).map_err(Some)
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<Close>>> {
        let Some(bytes) = ready!(self.sender.poll(&self.outbound, context)) else {
            return Poll::Ready(Err(None));
        };
        if let Some(session) = self.protocol.session() {
            session.traffic().sent(1, bytes as u64);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<Close>>> {
        match self.sender.poll_take(&self.outbound, context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Ok(())),
            Poll::Ready(Some(Ending::Now(close))) => Poll::Ready(Err(Some(close))),
            Poll::Ready(Some(Ending::Finish(close))) => {
                self.protocol.stop(&close);
                self.finishing = Some(close);
                Poll::Ready(Ok(()))
            }
        }
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<Close>>> {
        if self.finishing.is_some() || !self.protocol.has_room() {
            return Poll::Pending;
        }
        let carrier = self.carrier;
        let receiving = self.receiving.get_or_insert_with(|| carrier.receive());
        let Poll::Ready(received) = receiving.as_mut().poll(context) else {
            return Poll::Pending;
        };
        self.receiving = None;
        let frame = match received {
            Ok(frame) => frame,
            Err(code) => {
                if code == Some(CloseCode::Normal.code()) {
                    self.protocol.goodbye();
                }
                return Poll::Ready(Err(None));
            }
        };
        if let Some(session) = self.protocol.session() {
            session.heard();
            session.traffic().received(1, frame.len() as u64);
        }
        match self.protocol.on_frame(frame) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(Parting { close, .. }) => Poll::Ready(Err(Some(close))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use aetherflow_runtime::metrics::Metrics;
    use aetherflow_schema::id::{ConnectionId, PeerId};

    use super::*;
    use crate::metrics::GatewayMetrics;

    /// Takes everything at once.
    struct Eager;

    impl Carrier for Eager {
        fn address(&self) -> SocketAddr {
            SocketAddr::from(([127, 0, 0, 1], 4242))
        }

        fn receive(&self) -> BoxFuture<'_, Result<Bytes, Option<u16>>> {
            Box::pin(std::future::pending())
        }

        fn send(&self, _: Option<DocumentId>, _: Bytes) -> BoxFuture<'_, bool> {
            Box::pin(std::future::ready(true))
        }

        fn close(&self, _: CloseCode, _: &str) -> BoxFuture<'_, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    #[test]
    fn after_a_burst_no_room_is_kept_for_another() {
        let metrics = Arc::new(GatewayMetrics::new(&Metrics::default()));
        let outbound = Outbound::new(ConnectionId(1), PeerId("server".into()), usize::MAX, metrics);
        let mut sender = Sender::new(&Eager);
        let mut context = Context::from_waker(Waker::noop());
        // The second fills what the first was taken into, and the third is none.
        for burst in [10_000, 10_000, 1] {
            for _ in 0..burst {
                outbound.push_frame(Frame::binary(Bytes::from_static(b"frame")));
            }
            assert_eq!(sender.poll_take(&outbound, &context), Poll::Ready(None));
            assert_eq!(sender.batch.len(), burst);
            let mut sent = 0;
            while sender.poll(&outbound, &mut context).is_ready() {
                sent += 1;
            }
            assert_eq!(sent, burst);
            assert!(sender.is_idle());
            assert!(sender.batch.capacity() <= IDLE_FRAMES, "{}", sender.batch.capacity());
        }
    }
}
