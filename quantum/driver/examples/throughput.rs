//! How fast messages go through: over loopback in one process, or between two hosts.

use std::{
    net::SocketAddr,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::{Args, Parser, Subcommand};
use quantum::{
    ChannelId, ClientOptions, Connection, Endpoint, Fingerprint, Identity, SendOptions, ServerOptions, Stats, Trust,
};

/// Sends bulk messages as fast as they are taken, and shows megabits per
/// second and the counters of the connection
///
/// On one host, both ends in one process with a thread each:
///
///     throughput loopback --seconds 5
///
/// Between two hosts; the server prints the fingerprint that the client needs:
///
///     throughput server 0.0.0.0:7401
///     throughput client 192.0.2.1:7401 --fingerprint 5f0c...
#[derive(Parser)]
#[command(verbatim_doc_comment)]
struct Options {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Both ends in this process.
    Loopback(Load),
    /// Takes messages, until it is stopped.
    Server {
        /// Where to listen.
        #[arg(default_value = "127.0.0.1:7401")]
        addr: SocketAddr,
    },
    /// Sends messages for a while, and ends.
    Client {
        /// The server's address.
        addr: SocketAddr,
        /// The SHA-256 of the server's certificate, as the server prints it.
        #[arg(long)]
        fingerprint: Fingerprint,
        #[command(flatten)]
        load: Load,
    },
}

#[derive(Args, Clone, Copy)]
struct Load {
    /// How long to send.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of each message.
    #[arg(long, default_value_t = 16_384)]
    size: usize,
    /// Deliver in order rather than as they come.
    #[arg(long)]
    ordered: bool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Options::parse().role) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: Role) -> Result<(), Failure> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    match role {
        Role::Server { addr } => runtime()?.block_on(async { take_all(listen(addr)?.0).await }),
        Role::Client {
            addr,
            fingerprint,
            load,
        } => runtime()?.block_on(send(addr, fingerprint, load)),
        Role::Loopback(load) => {
            let server = runtime()?;
            let (endpoint, fingerprint) = server.block_on(async { listen("127.0.0.1:0".parse()?) })?;
            let addr = endpoint.local_addr()?;
            std::thread::spawn(move || server.block_on(take_all(endpoint)));
            runtime()?.block_on(send(addr, fingerprint, load))
        }
    }
}

fn listen(addr: SocketAddr) -> Result<(Endpoint, Fingerprint), Failure> {
    let identity = Identity::self_signed(["localhost"])?;
    let fingerprint = identity.fingerprint();
    println!("fingerprint {fingerprint}");
    let endpoint = Endpoint::server(&ServerOptions::new(identity, ["throughput/1"]), addr)?;
    println!("listening on {}", endpoint.local_addr()?);
    Ok((endpoint, fingerprint))
}

async fn take_all(endpoint: Endpoint) -> Result<(), Failure> {
    while let Some(connection) = endpoint.accept().await {
        tokio::spawn(take(connection));
    }
    Ok(())
}

async fn take(connection: Connection) {
    let (mut bytes, mut first) = (0, None);
    let ended = loop {
        match connection.recv().await {
            Ok(message) => {
                first.get_or_insert_with(Instant::now);
                bytes += message.data.len() as u64;
            }
            Err(ended) => break ended,
        }
    };
    let took = first.map_or(Duration::ZERO, |first| first.elapsed());
    show("received", bytes, took, &connection.stats());
    println!("{ended}");
}

async fn send(addr: SocketAddr, fingerprint: Fingerprint, load: Load) -> Result<(), Failure> {
    let endpoint = Endpoint::client(match addr {
        SocketAddr::V4(_) => "0.0.0.0:0".parse()?,
        SocketAddr::V6(_) => "[::]:0".parse()?,
    })?;
    let options = ClientOptions::new(&Trust::Pinned(vec![fingerprint]), ["throughput/1"])?;
    let connection = endpoint.connect(&options, addr, "localhost").await?;
    let how = if load.ordered {
        SendOptions::bulk()
    } else {
        SendOptions::bulk().unordered()
    };
    let data = Bytes::from(vec![0x5a; load.size]);
    let (began, mut bytes) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(load.seconds) {
        connection.send(ChannelId(0), how, data.clone()).await?;
        bytes += load.size as u64;
    }
    let ended = connection.finish().await;
    show("delivered", bytes, began.elapsed(), &connection.stats());
    println!("{ended}");
    endpoint.wait_idle().await;
    Ok(())
}

fn show(what: &str, bytes: u64, took: Duration, stats: &Stats) {
    let megabits = bytes as f64 * 8e-6 / took.as_secs_f64();
    println!("{what} {bytes} bytes in {took:.2?}: {megabits:.0} Mbit/s\n{stats:#?}");
}
