//! A way to the server on which one can listen: passes WebSocket messages on, and notes how clients subscribe.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aetherflow_schema::native::{ClientFrame, PATH, Start};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::{accept_async, client_async, tungstenite::Message};

type Starts = Arc<Mutex<Vec<Start>>>;

pub(crate) struct Tap {
    url: String,
    starts: Starts,
    /// Ends with this.
    _serving: JoinSet<()>,
}

impl Tap {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let starts = Starts::default();
        let noted = starts.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass_on(stream, server, noted.clone()));
            }
        });
        Self {
            url,
            starts,
            _serving: serving,
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How clients have subscribed, in order.
    pub(crate) fn starts(&self) -> Vec<Start> {
        self.starts.lock().unwrap().clone()
    }
}

/// Both ends hear of it when one is gone.
async fn pass_on(stream: TcpStream, server: SocketAddr, starts: Starts) {
    let Ok(onward) = TcpStream::connect(server).await else {
        return;
    };
    let Ok((onward, _)) = client_async(format!("ws://{server}{PATH}"), onward).await else {
        return;
    };
    let Ok(client) = accept_async(stream).await else {
        return;
    };
    let (mut to_client, mut from_client) = client.split();
    let (mut to_server, mut from_server) = onward.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            if let Message::Binary(frame) = &message
                && let Ok(ClientFrame::Subscribe(subscribe)) = ClientFrame::decode(frame.clone())
            {
                starts.lock().unwrap().push(subscribe.start);
            }
            if to_server.send(message).await.is_err() {
                break;
            }
        }
    };
    let down = async {
        while let Some(Ok(message)) = from_server.next().await {
            if to_client.send(message).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
