//! What clients show, on connections that are open: keys that take each other's place, and keys that are being fetched.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use aetherflow_schema::{
    access::{AuthFailure, Authenticator, Identity, Principal},
    documents::BoxFuture,
    native::{ClientFrame, Hello, wire::server_frame::Kind},
};
use bytes::Bytes;
use tokio::{sync::watch, time::timeout};

use crate::{
    native_client::NativeClient,
    server::{DEADLINE, Door, Server},
};

/// Knows every key by its name, as one of the same server.
struct Keys {
    /// Keys to verify with are being fetched.
    fetched: watch::Sender<bool>,
    /// Fetched, they are not known all the same.
    unknown: AtomicBool,
    revoked: Mutex<HashSet<String>>,
}

impl Authenticator for Keys {
    fn authenticate(&self, token: Option<&str>, _: u64) -> Result<Identity, AuthFailure> {
        let key = token.filter(|key| !key.is_empty()).ok_or(AuthFailure::Missing)?;
        if !*self.fetched.borrow() || self.unknown.load(Ordering::Relaxed) {
            return Err(AuthFailure::KeysUnavailable);
        }
        let mut identity = Identity::user(Principal::named("ada").unwrap());
        identity.credential = Some(key.into());
        Ok(identity)
    }

    fn is_current(&self, identity: &Identity) -> bool {
        let revoked = self.revoked.lock().unwrap();
        !identity.credential.as_deref().is_some_and(|key| revoked.contains(key))
    }

    fn refreshed(&self) -> BoxFuture<'_, ()> {
        let mut fetched = self.fetched.subscribe();
        Box::pin(async move { drop(fetched.wait_for(|fetched| *fetched).await) })
    }
}

async fn server(fetched: bool) -> (Server, Arc<Keys>) {
    let keys = Arc::new(Keys {
        fetched: watch::Sender::new(fetched),
        unknown: AtomicBool::new(false),
        revoked: Mutex::default(),
    });
    let door = Door {
        authenticator: keys.clone(),
        ..Door::default()
    };
    (Server::behind(door, |_| {}).await, keys)
}

fn hello(token: &str) -> ClientFrame {
    ClientFrame::Hello(Hello {
        token: token.to_owned(),
        client_id: "backend".to_owned(),
        resume_token: Bytes::new(),
        capabilities: Vec::new(),
        frame_bytes: None,
    })
}

async fn welcomed(client: &mut NativeClient, token: &str) {
    client.say(hello(token)).await;
    assert!(matches!(client.hear().await, Kind::Welcome(_)));
}

/// The code with which the server closes the connection, which pings do not put off.
async fn closed(client: &mut NativeClient) -> u16 {
    timeout(DEADLINE, client.closed()).await.expect("an end").0
}

#[tokio::test]
async fn a_key_that_is_shown_later_takes_the_place_of_the_first() {
    let (server, _) = server(true).await;
    let mut client = NativeClient::connect(&server).await;
    welcomed(&mut client, "first").await;
    welcomed(&mut client, "second").await;
    server.watcher.credential_revoked("first");
    assert!(client.settle().await.is_empty(), "it goes on with the second");
    server.watcher.credential_revoked("second");
    assert_eq!(closed(&mut client).await, 4009);
}

#[tokio::test]
async fn a_key_that_is_shown_later_is_asked_about_once_more() {
    let (server, keys) = server(true).await;
    let mut client = NativeClient::connect(&server).await;
    welcomed(&mut client, "first").await;
    // It is revoked between being looked at and being where revocations look for it.
    keys.revoked.lock().unwrap().insert("second".to_owned());
    client.say(hello("second")).await;
    assert_eq!(closed(&mut client).await, 4009);
}

#[tokio::test]
async fn a_hello_waits_for_keys_that_are_being_fetched_and_what_came_behind_it_waits_too() {
    let (server, keys) = server(false).await;
    let mut client = NativeClient::connect(&server).await;
    client.say(hello("new")).await;
    client.say(ClientFrame::Ping(1)).await;
    // Somebody else is served meanwhile, if only with a refusal.
    let mut other = NativeClient::connect(&server).await;
    other.say(ClientFrame::Ping(2)).await;
    assert_eq!(closed(&mut other).await, 1008);
    keys.fetched.send_replace(true);
    assert!(matches!(client.hear().await, Kind::Welcome(_)));
    assert!(matches!(client.hear().await, Kind::Pong(pong) if pong.nonce == 1));
}

#[tokio::test]
async fn a_hello_whose_key_is_not_there_then_either_may_come_again() {
    let (server, keys) = server(false).await;
    keys.unknown.store(true, Ordering::Relaxed);
    let mut client = NativeClient::connect(&server).await;
    client.say(hello("new")).await;
    keys.fetched.send_replace(true);
    assert_eq!(closed(&mut client).await, 1013);
}
