//! The smallest useful server and client: whatever a client sends comes back on the same channel.

use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand};
use quantum::{ChannelId, ClientOptions, Endpoint, Fingerprint, Identity, SendOptions, ServerOptions, Trust};

/// Sends messages to and fro over Quantum, and shows how long each takes
///
/// Start a server; it makes a certificate and prints its fingerprint. Start a
/// client with that fingerprint: it is how the client knows the server.
///
///     echo server
///     echo client 127.0.0.1:7400 --fingerprint 5f0c...
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Sends back what comes, until it is stopped.
    Server {
        /// Where to listen. `[::]:7400` serves IPv4 and IPv6.
        #[arg(default_value = "127.0.0.1:7400")]
        addr: SocketAddr,
    },
    /// Sends messages one after the other, prints the round-trip time of each, and ends.
    Client(ClientArgs),
}

#[derive(Args)]
struct ClientArgs {
    /// The server's address.
    #[arg(default_value = "127.0.0.1:7400")]
    addr: SocketAddr,
    /// The SHA-256 of the server's certificate, as the server prints it.
    #[arg(long)]
    fingerprint: Fingerprint,
    /// Messages to send.
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// Bytes of each message.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Milliseconds between an answer and the next message.
    #[arg(long, default_value_t = 100)]
    pause_ms: u64,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Options::parse().role {
        Role::Server { addr } => serve(addr).await,
        Role::Client(args) => ask(args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(addr: SocketAddr) -> Result<(), Failure> {
    let identity = Identity::self_signed(["localhost"])?;
    println!("fingerprint {}", identity.fingerprint());
    let endpoint = Endpoint::server(&ServerOptions::new(identity, ["echo/1"]), addr)?;
    println!("listening on {}", endpoint.local_addr()?);
    while let Some(connection) = endpoint.accept().await {
        tokio::spawn(async move {
            println!("{}: connected", connection.remote());
            let ended = loop {
                let message = match connection.recv().await {
                    Ok(message) => message,
                    Err(ended) => break ended,
                };
                let options = SendOptions::interactive();
                if connection.send(message.channel, options, message.data).await.is_err() {
                    break connection.closed().await;
                }
            };
            println!("{}: {ended}", connection.remote());
        });
    }
    Ok(())
}

async fn ask(args: ClientArgs) -> Result<(), Failure> {
    let endpoint = Endpoint::client(match args.addr {
        SocketAddr::V4(_) => "0.0.0.0:0".parse()?,
        SocketAddr::V6(_) => "[::]:0".parse()?,
    })?;
    let options = ClientOptions::new(&Trust::Pinned(vec![args.fingerprint]), ["echo/1"])?;
    let began = Instant::now();
    let connection = endpoint.connect(&options, args.addr, "localhost").await?;
    println!("connected in {:?}", began.elapsed());
    for n in 1..=args.count {
        let sent = Instant::now();
        connection
            .send(
                ChannelId(0),
                SendOptions::interactive(),
                vec![n as u8; args.size].into(),
            )
            .await?;
        let answer = connection.recv().await?;
        println!("message {n}: {} bytes in {:?}", answer.data.len(), sent.elapsed());
        tokio::time::sleep(Duration::from_millis(args.pause_ms)).await;
    }
    let stats = connection.stats();
    println!("{}", connection.finish().await);
    println!("{stats:#?}");
    endpoint.wait_idle().await;
    Ok(())
}
