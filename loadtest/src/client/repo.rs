//! A client that speaks the automerge-repo protocol.

use aetherflow_schema::{id::DocumentId, repo::Message};
use bytes::Bytes;

use super::Shared;
use crate::{
    link::Link,
    lock,
    replica::Replica,
    wire::{self, WireError},
};

pub(super) async fn connect(shared: &Shared) -> Result<(Link, String), WireError> {
    let mut socket = shared.options.endpoint.dial().await?;
    let server = wire::join(&mut socket, &shared.name).await?;
    Ok((Link::WebSocket(socket), server))
}

/// What is to be said about a document, if anything.
pub(super) fn say(name: &str, server: &str, document: &DocumentId, replica: &mut Replica) -> Option<Bytes> {
    Some(wire::sync_frame(name, server, document, replica.say()?))
}

impl Shared {
    pub(super) fn hear_repo(&self, frame: &Bytes) -> Result<(), WireError> {
        match wire::decode(frame)? {
            Message::Sync { document, data, .. } | Message::Request { document, data, .. } => self
                .on_document(&document, |replica| replica.hear(&data))
                .unwrap_or(Ok(()))
                .map_err(|error| WireError::Nonsense(format!("{document}: {error}"))),
            Message::DocUnavailable { document, .. } => {
                self.on_document(&document, Replica::hear_unavailable);
                Ok(())
            }
            // A stock client logs it and goes on.
            Message::Error { message, .. } => {
                lock(&self.endings).push(WireError::Refused(message.into_owned()));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
