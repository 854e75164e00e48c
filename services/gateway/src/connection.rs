//! One WebSocket connection's task: waits for its socket, its queue, its protocol and its timer, and carries what they
//! give from one to the other. What a frame means is the [`Protocol`]'s matter.
//!
//! Invariants: nothing is awaited but [`Connection::poll_event`], so that nothing holds up anything else; reading pauses
//! while frames wait for their documents, writing and pinging do not; a peer is given up when nothing was heard of it
//! from one ping to the next, unless it was this side that did not listen, or a long write makes progress.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use aetherflow_runtime::tls::Wire;
use aetherflow_schema::close::CloseCode;
use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep};

use crate::{
    close::Close,
    outbound::{Ending, Outbound},
    protocol::{Parting, Protocol},
    shared::Shared,
    websocket::{Decoder, Frame, Incoming},
    writer::Writer,
};

/// What is read at once. One buffer for each thread, as connections hold none.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into());
}

/// Why the task goes on.
enum Event {
    Timer,
    Ending(Ending),
    Batch,
    Writable,
    Progress(Result<(), Close>),
    Readable,
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// Frames are exchanged.
    Open,
    /// The server stops: what was received is handed over, what is queued is written, then it is closed.
    Finishing(Close),
    /// A close frame is the last thing to be written; then the peer's is waited for, for a while.
    Closing { answered: bool },
    /// It is over.
    Over,
}

/// A connection.
struct Connection<P: Protocol> {
    shared: Arc<Shared>,
    outbound: Arc<Outbound>,
    stream: Wire,
    decoder: Decoder,
    writer: Writer,
    protocol: P,
    timer: Pin<Box<Sleep>>,
    phase: Phase,
    /// Something was heard since the last ping.
    heard: bool,
    /// Whether the socket is asked for more to read before the queue is asked for more to write.
    reads_first: bool,
}

/// Serves a WebSocket connection to its end, in a protocol for its queue. `early` is what the peer sent right behind its
/// request.
pub(crate) async fn serve<P: Protocol>(
    shared: Arc<Shared>,
    stream: Wire,
    early: Bytes,
    outbound: Arc<Outbound>,
    protocol: P,
) {
    let mut connection = Connection::new(shared, stream, outbound, protocol);
    connection.shared.metrics.websockets.inc();
    if let Err(parting) = connection.take(&early) {
        connection.part(parting);
    }
    while connection.phase != Phase::Over {
        let event = poll_fn(|context| connection.poll_event(context)).await;
        connection.handle(event);
    }
}

impl<P: Protocol> Connection<P> {
    fn new(shared: Arc<Shared>, stream: Wire, outbound: Arc<Outbound>, protocol: P) -> Self {
        Self {
            stream,
            decoder: Decoder::new(shared.options.limits.frame_bytes),
            writer: Writer::default(),
            protocol,
            timer: Box::pin(sleep(shared.options.timeouts.join())),
            phase: Phase::Open,
            heard: true,
            reads_first: true,
            shared,
            outbound,
        }
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        if self.timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Timer);
        }
        if let Poll::Ready(progress) = self.protocol.poll_progress(context) {
            return Poll::Ready(Event::Progress(progress));
        }
        self.reads_first = !self.reads_first;
        if self.reads_first && self.poll_readable(context).is_ready() {
            return Poll::Ready(Event::Readable);
        }
        if let Poll::Ready(event) = self.poll_writing(context) {
            return Poll::Ready(event);
        }
        if !self.reads_first && self.poll_readable(context).is_ready() {
            return Poll::Ready(Event::Readable);
        }
        Poll::Pending
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let reads = match self.phase {
            Phase::Open => self.protocol.has_room(),
            Phase::Closing { .. } => true,
            Phase::Finishing(_) | Phase::Over => false,
        };
        if reads {
            self.stream.poll_read_ready(context)
        } else {
            Poll::Pending
        }
    }

    fn poll_writing(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let hungry = self.has_written_all();
        if !matches!(self.phase, Phase::Closing { .. }) {
            match self.outbound.poll_take(hungry, self.writer.batch(), context) {
                Poll::Ready(Some(ending)) => return Poll::Ready(Event::Ending(ending)),
                Poll::Ready(None) => return Poll::Ready(Event::Batch),
                Poll::Pending => {}
            }
        }
        if hungry {
            return Poll::Pending;
        }
        self.stream.poll_write_ready(context).map(|()| Event::Writable)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Timer => self.on_timer(),
            Event::Ending(Ending::Now(close)) => self.close(close),
            Event::Ending(Ending::Finish(close)) => self.finish(close),
            Event::Batch => {
                if let Some(session) = self.protocol.session() {
                    session.traffic().sent(self.writer.batch().len() as u64, 0);
                }
                self.write();
            }
            Event::Writable => self.write(),
            Event::Readable => self.read(),
            Event::Progress(Ok(())) => {}
            Event::Progress(Err(close)) => self.close(close),
        }
        if let Phase::Finishing(close) = &self.phase
            && self.protocol.is_idle()
            && self.has_written_all()
            && self.outbound.is_empty()
        {
            let close = close.clone();
            self.hang_up(close);
        }
    }

    /// Reads once, and acts on every message that is complete.
    fn read(&mut self) {
        let result = READ_BUFFER.with_borrow_mut(|buffer| match self.stream.try_read(buffer) {
            Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
            Ok(n) => Ok(self.take(&buffer[..n])),
            Err(error) => Err(error),
        });
        match result {
            Ok(Ok(())) => {}
            Ok(Err(parting)) => self.part(parting),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => self.lost(&error),
        }
    }

    /// Acts on bytes from the peer, and counts them.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Parting> {
        self.heard = true;
        let mut frames = 0;
        let taken = self.feed(bytes, &mut frames);
        if let Some(session) = self.protocol.session() {
            session.heard();
            session.traffic().received(frames, bytes.len() as u64);
        }
        taken
    }

    fn feed(&mut self, mut bytes: &[u8], frames: &mut u64) -> Result<(), Parting> {
        if matches!(self.phase, Phase::Closing { answered: true } | Phase::Over) {
            return Ok(());
        }
        while let Some(incoming) = self.decoder.feed(&mut bytes)? {
            match incoming {
                Incoming::Close(code) => {
                    self.on_close(code);
                    return Ok(());
                }
                _ if matches!(self.phase, Phase::Closing { .. }) => {}
                Incoming::Ping(content) => self.writer.pong(content),
                Incoming::Pong => {}
                Incoming::Message(frame) => {
                    *frames += 1;
                    self.on_frame(frame)?;
                }
            }
        }
        Ok(())
    }

    fn on_frame(&mut self, frame: Bytes) -> Result<(), Parting> {
        let known = self.protocol.is_introduced();
        self.protocol.on_frame(frame)?;
        if !known && self.protocol.is_introduced() {
            self.set_timer(self.shared.options.timeouts.keepalive());
        }
        Ok(())
    }

    fn has_written_all(&self) -> bool {
        self.writer.is_empty() && !self.stream.has_unsent()
    }

    fn write(&mut self) {
        match self.writer.write(&mut self.stream) {
            Ok(written) => {
                self.shared.metrics.socket_writes.inc();
                if let Some(session) = self.protocol.session() {
                    session.traffic().sent(0, written as u64);
                }
                let all = self.has_written_all();
                self.outbound.written(written, all);
                // Bytes that the system takes while others wait mean that the peer acknowledged earlier ones.
                self.heard |= written > 0 && !all;
                if all {
                    self.on_written();
                }
            }
            Err(error) => self.lost(&error),
        }
    }

    /// Everything is written, a close frame too if there was one.
    fn on_written(&mut self) {
        match self.phase {
            Phase::Closing { answered: true } => self.phase = Phase::Over,
            // No answer will be understood, so the peer has to see that nothing more comes.
            Phase::Closing { answered: false } if self.decoder.has_failed() => {
                if let Err(error) = self.stream.close_write() {
                    self.lost(&error);
                }
            }
            _ => {}
        }
    }

    fn on_timer(&mut self) {
        let keepalive = self.shared.options.timeouts.keepalive();
        match &self.phase {
            Phase::Closing { .. } | Phase::Over => self.phase = Phase::Over,
            _ if !self.protocol.is_introduced() => self.close(Close::plain(CloseCode::JoinTimeout)),
            phase => {
                let listened = *phase == Phase::Open && self.protocol.has_room();
                if listened && !self.heard {
                    self.hang_up(Close::plain(CloseCode::KeepAliveTimeout));
                } else {
                    self.heard = false;
                    self.protocol.on_tick();
                    self.writer.ping();
                    self.set_timer(keepalive);
                }
            }
        }
    }

    /// The peer closes, or answers that this side does.
    fn on_close(&mut self, code: Option<u16>) {
        if matches!(self.phase, Phase::Closing { .. }) && self.has_written_all() {
            self.phase = Phase::Over;
            return;
        }
        tracing::debug!(connection = %self.outbound.id(), ?code, "closed by the peer");
        if code == Some(CloseCode::Normal.code()) {
            self.protocol.goodbye();
        }
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.outbound.over();
            self.writer.end_with(Frame::close_reply(code));
            self.set_timer(self.shared.options.timeouts.close());
        }
        self.phase = Phase::Closing { answered: true };
    }

    /// The server stops.
    fn finish(&mut self, close: Close) {
        if self.phase == Phase::Open {
            self.read();
            // Reading may have ended it.
            if self.phase == Phase::Open {
                self.protocol.stop(&close);
                self.phase = Phase::Finishing(close);
            }
        }
    }

    /// Closes from this side.
    fn close(&mut self, close: Close) {
        self.part(Parting::from(close));
    }

    /// Ends a connection whose peer did nothing wrong: where the protocol wants it so, without a close frame.
    fn hang_up(&mut self, close: Close) {
        if !self.protocol.hangs_up() {
            return self.close(close);
        }
        tracing::debug!(connection = %self.outbound.id(), code = close.code.code(), reason = %close.text, "hanging up");
        self.shared.metrics.closed(close.code);
        self.outbound.over();
        self.phase = Phase::Closing { answered: false };
        self.set_timer(self.shared.options.timeouts.close());
        if let Err(error) = self.stream.close_write() {
            self.lost(&error);
        }
    }

    fn part(&mut self, parting: Parting) {
        let Parting { last: message, close } = parting;
        if matches!(self.phase, Phase::Closing { .. } | Phase::Over) {
            return;
        }
        tracing::debug!(connection = %self.outbound.id(), code = close.code.code(), reason = %close.text, "closing");
        self.shared.metrics.closed(close.code);
        self.outbound.over();
        let last = Frame::close(&close);
        match message {
            Some(message) => {
                self.writer.end_with(Frame::binary(message));
                self.writer.push(last);
            }
            None => self.writer.end_with(last),
        }
        self.phase = Phase::Closing { answered: false };
        self.set_timer(self.shared.options.timeouts.close());
        self.write();
    }

    fn lost(&mut self, error: &io::Error) {
        if error.kind() != ErrorKind::UnexpectedEof || self.phase == Phase::Open {
            tracing::debug!(connection = %self.outbound.id(), %error, "lost");
        }
        self.phase = Phase::Over;
    }

    fn set_timer(&mut self, after: std::time::Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}

impl<P: Protocol> Drop for Connection<P> {
    fn drop(&mut self) {
        self.outbound.over();
        self.shared.peers.remove(&self.outbound, self.protocol.peer());
        self.shared.metrics.websockets.dec();
    }
}
