//! A server that does what the protocol says, clients that do what the driver does, and a network between them that can be
//! cut at any frame.

mod client;
mod locks;
mod network;
mod server;

pub(super) use self::{
    client::Client,
    server::{Mood, Server},
};
