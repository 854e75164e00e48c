//! A service on a loopback socket, and a client of it.

use std::sync::Arc;

use aetherflow_schema::{
    access::{Anybody, Unthrottled},
    sessions::{NodeId, wire},
};
use aetherflow_session::{
    Clock, SessionOptions, SessionService,
    grpc::{self, Connection, Guard, SessionServiceClient},
    store::memory::MemoryStore,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

pub(crate) struct Server {
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
    pub(crate) channel: Channel,
}

pub(crate) async fn start() -> (Server, SessionServiceClient<Channel>) {
    guarded(Guard::new(Arc::new(Anybody), Arc::new(Unthrottled), true)).await
}

pub(crate) async fn guarded(guard: Guard) -> (Server, SessionServiceClient<Channel>) {
    let options = SessionOptions {
        sessions_max: 250,
        ..SessionOptions::new(NodeId::named("node").unwrap())
    };
    let store = Arc::new(MemoryStore::default());
    let service = SessionService::start(options, Clock::new(), store, Vec::new())
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (connections, accepted) = mpsc::channel(1);
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(100));
        loop {
            let (io, peer) = listener.accept().await.unwrap();
            let permit = permits.clone().try_acquire_owned().unwrap();
            if connections.send(Connection { io, peer, permit }).await.is_err() {
                return;
            }
        }
    });
    let task = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        grpc::serve(accepted, Arc::new(service), Arc::new(guard), stopped)
            .await
            .unwrap();
    });
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let client = SessionServiceClient::new(channel.clone());
    (Server { stop, task, channel }, client)
}

pub(crate) fn create(principal: &str) -> wire::CreateSessionRequest {
    wire::CreateSessionRequest {
        principal: principal.to_owned(),
        client_id: "importer".to_owned(),
        attributes: [("job".to_owned(), "7".to_owned())].into(),
        peer: "127.0.0.1:9".to_owned(),
    }
}

pub(crate) async fn created(client: &mut SessionServiceClient<Channel>, principal: &str) -> wire::Session {
    let response = client.create(create(principal)).await.unwrap().into_inner();
    assert_eq!(response.expires_after_ms, 600_000);
    response.session.unwrap()
}

pub(crate) fn reason(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "aetherflow.session");
    (status.code(), info.reason.clone())
}
