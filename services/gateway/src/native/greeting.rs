//! Answering a hello: the client's session is opened, or gets a fresh token, in a task of its own. A client that is gone
//! meanwhile leaves nothing half done behind: the task goes on to its end, and the session is then one whose connection is
//! gone.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use aetherflow_schema::{close::CloseCode, sessions::SessionHandle};
use tokio::task::JoinHandle;

use super::session::Terms;
use crate::{
    close::Close,
    outbound::Outbound,
    shared::Shared,
    stay::{self, Guest},
};

/// A client that is to be welcomed: its session, and on which terms.
pub(super) type Welcomed = (Box<dyn SessionHandle>, Terms);

/// See the [module](self).
pub(super) struct Greeting(JoinHandle<Result<Welcomed, Close>>);

impl Greeting {
    /// Opens a session.
    pub(super) fn open(shared: Arc<Shared>, outbound: Arc<Outbound>, guest: Guest) -> Self {
        Self(tokio::spawn(async move {
            let client = guest.client.clone();
            let opened = stay::open(&shared, &outbound, guest).await?;
            opened.handle.introduce(client).map_err(|error| stay::lost(&error))?;
            let terms = Terms {
                token: opened.token,
                resume_window: opened.resume_window,
                resumed: opened.resumed.is_some(),
            };
            Ok((opened.handle, terms))
        }))
    }

    /// Makes a fresh token for a session. The one that the client has stays good when that fails.
    pub(super) fn renew(session: Box<dyn SessionHandle>, resume_window: Duration, resumed: bool) -> Self {
        Self(tokio::spawn(async move {
            let token = session.renew().await.unwrap_or_else(|error| {
                tracing::warn!(session = %session.id(), %error, "no fresh token to resume with");
                None
            });
            let terms = Terms {
                token,
                resume_window,
                resumed,
            };
            Ok((session, terms))
        }))
    }

    /// Ready when the client can be welcomed.
    ///
    /// # Errors
    /// How to close its connection.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Welcomed, Close>> {
        Pin::new(&mut self.0).poll(context).map(|ended| match ended {
            Ok(greeted) => greeted,
            Err(error) => {
                tracing::error!(%error, "a session was not opened");
                Err(Close::plain(CloseCode::InternalError))
            }
        })
    }
}
