//! Sessions for other servers, over gRPC: `aether.v1.SessionService`, with health and reflection.
//!
//! | module | what |
//! | --- | --- |
//! | `guard` | who calls |
//! | `rights` | who may call what |
//! | `service` | the calls |
//! | `convert` | between messages and what they mean |
//! | `status` | errors as status codes with details |
//! | `connection` | connections, as whoever listens hands them over |
//!
//! **Invariant**: no call but health is carried out without a [`Guard`] having said whose it is. Calls end at the caller's
//! deadline, or after ten seconds; a watch ends with what its caller has shown.

mod connection;
mod convert;
mod guard;
mod rights;
mod service;
mod status;

use std::{future::Future, io, sync::Arc, time::Duration};

use futures_util::stream;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tonic::transport::Server;

pub use self::{
    connection::Connection,
    generated::session_service_client::SessionServiceClient,
    guard::{Guard, GuardFigures},
};
use self::{guard::GuardLayer, service::SessionGrpc};
use crate::service::SessionService;

#[allow(unreachable_pub, clippy::too_many_lines)]
mod generated {
    tonic::include_proto!("aether.v1");
}

/// The service as tonic serves it.
type SessionServer = generated::session_service_server::SessionServiceServer<SessionGrpc>;

/// The name under which the service's health is asked for.
pub const SERVICE_NAME: &str = "aether.v1.SessionService";

/// Its description, for reflection.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/session.fds"));

/// Bytes of a request: twice what the largest one that is allowed needs.
const REQUEST_BYTES: usize = 256 << 10;

/// Bytes of a call's metadata: the longest token, and room for what else there is.
const METADATA_BYTES: u32 = 16 << 10;

/// Calls of one connection at the same time; others wait.
const CALLS: u32 = 256;

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

/// Serves sessions, health and reflection on these connections until `stop` is ready; calls that are under way are answered,
/// and watches end.
///
/// # Errors
/// When it cannot.
pub async fn serve<IO>(
    mut connections: mpsc::Receiver<Connection<IO>>,
    sessions: Arc<SessionService>,
    guard: Arc<Guard>,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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
        health.set_not_serving::<SessionServer>().await;
        // Streams would keep their connections open for ever.
        watches.cancel();
    };
    let incoming =
        stream::poll_fn(move |context| connections.poll_recv(context).map(|next| next.map(Ok::<_, io::Error>)));
    Server::builder()
        .timeout(DEADLINE)
        .concurrency_limit_per_connection(CALLS as usize)
        .max_concurrent_streams(CALLS)
        .http2_max_header_list_size(METADATA_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .max_frame_size(Some(16 << 10))
        .layer(GuardLayer(guard))
        .add_service(server)
        .add_service(health_service)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming, stop)
        .await?;
    Ok(())
}
