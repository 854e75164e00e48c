//! Sessions for other servers, over gRPC: `aether.v1.SessionService`, with health and reflection.
//!
//! | module | what |
//! | --- | --- |
//! | `service` | the calls |
//! | `convert` | between messages and what they mean |
//! | `status` | errors as status codes with details |
//!
//! The service does not ask who calls: it is for other servers, on an address that only they reach, or behind an
//! interceptor that asks. Calls end at the caller's deadline, or after ten seconds.

mod convert;
mod service;
mod status;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};

pub use self::{generated::session_service_client::SessionServiceClient, service::SessionGrpc};
use crate::service::SessionService;

#[allow(unreachable_pub, clippy::too_many_lines)]
mod generated {
    tonic::include_proto!("aether.v1");
}

/// The service as tonic serves it.
pub type SessionServer = generated::session_service_server::SessionServiceServer<SessionGrpc>;

/// The name under which the service's health is asked for.
pub const SERVICE_NAME: &str = "aether.v1.SessionService";

/// Its description, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/session.fds"));

/// Bytes of a request: twice what the largest one that is allowed needs.
const REQUEST_BYTES: usize = 256 << 10;

/// Calls of one connection at the same time; others wait.
const CALLS: usize = 256;

/// The longest a call may take; watching goes on.
const DEADLINE: Duration = Duration::from_secs(10);

/// Why the service ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket, or HTTP/2.
    #[error("the gRPC service ended: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The description is not one.
    #[error("the gRPC service cannot describe itself: {0}")]
    Description(#[from] tonic_reflection::server::Error),
}

/// The service, to be served beside others.
pub fn server(sessions: Arc<SessionService>) -> SessionServer {
    SessionServer::new(SessionGrpc::new(sessions)).max_decoding_message_size(REQUEST_BYTES)
}

/// Serves sessions, health and reflection until `stop` is ready; calls that are under way are answered, and watches end.
///
/// # Errors
/// When it cannot.
pub async fn serve(
    listener: TcpListener,
    sessions: Arc<SessionService>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<SessionServer>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .build_v1()?;
    let grpc = SessionGrpc::new(sessions);
    let watches = grpc.watches();
    let server = SessionServer::new(grpc).max_decoding_message_size(REQUEST_BYTES);
    let stop = async move {
        stop.await;
        // Streams would keep their connections open for ever.
        watches.cancel();
    };
    Server::builder()
        .timeout(DEADLINE)
        .concurrency_limit_per_connection(CALLS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .max_frame_size(Some(16 << 10))
        .add_service(server)
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop)
        .await?;
    Ok(())
}
