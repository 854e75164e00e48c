//! From an HTTP request to a WebSocket connection (RFC 6455, section 4.2).

use std::{sync::Arc, time::Duration};

use aetherflow_runtime::tls::{Stream, Wire};
use aetherflow_schema::{
    access::Identity,
    native,
    sessions::{ClientId, Protocol, Resume},
};
use axum::body::Body;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{
        CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION, UPGRADE,
    },
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::{
    caller::{self, Shown, Who},
    connection,
    http::{origin::Origin, problem::Problem},
    listener::Permit,
    native::Native,
    outbound::{Ending, Outbound},
    patience::Patient,
    repo_protocol::RepoProtocol,
    shared::Shared,
    stay::{self, Guest},
};

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Repo,
    Native,
}

impl Speech {
    /// What is spoken at a path.
    fn at(path: &str) -> Option<Self> {
        match path {
            "/" | "/automerge" => Some(Self::Repo),
            native::PATH => Some(Self::Native),
            _ => None,
        }
    }
}

/// Whether the client wants to go on in another protocol.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Answers a request for a WebSocket, and serves the connection if the answer is yes. Who shows no token that is good is
/// refused here, where it costs least: a stock client comes back every five seconds whatever it is told.
pub(crate) async fn accept(permit: Arc<Permit>, mut request: Request<Incoming>) -> Response<Body> {
    use axum::response::IntoResponse;

    let shared = permit.shared().clone();
    let Some(speech) = Speech::at(request.uri().path()) else {
        return Problem::new(StatusCode::NOT_FOUND, "no-websocket-here")
            .detail("WebSocket is spoken at /, /automerge and /v1/sync")
            .into_response();
    };
    if let Err(problem) = check(&request) {
        let mut response = problem.into_response();
        let version = HeaderValue::from_static("13");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
        return response;
    }
    if let Err(problem) = Origin::of(request.headers(), &shared.http_options().allowed_origins).demand() {
        return problem.into_response();
    }
    let token = caller::of_upgrade(request.headers(), request.uri());
    let mut shown = Shown {
        peer: permit.peer(),
        identity: None,
        agent: caller::agent(request.headers()),
    };
    // A native client may show its token in its first frame.
    if speech == Speech::Repo || token.is_some() {
        match caller::identify(&shared, token.as_deref()).await {
            Ok(identity) => shown.identity = Some(identity),
            Err(failure) => return Problem::from(failure).into_response(),
        }
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let accept = HeaderValue::try_from(derive_accept_key(key.unwrap_or_default()));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if speech == Speech::Native && lists(request.headers().get(SEC_WEBSOCKET_PROTOCOL), native::SUBPROTOCOL) {
        let named = HeaderValue::from_static(native::SUBPROTOCOL);
        headers.insert(SEC_WEBSOCKET_PROTOCOL, named);
    } else if let Some(Ok(named)) = caller::subprotocol(request.headers()).map(HeaderValue::from_str) {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, named);
    }
    let upgrade = hyper::upgrade::on(&mut request);
    let serving = serve(shared.clone(), upgrade, permit, speech, shown);
    shared.shutdown.spawn(serving);
    response
}

fn check(request: &Request<Incoming>) -> Result<(), Problem> {
    let headers = request.headers();
    let refuse = |status, detail| Err(Problem::new(status, "no-websocket").detail(detail));
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return refuse(StatusCode::BAD_REQUEST, "a WebSocket is asked for by GET in HTTP/1.1");
    }
    if !lists(headers.get(UPGRADE), "websocket") || !lists(headers.get(CONNECTION), "upgrade") {
        let detail = "the only upgrade there is is to WebSocket";
        return refuse(StatusCode::BAD_REQUEST, detail);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return refuse(StatusCode::UPGRADE_REQUIRED, "only version 13 of WebSocket is spoken");
    }
    if headers.get(SEC_WEBSOCKET_KEY).is_none_or(|key| key.len() != 24) {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed");
    }
    Ok(())
}

fn lists(header: Option<&HeaderValue>, token: &str) -> bool {
    header
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token)))
}

async fn serve(shared: Arc<Shared>, upgrade: OnUpgrade, permit: Arc<Permit>, speech: Speech, shown: Shown) {
    let deadline: Duration = shared.options.timeouts.join();
    match timeout(deadline, upgrade).await {
        Ok(Ok(upgraded)) => {
            if let Some((stream, early)) = socket(upgraded) {
                let outbound = shared.new_outbound();
                if let Some(identity) = &shown.identity {
                    outbound.came_with(identity);
                }
                match speech {
                    Speech::Repo => {
                        let repo = repo_protocol(&shared, &outbound, shown).await;
                        Box::pin(connection::serve(shared, stream, early, outbound, repo)).await;
                    }
                    Speech::Native => {
                        let native = Native::new(&shared, &outbound, shown, Protocol::NativeWebSocket);
                        Box::pin(connection::serve(shared, stream, early, outbound, native)).await;
                    }
                }
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "the upgrade failed"),
        Err(_) => tracing::debug!("the upgrade was not completed in time"),
    }
    drop(permit);
}

/// The automerge-repo protocol in a session of its own. Without one the connection is closed as soon as it is served.
async fn repo_protocol(shared: &Arc<Shared>, outbound: &Arc<Outbound>, shown: Shown) -> RepoProtocol {
    let identity = shown.identity.unwrap_or_else(|| Arc::new(Identity::anonymous()));
    let guest = Guest {
        principal: identity.principal.clone(),
        client: ClientId::default(),
        protocol: Protocol::AutomergeRepo,
        peer: shown.peer,
        // Its arrival is written down when it joins, and says its name.
        agent: String::new(),
        resume: Resume::Never,
    };
    let who = Arc::new(Who::new(identity, shown.peer.ip()));
    let session = match stay::open(shared, outbound, guest).await {
        Ok(opened) => {
            who.is_in(opened.handle.id());
            Some(opened.handle)
        }
        Err(close) => {
            outbound.end(Ending::Now(close));
            None
        }
    };
    RepoProtocol::new(shared, outbound, who, session, (shown.peer, shown.agent))
}

/// The socket itself, and what was read from it already.
fn socket(upgraded: Upgraded) -> Option<(Wire, bytes::Bytes)> {
    match upgraded.downcast::<TokioIo<Patient<Stream>>>() {
        Ok(parts) => Some((parts.io.into_inner().into_inner().into(), parts.read_buf)),
        Err(_) => {
            tracing::error!("an upgraded connection is of an unknown kind");
            None
        }
    }
}
