//! The calls.

use std::{pin::Pin, sync::Arc};

use aetherflow_schema::sessions::{PAGE, Sessions, wire};
use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{
    convert,
    generated::session_service_server::SessionService as Calls,
    guard::Caller,
    rights::Rights,
    status::{failed, invalid, lagged, refused, stopping},
};
use crate::service::{SessionService, SessionWatch, Watched};

/// Sessions of a page that does not say how many it wants.
const PAGE_DEFAULT: usize = 100;

/// See the [module](super).
pub(super) struct SessionGrpc {
    sessions: Arc<SessionService>,
    watches: CancellationToken,
}

impl SessionGrpc {
    /// Serves these sessions.
    pub(super) fn new(sessions: Arc<SessionService>) -> Self {
        Self {
            sessions,
            watches: CancellationToken::new(),
        }
    }

    /// Cancelling it ends all watches.
    pub(super) fn watches(&self) -> CancellationToken {
        self.watches.clone()
    }

    fn expires_after_ms(&self) -> u64 {
        self.sessions.expires_after().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// A watch that goes on.
struct Watching {
    watch: SessionWatch,
    caller: Caller,
    ended: CancellationToken,
}

/// The next event, and the watch unless it is over; its end is told once.
async fn next(watching: Option<Watching>) -> Option<(Result<wire::SessionEvent, Status>, Option<Watching>)> {
    let mut watching = watching?;
    let told = tokio::select! {
        biased;
        // Before anything is told that is not the caller's to hear any more.
        failure = watching.caller.ended() => return Some((Err(refused(&failure)), None)),
        () = watching.ended.cancelled() => None,
        told = watching.watch.next() => told,
    };
    match told {
        Some(Watched::Event(event)) => Some((Ok(convert::event(&event)), Some(watching))),
        Some(Watched::Current) => {
            let event = wire::SessionEvent {
                kind: wire::SessionEventKind::Current.into(),
                session: None,
            };
            Some((Ok(event), Some(watching)))
        }
        Some(Watched::Lagged) => Some((Err(lagged()), None)),
        None => Some((Err(stopping()), None)),
    }
}

#[tonic::async_trait]
impl Calls for SessionGrpc {
    async fn create(
        &self,
        request: Request<wire::CreateSessionRequest>,
    ) -> Result<Response<wire::CreateSessionResponse>, Status> {
        Rights::of(&request)?.demand_all()?;
        let new = convert::new_session(request.into_inner())?;
        let session = self.sessions.create(new).map_err(|error| failed(&error))?;
        Ok(Response::new(wire::CreateSessionResponse {
            session: Some(convert::session(&session)),
            expires_after_ms: self.expires_after_ms(),
        }))
    }

    async fn get(&self, request: Request<wire::GetSessionRequest>) -> Result<Response<wire::Session>, Status> {
        let rights = Rights::of(&request)?;
        let id = convert::session_id("id", &request.get_ref().id)?;
        let session = self.sessions.find(id).await.map_err(|error| failed(&error))?;
        rights.demand(&session)?;
        Ok(Response::new(convert::session(&session)))
    }

    async fn update(&self, request: Request<wire::UpdateSessionRequest>) -> Result<Response<wire::Session>, Status> {
        Rights::of(&request)?.demand_all()?;
        let request = request.into_inner();
        let id = convert::session_id("id", &request.id)?;
        let patch = convert::patch(request)?;
        let session = self.sessions.update(id, patch).map_err(|error| failed(&error))?;
        Ok(Response::new(convert::session(&session)))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteSessionRequest>,
    ) -> Result<Response<wire::DeleteSessionResponse>, Status> {
        let rights = Rights::of(&request)?;
        let request = request.into_inner();
        let id = convert::session_id("id", &request.id)?;
        // Whose it is never changes.
        let session = self.sessions.find(id).await.map_err(|error| failed(&error))?;
        rights.demand(&session)?;
        let ended = self.sessions.end(id, request.expected_revision);
        ended.map_err(|error| failed(&error))?;
        Ok(Response::new(wire::DeleteSessionResponse {}))
    }

    async fn list(
        &self,
        request: Request<wire::ListSessionsRequest>,
    ) -> Result<Response<wire::ListSessionsResponse>, Status> {
        let rights = Rights::of(&request)?;
        let request = request.into_inner();
        let filter = rights.narrow(convert::filter(request.filter)?)?;
        let after = match &*request.page_token {
            "" => None,
            token => Some(convert::session_id("page_token", token)?),
        };
        let limit = match request.page_size as usize {
            0 => PAGE_DEFAULT,
            size if size <= PAGE => size,
            _ => return Err(invalid("page_size", "must be at most 1000")),
        };
        let page = self.sessions.list(filter, after, limit).await;
        let page = page.map_err(|error| failed(&error))?;
        Ok(Response::new(wire::ListSessionsResponse {
            sessions: page.sessions.iter().map(convert::session).collect(),
            next_page_token: page.next.map(|next| next.to_string()).unwrap_or_default(),
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<wire::HeartbeatRequest>,
    ) -> Result<Response<wire::HeartbeatResponse>, Status> {
        Rights::of(&request)?.demand_all()?;
        let id = convert::session_id("id", &request.get_ref().id)?;
        let state = self.sessions.heartbeat(id).map_err(|error| failed(&error))?;
        Ok(Response::new(wire::HeartbeatResponse {
            state: wire::SessionState::from(state).into(),
            expires_after_ms: self.expires_after_ms(),
        }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::SessionEvent, Status>> + Send>>;

    async fn watch(&self, request: Request<wire::WatchSessionsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let rights = Rights::of(&request)?;
        let request = request.into_inner();
        let filter = rights.narrow(convert::filter(request.filter)?)?;
        let watch = self.sessions.watch(filter, request.include_current);
        let watching = Watching {
            watch,
            caller: rights.caller,
            ended: self.watches.clone(),
        };
        Ok(Response::new(Box::pin(stream::unfold(Some(watching), next))))
    }

    async fn statistics(
        &self,
        request: Request<wire::StatisticsRequest>,
    ) -> Result<Response<wire::StatisticsResponse>, Status> {
        Rights::of(&request)?.demand_all()?;
        Ok(Response::new(convert::statistics(&self.sessions.statistics())))
    }
}
