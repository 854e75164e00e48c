//! The connection, as the driver has it: an attempt to make one, or one with a frame on its way out and one on its way in.

use std::{future::pending, sync::Arc, time::Duration};

use aetherflow_schema::close::CloseCode;
use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    session::{Outgoing, Parting},
    status::Carrier,
    transport::{BoxFuture, Connection, Transport},
};

/// How long a server may take to say why it closed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a connection that was given up may take to close, unattended.
const CLOSING: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct Wire {
    transport: Box<dyn Transport>,
    patience: Duration,
    dialing: Option<BoxFuture<Dialed>>,
    connected: Option<Connected>,
    /// The last one is being closed.
    closing: Option<BoxFuture<()>>,
}

type Dialed = Result<Arc<dyn Connection>, Parting>;

struct Connected {
    connection: Arc<dyn Connection>,
    sending: Option<BoxFuture<Result<(), Parting>>>,
    receiving: BoxFuture<Result<Bytes, Parting>>,
    /// It takes nothing more, for this reason; a better one should come by then.
    broken: Option<(Parting, Instant)>,
}

/// What happened on the connection.
pub(super) enum Happened {
    Connected {
        frame_bytes: usize,
        takes: u32,
    },
    Sent,
    Received(Bytes),
    /// There is none any more.
    Ended(Parting),
}

impl Wire {
    pub(super) fn new(transport: Box<dyn Transport>, patience: Duration) -> Self {
        Self {
            transport,
            patience,
            dialing: None,
            connected: None,
            closing: None,
        }
    }

    pub(super) fn carrier(&self) -> Option<Carrier> {
        self.connected.as_ref().map(|connected| connected.connection.carrier())
    }

    /// Makes a connection.
    pub(super) fn dial(&mut self) {
        let dialing = timeout(self.patience, self.transport.dial());
        let patience = self.patience;
        self.connected = None;
        self.dialing = Some(Box::pin(async move {
            let late = || Parting {
                code: None,
                reason: format!("no connection within {patience:?}"),
            };
            dialing.await.unwrap_or_else(|_| Err(late()))
        }));
    }

    /// Ends the connection, or the attempt to make one.
    pub(super) fn hang_up(&mut self, code: CloseCode) {
        self.dialing = None;
        if let Some(Connected { connection, broken, .. }) = self.connected.take()
            && broken.is_none()
        {
            let closing = timeout(CLOSING, connection.close(code));
            self.closing = Some(Box::pin(async move {
                let _ = closing.await;
            }));
        }
    }

    /// Waits until the last connection is closed.
    pub(super) async fn finish(&mut self, within: Duration) {
        if let Some(closing) = self.closing.take() {
            let _ = timeout(within, closing).await;
        }
    }

    /// Whether the transport takes a frame.
    pub(super) fn is_ready(&self) -> bool {
        let connected = self.connected.as_ref();
        connected.is_some_and(|connected| connected.sending.is_none() && connected.broken.is_none())
    }

    /// Sends a frame; only when [`Self::is_ready`].
    pub(super) fn send(&mut self, outgoing: Outgoing) {
        if let Some(connected) = &mut self.connected {
            let connection = connected.connection.clone();
            connected.sending = Some(connection.send(outgoing.document, outgoing.frame.encode()));
        }
    }

    /// What happens next. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> Happened {
        let step = loop {
            tokio::select! {
                () = closed(&mut self.closing) => {}
                step = step(&mut self.dialing, &mut self.connected) => break step,
            }
        };
        self.on_step(step)
    }

    fn on_step(&mut self, step: Step) -> Happened {
        match step {
            Step::Dialed(Ok(connection)) => {
                self.dialing = None;
                let (frame_bytes, takes) = (connection.frame_bytes(), connection.takes());
                self.connected = Some(Connected {
                    receiving: connection.clone().receive(),
                    sending: None,
                    connection,
                    broken: None,
                });
                Happened::Connected { frame_bytes, takes }
            }
            Step::Dialed(Err(parting)) => {
                self.dialing = None;
                Happened::Ended(parting)
            }
            Step::Wire(happened) => {
                if let Happened::Ended(_) = happened {
                    self.connected = None;
                }
                happened
            }
        }
    }
}

enum Step {
    Dialed(Dialed),
    Wire(Happened),
}

async fn closed(closing: &mut Option<BoxFuture<()>>) {
    match closing {
        Some(future) => future.await,
        None => pending().await,
    }
    *closing = None;
}

async fn step(dialing: &mut Option<BoxFuture<Dialed>>, connected: &mut Option<Connected>) -> Step {
    match (dialing, connected) {
        (Some(dialing), _) => Step::Dialed(dialing.await),
        (None, Some(connected)) => Step::Wire(connected.next().await),
        (None, None) => pending().await,
    }
}

impl Connected {
    async fn next(&mut self) -> Happened {
        if self.broken.is_none() {
            tokio::select! {
                sent = sent(&mut self.sending) => match sent {
                    Ok(()) => return Happened::Sent,
                    Err(parting) => self.broken = Some((parting, Instant::now() + LAST_WORDS)),
                },
                received = &mut self.receiving => return self.on_received(received),
            }
        }
        // What the server had to say before it closed: frames first, then why.
        let Some((parting, until)) = self.broken.clone() else {
            return Happened::Sent;
        };
        match timeout_at(until, &mut self.receiving).await {
            Ok(Err(last)) if last.code.is_none() => Happened::Ended(parting),
            Ok(received) => self.on_received(received),
            Err(_) => Happened::Ended(parting),
        }
    }

    fn on_received(&mut self, received: Result<Bytes, Parting>) -> Happened {
        match received {
            Ok(frame) => {
                self.receiving = self.connection.clone().receive();
                Happened::Received(frame)
            }
            Err(parting) => Happened::Ended(parting),
        }
    }
}

async fn sent(sending: &mut Option<BoxFuture<Result<(), Parting>>>) -> Result<(), Parting> {
    let result = match sending {
        Some(future) => future.await,
        None => pending().await,
    };
    *sending = None;
    result
}
