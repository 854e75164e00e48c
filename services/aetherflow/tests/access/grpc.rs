//! The gRPC service for sessions: there are no documents in it, so it has a table of its own.

use aetherflow_schema::sessions::wire;
use aetherflow_session::grpc::SessionServiceClient;
use tonic::{Code, Request, Status, Streaming, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::{
    native,
    server::{DEADLINE, Server, within},
};

pub(crate) struct Client(SessionServiceClient<Channel>, Option<String>);

/// What may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Get,
    GetAnothers,
    Update,
    Delete,
    DeleteAnothers,
    List,
    ListAnothers,
    Heartbeat,
    Watch,
    WatchAnothers,
    Statistics,
}

impl Call {
    pub(crate) const ALL: [Self; 12] = [
        Self::Create,
        Self::Get,
        Self::GetAnothers,
        Self::Update,
        Self::List,
        Self::ListAnothers,
        Self::Heartbeat,
        Self::Watch,
        Self::WatchAnothers,
        Self::Statistics,
        Self::Delete,
        Self::DeleteAnothers,
    ];

    /// Whether it is for those who look after themselves only.
    pub(crate) fn is_about_oneself(self) -> bool {
        matches!(self, Self::Get | Self::Delete | Self::List | Self::Watch)
    }
}

pub(crate) async fn channel(server: &Server) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", server.grpc)).unwrap();
    within("a gRPC connection", endpoint.timeout(DEADLINE).connect())
        .await
        .unwrap()
}

/// The reason for programs that a status gives.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    (status.code(), reason.unwrap_or_default())
}

pub(crate) async fn healthy(server: &Server) {
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel(server).await).check(request).await;
    assert_eq!(answer.unwrap().into_inner().status, 1);
}

fn filter(principal: &str) -> Option<wire::SessionFilter> {
    Some(wire::SessionFilter {
        principal: principal.to_owned(),
        ..wire::SessionFilter::default()
    })
}

/// Why a watch ends.
pub(crate) async fn end_of(watch: &mut Streaming<wire::SessionEvent>) -> (Code, String) {
    loop {
        match within("the end of a watch", watch.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => return (Code::Ok, String::new()),
            Err(status) => return reason(&status),
        }
    }
}

/// Two open native connections, and the sessions they have.
pub(crate) struct Sessions {
    _own: native::Client,
    _other: native::Client,
    own: String,
    other: String,
}

impl Client {
    pub(crate) async fn new(server: &Server, token: Option<&str>) -> Self {
        let client = SessionServiceClient::new(channel(server).await);
        Self(client, token.map(str::to_owned))
    }

    fn by<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.1 {
            let header = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", header);
        }
        request
    }

    /// Connects this client, and somebody else. `by_all` may see everything.
    pub(crate) async fn sessions(&self, server: &Server, other: &str) -> Sessions {
        let own = native::Client::hello(server.address, self.1.as_deref()).await.unwrap();
        let other = native::Client::hello(server.address, Some(other)).await.unwrap();
        Sessions {
            own: own.session.clone(),
            other: other.session.clone(),
            _own: own,
            _other: other,
        }
    }

    /// Watches all sessions.
    pub(crate) async fn watch(&self) -> Streaming<wire::SessionEvent> {
        let request = self.by(wire::WatchSessionsRequest::default());
        let mut client = self.0.clone();
        within("a watch", client.watch(request)).await.unwrap().into_inner()
    }

    /// Calls with a token that is no good: why it was refused.
    pub(crate) async fn refused(&self, call: Call) -> Status {
        let mut client = self.0.clone();
        let answer = async {
            match call {
                Call::List => client
                    .list(self.by(wire::ListSessionsRequest::default()))
                    .await
                    .map(drop),
                _ => client.statistics(self.by(wire::StatisticsRequest {})).await.map(drop),
            }
        };
        within("a call", answer).await.unwrap_err()
    }

    /// Calls, as `name` about itself or the session of `other`.
    pub(crate) async fn call(&mut self, call: Call, name: &str, other: &str, on: &Sessions) -> Result<(), Status> {
        let id = match call {
            Call::GetAnothers | Call::DeleteAnothers | Call::Update | Call::Heartbeat => on.other.clone(),
            _ => on.own.clone(),
        };
        let whose = match call {
            Call::ListAnothers | Call::WatchAnothers => other,
            _ => name,
        };
        let client = self.0.clone();
        let answer = async move |this: &Self, mut client: SessionServiceClient<Channel>| match call {
            Call::Create => {
                let request = wire::CreateSessionRequest {
                    principal: name.to_owned(),
                    ..wire::CreateSessionRequest::default()
                };
                client.create(this.by(request)).await.map(drop)
            }
            Call::Get | Call::GetAnothers => client.get(this.by(wire::GetSessionRequest { id })).await.map(drop),
            Call::Update => {
                let request = wire::UpdateSessionRequest {
                    id,
                    ..wire::UpdateSessionRequest::default()
                };
                client.update(this.by(request)).await.map(drop)
            }
            Call::Delete | Call::DeleteAnothers => {
                let request = wire::DeleteSessionRequest {
                    id,
                    expected_revision: None,
                };
                client.delete(this.by(request)).await.map(drop)
            }
            Call::List | Call::ListAnothers => {
                let request = wire::ListSessionsRequest {
                    filter: filter(whose),
                    ..wire::ListSessionsRequest::default()
                };
                let page = client.list(this.by(request)).await?.into_inner();
                assert!(page.sessions.iter().all(|session| session.principal == whose));
                Ok(())
            }
            Call::Heartbeat => client.heartbeat(this.by(wire::HeartbeatRequest { id })).await.map(drop),
            Call::Watch | Call::WatchAnothers => {
                let request = wire::WatchSessionsRequest {
                    filter: filter(whose),
                    include_current: true,
                };
                let mut events = client.watch(this.by(request)).await?.into_inner();
                events.message().await.map(drop)
            }
            Call::Statistics => client.statistics(this.by(wire::StatisticsRequest {})).await.map(drop),
        };
        match within("a call", answer(self, client)).await {
            // These have connections, which keep them alive: whoever is told that was let through.
            Err(status) if call == Call::Heartbeat && status.code() == Code::InvalidArgument => Ok(()),
            answer => answer,
        }
    }
}
