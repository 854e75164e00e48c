//! Who may call what, for how long and how often.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aetherflow_schema::{
    access::{
        AuthFailure, Authenticator, ClientKind, Identity, Principal, Role, Throttle, TokenGrants, TooMuch, Unthrottled,
    },
    sessions::wire::{self, SessionEventKind},
};
use aetherflow_session::grpc::Guard;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use crate::server::{create, guarded, reason};

/// The name is the token; `all:` before it owns everything.
struct Names;

impl Authenticator for Names {
    fn authenticate(&self, token: Option<&str>, now: u64) -> Result<Identity, AuthFailure> {
        let identity = |name: &str| Identity::user(Principal::named(name).unwrap());
        match token {
            None => Err(AuthFailure::Missing),
            Some("old") => Err(AuthFailure::Expired),
            Some("?") => Err(AuthFailure::Invalid("no token")),
            Some("nobody") => Ok(Identity::anonymous()),
            Some("short") => Ok(Identity {
                expires_at: Some(now + 2),
                ..identity("short")
            }),
            Some(token) => Ok(match token.strip_prefix("all:") {
                None => identity(token),
                Some(name) => Identity {
                    kind: ClientKind::Server,
                    grants: TokenGrants {
                        everywhere: Some(Role::Owner),
                        documents: Vec::new(),
                    },
                    ..identity(name)
                },
            }),
        }
    }
}

fn by<M>(token: &str, message: M) -> tonic::Request<M> {
    let mut request = tonic::Request::new(message);
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    request
}

/// Why somebody was not let in, or may not do it.
fn refusal(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.domain, "aetherflow.access", "{status:?}");
    (status.code(), info.reason.clone())
}

fn list(principal: &str) -> wire::ListSessionsRequest {
    wire::ListSessionsRequest {
        filter: Some(wire::SessionFilter {
            principal: principal.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn each_sees_and_ends_its_own_sessions_and_owners_of_everything_all() {
    let (server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Unthrottled), false)).await;
    for (token, expected) in [("", "token-invalid"), ("old", "token-expired")] {
        let status = client.list(by(token, list(""))).await.unwrap_err();
        assert_eq!(refusal(&status), (Code::Unauthenticated, expected.to_owned()));
    }
    let status = client.list(list("")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "token-missing".to_owned()));
    let health = HealthCheckRequest::default();
    HealthClient::new(server.channel.clone()).check(health).await.unwrap();

    let denied = (Code::PermissionDenied, "not-allowed".to_owned());
    for token in ["ada", "nobody"] {
        let status = client.create(by(token, create("ada"))).await.unwrap_err();
        assert_eq!(refusal(&status), denied);
        let status = client
            .statistics(by(token, wire::StatisticsRequest {}))
            .await
            .unwrap_err();
        assert_eq!(refusal(&status), denied);
    }
    let mut ids = Vec::new();
    for name in ["ada", "bob"] {
        let made = client.create(by("all:backend", create(name))).await.unwrap();
        ids.push(made.into_inner().session.unwrap().id);
    }
    let count = async |token: &str, principal: &str| {
        let listed = client.clone().list(by(token, list(principal))).await;
        listed.map(|page| page.into_inner().sessions.len())
    };
    assert_eq!(count("all:backend", "").await.unwrap(), 2);
    assert_eq!(count("ada", "").await.unwrap(), 1);
    assert_eq!(count("ada", "ada").await.unwrap(), 1);
    assert_eq!(count("carl", "").await.unwrap(), 0);
    assert_eq!(refusal(&count("ada", "bob").await.unwrap_err()), denied);
    assert_eq!(refusal(&count("nobody", "").await.unwrap_err()), denied);

    let get = wire::GetSessionRequest { id: ids[1].clone() };
    let status = client.get(by("ada", get.clone())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::NotFound, "SESSION_NOT_FOUND".to_owned()));
    let delete = wire::DeleteSessionRequest {
        id: ids[1].clone(),
        expected_revision: None,
    };
    let status = client.delete(by("ada", delete.clone())).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    client.get(by("bob", get)).await.unwrap();
    client.delete(by("bob", delete)).await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_the_token_it_was_asked_for_with() {
    let (_server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Unthrottled), false)).await;
    let request = wire::WatchSessionsRequest {
        filter: None,
        include_current: true,
    };
    let mut events = client.watch(by("short", request)).await.unwrap().into_inner();
    let current = events.message().await.unwrap().unwrap();
    assert_eq!(current.kind(), SessionEventKind::Current);
    client.create(by("all:backend", create("short"))).await.unwrap();
    client.create(by("all:backend", create("other"))).await.unwrap();
    let event = events.message().await.unwrap().unwrap();
    assert_eq!(event.session.unwrap().principal, "short");
    let status = events.message().await.unwrap_err();
    assert_eq!(refusal(&status), (Code::Unauthenticated, "token-expired".to_owned()));
}

/// One arrival, and nothing after it.
#[derive(Default)]
struct Once(AtomicBool);

impl Throttle for Once {
    fn arrival(&self, _: IpAddr) -> Result<(), TooMuch> {
        match self.0.swap(true, Ordering::Relaxed) {
            false => Ok(()),
            true => Err(TooMuch {
                retry_after: Duration::from_secs(7),
            }),
        }
    }

    fn operation(&self, _: &Identity, address: IpAddr, bytes: usize) -> Result<(), TooMuch> {
        assert!(address.is_loopback() && bytes < 100);
        Ok(())
    }
}

#[tokio::test]
async fn whoever_calls_too_often_is_told_when_to_come_back() {
    let (_server, mut client) = guarded(Guard::new(Arc::new(Names), Arc::new(Once::default()), false)).await;
    client.list(by("ada", list(""))).await.unwrap();
    // Before its token is looked at.
    let status = client.list(by("old", list(""))).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::ResourceExhausted, "rate-limited".to_owned()));
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_secs(7)));
}
