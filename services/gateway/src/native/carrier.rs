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
    task::{Context, Poll},
};

use aetherflow_schema::{close::CloseCode, documents::BoxFuture, id::DocumentId, sessions};
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::Native;
use crate::{
    caller::Shown,
    close::Close,
    outbound::{Ending, Outbound},
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
            protocol: Native::new(&shared, &outbound, shown, sessions::Protocol::NativeQuantum),
            shared: shared.clone(),
            outbound,
            receiving: None,
            sending: None,
            batch: VecDeque::new(),
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
    /// A message on its way, and its bytes in the queue.
    sending: Option<(usize, BoxFuture<'a, bool>)>,
    /// What comes next.
    batch: VecDeque<Frame>,
    /// The server stops: how to close when everything is done.
    finishing: Option<Close>,
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
                && self.sending.is_none()
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
        if let Some((bytes, sending)) = &mut self.sending {
            let Poll::Ready(sent) = sending.as_mut().poll(context) else {
                return Poll::Pending;
            };
            if !sent {
                return Poll::Ready(Err(None));
            }
            self.outbound.written(*bytes, self.batch.is_empty());
            if let Some(session) = self.protocol.session() {
                session.traffic().sent(1, *bytes as u64);
            }
            self.sending = None;
        }
        let Some(frame) = self.batch.pop_front() else {
            return Poll::Pending;
        };
        let bytes = frame.len();
        let (document, message) = frame.into_message();
        self.sending = Some((bytes, self.carrier.send(document, message)));
        Poll::Ready(Ok(()))
    }

    fn poll_outbound(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<Close>>> {
        let hungry = self.sending.is_none();
        match self.outbound.poll_take(hungry, &mut self.batch, context) {
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
