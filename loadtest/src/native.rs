//! One WebSocket connection of the native protocol, from the client's side.

use aetherflow_schema::native::{
    ClientFrame, Hello, PATH, decode_server,
    wire::{self as frames, server_frame::Kind},
};
use bytes::Bytes;

use crate::wire::{self, Endpoint, Socket, WireError};

/// A connection on which hello was said.
pub struct Connection {
    socket: Socket,
    welcome: frames::Welcome,
}

impl Connection {
    /// Connects and says hello as `name`.
    ///
    /// # Errors
    /// When the server does not answer with a welcome.
    pub async fn open(endpoint: &Endpoint, name: &str) -> Result<Self, WireError> {
        let mut socket = endpoint.dial_at(PATH).await?;
        let hello = Hello {
            token: String::new(),
            client_id: name.to_owned(),
            resume_token: Bytes::new(),
            capabilities: Vec::new(),
        };
        wire::send(&mut socket, ClientFrame::Hello(hello).encode()).await?;
        let answer = wire::in_time(wire::receive(&mut socket)).await?;
        match decode(&answer)? {
            Kind::Welcome(welcome) => Ok(Self { socket, welcome }),
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
        wire::send(&mut self.socket, frame.encode()).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection ended, or none came in time.
    pub async fn hear(&mut self) -> Result<Kind, WireError> {
        let frame = wire::in_time(wire::receive(&mut self.socket)).await?;
        decode(&frame)
    }

    /// The socket itself.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

/// Reads a frame of the server.
///
/// # Errors
/// When it is none.
pub fn decode(frame: &Bytes) -> Result<Kind, WireError> {
    decode_server(frame.clone()).map_err(|error| WireError::Nonsense(error.to_string()))
}
