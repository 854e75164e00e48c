//! One connection of the native protocol, from the client's side.

use aetherflow_schema::native::{
    ClientFrame, Hello, PATH, decode_server,
    wire::{self as frames, server_frame::Kind},
};
use bytes::Bytes;

use crate::{
    link::Link,
    wire::{self, Endpoint, WireError},
};

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// At `/v1/sync`.
    WebSocket,
    /// On the same port, over UDP.
    Quantum,
}

/// A connection on which hello was said.
pub struct Connection {
    link: Link,
    welcome: frames::Welcome,
}

impl Connection {
    /// Connects over WebSocket and says hello as `name`.
    ///
    /// # Errors
    /// When the server does not answer with a welcome.
    pub async fn open(endpoint: &Endpoint, name: &str) -> Result<Self, WireError> {
        Self::open_on(Transport::WebSocket, endpoint, name).await
    }

    /// Connects and says hello as `name`.
    ///
    /// # Errors
    /// When the server does not answer with a welcome.
    pub async fn open_on(transport: Transport, endpoint: &Endpoint, name: &str) -> Result<Self, WireError> {
        Self::resume_on(transport, endpoint, name, Bytes::new()).await
    }

    /// The same, to go on with the session of an earlier [`welcome`](Self::welcome)'s token.
    ///
    /// # Errors
    /// When the server does not answer with a welcome.
    pub async fn resume_on(
        transport: Transport,
        endpoint: &Endpoint,
        name: &str,
        resume_token: Bytes,
    ) -> Result<Self, WireError> {
        let mut link = match transport {
            Transport::WebSocket => Link::WebSocket(endpoint.dial_at(PATH).await?),
            Transport::Quantum => Link::quantum(endpoint).await?,
        };
        let hello = Hello {
            token: String::new(),
            client_id: name.to_owned(),
            resume_token,
            capabilities: Vec::new(),
            frame_bytes: None,
        };
        link.send(None, ClientFrame::Hello(hello).encode()).await?;
        let answer = wire::in_time(link.receive()).await?;
        match decode(&answer)? {
            Kind::Welcome(welcome) => Ok(Self { link, welcome }),
            other => Err(WireError::Nonsense(format!("{other:?} instead of a welcome"))),
        }
    }

    /// What the server said to the hello.
    pub fn welcome(&self) -> &frames::Welcome {
        &self.welcome
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn say(&mut self, frame: ClientFrame) -> Result<(), WireError> {
        let document = frame.document().cloned();
        self.link.send(document.as_ref(), frame.encode()).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection ended, or none came in time.
    pub async fn hear(&mut self) -> Result<Kind, WireError> {
        let frame = wire::in_time(self.link.receive()).await?;
        decode(&frame)
    }

    /// What carries it.
    pub fn into_link(self) -> Link {
        self.link
    }
}

/// Reads a frame of the server.
///
/// # Errors
/// When it is none.
pub fn decode(frame: &Bytes) -> Result<Kind, WireError> {
    decode_server(frame.clone()).map_err(|error| WireError::Nonsense(error.to_string()))
}
