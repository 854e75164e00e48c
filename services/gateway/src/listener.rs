//! Accepts connections, within limits, and hands them to HTTP.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower::ServiceExt;

use crate::{http::problem::Problem, lock, options::Limits, shared::Shared, upgrade};

/// Bytes of a request's head, and of a buffer while a connection speaks HTTP.
const HTTP_BUFFER: usize = 16 << 10;

/// Headers of a request.
const HEADERS: usize = 64;

/// How long nothing is accepted after the system refused to.
const PAUSE: Duration = Duration::from_millis(100);

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
}

/// How many connections there are, from where.
pub(crate) struct Admission {
    most: usize,
    most_per_network: usize,
    count_loopback: bool,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    all: usize,
    networks: HashMap<IpAddr, usize>,
}

/// The right to a connection, given back when dropped.
pub(crate) struct Permit {
    admission: Arc<Admission>,
    network: Option<IpAddr>,
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
        Self {
            most: limits.connections,
            most_per_network: match limits.connections_per_address {
                0 => usize::MAX,
                most => most,
            },
            count_loopback: limits.count_loopback,
            counts: Mutex::default(),
        }
    }

    /// No limit on where they come from.
    pub(crate) fn trusting(limits: &Limits) -> Self {
        Self {
            most_per_network: usize::MAX,
            ..Self::new(limits)
        }
    }

    /// Counts a connection, unless it is one too many: the network it is counted under.
    fn enter(&self, address: IpAddr) -> Result<Option<IpAddr>, Full> {
        let counted = self.most_per_network != usize::MAX && (self.count_loopback || !address.is_loopback());
        let network = counted.then(|| network(address));
        let mut counts = lock(&self.counts);
        if counts.all >= self.most {
            return Err(Full::All);
        }
        if let Some(network) = network {
            let count = counts.networks.entry(network).or_default();
            if *count >= self.most_per_network {
                return Err(Full::Network);
            }
            *count += 1;
        }
        counts.all += 1;
        Ok(network)
    }

    fn leave(&self, network: Option<IpAddr>) {
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

/// The address itself, or the /64 network that an IPv6 host has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let prefix = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(prefix))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Accepts until `stop` is ready.
pub(crate) async fn run(listener: TcpListener, service: Service, admission: Admission, stop: impl Future<Output = ()>) {
    let admission = Arc::new(admission);
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => admit(&service, &admission, stream, address),
                Err(error) => on_error(&error).await,
            },
        }
    }
}

/// Most errors belong to the connection that was being accepted; with those that do not, such as too many open files,
/// accepting again at once would spin.
async fn on_error(error: &io::Error) {
    let of_connection = matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    );
    if !of_connection {
        tracing::warn!(%error, "cannot accept connections");
        sleep(PAUSE).await;
    }
}

fn admit(service: &Service, admission: &Arc<Admission>, stream: TcpStream, address: SocketAddr) {
    let network = match admission.enter(address.ip()) {
        Ok(network) => network,
        Err(full) => {
            service.shared.metrics.refused_connections.inc();
            tracing::debug!(%address, ?full, "refused a connection");
            if full == Full::Network {
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
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "cannot set TCP_NODELAY");
    }
    if service.websocket {
        service.shared.shutdown.spawn(serve(stream, permit));
    } else {
        tokio::spawn(serve(stream, permit));
    }
}

/// Serves one connection for as long as it speaks HTTP.
async fn serve(stream: TcpStream, permit: Arc<Permit>) {
    let shared = permit.service.shared.clone();
    // Health is asked for on the other listener to the very end.
    let graceful = permit.service.websocket;
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
        for address in ["127.0.0.1", "::1"] {
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
    }
}
