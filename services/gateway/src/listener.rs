//! Accepts connections, within limits, and hands them to HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
};

use aetherflow_runtime::{
    listen::accept,
    tls::{Speech, Stream, Tls},
};
use aetherflow_schema::network::Network;
use axum::{Router, body::Body, response::IntoResponse};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

use crate::{http::problem::Problem, lock, options::Limits, patience::Patient, shared::Shared, upgrade};

/// Bytes of a request's head, and of a buffer while a connection speaks HTTP.
const HTTP_BUFFER: usize = 16 << 10;

/// Headers of a request.
const HEADERS: usize = 64;

/// Said to a connection that is one too many from its address.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The service behind a listener.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) router: Router,
    /// Whether WebSocket is spoken here: this is the public listener.
    pub(crate) websocket: bool,
    /// With which certificate, if with any.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// How many connections there are, from where.
pub(crate) struct Admission {
    /// Where they come from does not matter.
    trusting: bool,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    most: usize,
    most_per_network: usize,
    count_loopback: bool,
    all: usize,
    networks: HashMap<Network, usize>,
}

/// The right to a connection, given back when dropped.
pub(crate) struct Permit {
    admission: Arc<Admission>,
    network: Option<Network>,
    peer: SocketAddr,
    service: Service,
}

impl Permit {
    /// Where the client is.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.service.shared
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(pub(crate) SocketAddr);

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    All,
    Network,
}

impl Admission {
    /// As many as `limits` allow.
    pub(crate) fn new(limits: &Limits) -> Self {
        let admission = Self {
            trusting: false,
            counts: Mutex::default(),
        };
        admission.set(limits);
        admission
    }

    /// No limit on where they come from.
    pub(crate) fn trusting(limits: &Limits) -> Self {
        Self {
            trusting: true,
            ..Self::new(limits)
        }
    }

    /// As many as these allow, from now on. Nobody is sent away who is there.
    pub(crate) fn set(&self, limits: &Limits) {
        let mut counts = lock(&self.counts);
        counts.most = limits.connections;
        counts.most_per_network = match limits.connections_per_address {
            0 => usize::MAX,
            most => most,
        };
        counts.count_loopback = limits.count_loopback;
    }

    /// Counts a connection, unless it is one too many: the network it is counted under.
    fn enter(&self, address: IpAddr) -> Result<Option<Network>, Full> {
        let network = Network::of(address);
        let mut counts = lock(&self.counts);
        if counts.all >= counts.most {
            return Err(Full::All);
        }
        let counted = !self.trusting && (counts.count_loopback || !network.is_this_machine());
        let network = counted.then_some(network);
        if let Some(network) = network {
            let most = counts.most_per_network;
            let count = counts.networks.entry(network).or_default();
            if *count >= most {
                return Err(Full::Network);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(network)
    }

    fn leave(&self, network: Option<Network>) {
        let mut counts = lock(&self.counts);
        counts.all -= 1;
        if let Some(network) = network
            && let Some(count) = counts.networks.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                counts.networks.remove(&network);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(self.network);
        if self.service.websocket {
            self.service.shared.metrics.connections.dec();
        }
    }
}

/// Accepts until `stop` is ready.
pub(crate) async fn run(
    listener: TcpListener,
    service: Service,
    admission: Arc<Admission>,
    stop: impl Future<Output = ()>,
) {
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            (stream, address) = accept(&listener) => admit(&service, &admission, stream, address),
        }
    }
}

fn admit(service: &Service, admission: &Arc<Admission>, stream: TcpStream, address: SocketAddr) {
    let network = match admission.enter(address.ip()) {
        Ok(network) => network,
        Err(full) => {
            service.shared.metrics.refused_connections.inc();
            tracing::debug!(%address, ?full, "refused a connection");
            if full == Full::Network && service.tls.is_none() {
                // Into an empty send buffer this always fits; if not, the peer learns nothing.
                let _ = stream.try_write(TOO_MANY);
            }
            return;
        }
    };
    if service.websocket {
        service.shared.metrics.connections.inc();
    }
    let permit = Arc::new(Permit {
        admission: admission.clone(),
        network,
        peer: address,
        service: service.clone(),
    });
    if service.websocket {
        service.shared.shutdown.spawn(begin(stream, permit));
    } else {
        tokio::spawn(begin(stream, permit));
    }
}

/// Makes it a connection with TLS, if it should be one.
async fn begin(stream: TcpStream, permit: Arc<Permit>) {
    let Some(tls) = permit.service.tls.clone() else {
        return serve(Stream::Plain(stream), permit).await;
    };
    let (peer, shared) = (permit.peer, permit.service.shared.clone());
    // A handshake costs a signature, so it is asked about like a request.
    if shared.throttle.arrival(peer.ip()).is_err() {
        shared.metrics.throttled.inc();
        return;
    }
    let handshake = tokio::select! {
        handshake = tls.accept(stream, Speech::Http1) => handshake,
        () = shared.shutdown.triggered() => return,
    };
    match handshake {
        Ok(stream) => serve(stream, permit).await,
        Err(error) => tracing::debug!(address = %peer, %error, "no TLS handshake"),
    }
}

/// Serves one connection for as long as it speaks HTTP.
async fn serve(stream: Stream, permit: Arc<Permit>) {
    let shared = permit.service.shared.clone();
    // Health is asked for on the other listener to the very end.
    let graceful = permit.service.websocket;
    let stream = Patient::new(stream, shared.options.timeouts.stalled());
    let answer = service_fn(move |request| answer(permit.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.options.timeouts.header())
        .max_buf_size(HTTP_BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut connection = pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = shared.shutdown.triggered(), if graceful => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "an HTTP connection ended early");
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

fn answer(permit: Arc<Permit>, mut request: Request<Incoming>) -> Answer {
    let service = &permit.service;
    if service.websocket {
        if let Err(too_much) = service.shared.throttle.arrival(permit.peer.ip()) {
            service.shared.metrics.throttled.inc();
            return Box::pin(std::future::ready(Ok(Problem::from(too_much).into_response())));
        }
        if upgrade::is_wanted(request.headers()) {
            return Box::pin(async move { Ok(upgrade::accept(permit, request).await) });
        }
    }
    request.extensions_mut().insert(Address(permit.peer));
    Box::pin(service.router.clone().oneshot(request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(most: usize, per_network: usize, count_loopback: bool) -> Admission {
        Admission::new(&Limits {
            connections: most,
            connections_per_address: per_network,
            count_loopback,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_network_has_its_share_and_gives_it_back() {
        let admission = admission(100, 2, false);
        let permits = ["192.0.2.1", "::ffff:192.0.2.1"].map(|text| admission.enter(ip(text)).unwrap());
        assert_eq!(admission.enter(ip("192.0.2.1")), Err(Full::Network));
        assert!(admission.enter(ip("192.0.2.2")).is_ok());
        admission.leave(permits[0]);
        assert!(admission.enter(ip("192.0.2.1")).is_ok());
        for host in ["2001:db8::1", "2001:db8::2"] {
            assert!(admission.enter(ip(host)).is_ok());
        }
        assert_eq!(
            admission.enter(ip("2001:db8::3")),
            Err(Full::Network),
            "one /64 network"
        );
        assert!(admission.enter(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn this_machine_counts_only_if_it_should() {
        for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            let trusting = admission(100, 1, false);
            assert!((0..5).all(|_| trusting.enter(ip(address)).is_ok()));
            let strict = admission(100, 1, true);
            assert!(strict.enter(ip(address)).is_ok());
            assert_eq!(strict.enter(ip(address)), Err(Full::Network));
        }
    }

    #[test]
    fn there_is_a_limit_on_all() {
        let admission = admission(2, 0, true);
        let first = admission.enter(ip("192.0.2.1")).unwrap();
        assert!(admission.enter(ip("192.0.2.2")).is_ok());
        assert_eq!(admission.enter(ip("192.0.2.3")), Err(Full::All));
        admission.leave(first);
        assert!(admission.enter(ip("192.0.2.3")).is_ok());
        assert_eq!(lock(&admission.counts).all, 2);
        let more = Limits {
            connections: 3,
            ..Limits::default()
        };
        admission.set(&more);
        assert!(admission.enter(ip("192.0.2.3")).is_ok());
        assert_eq!(admission.enter(ip("192.0.2.3")), Err(Full::All));
    }
}
