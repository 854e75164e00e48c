//! A whole gateway on loopback sockets, in front of documents that only record what they are told.

#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod bodies;
mod book;
mod client;
mod credentials;
mod ephemera;
mod history;
mod hostile;
mod http;
mod http_client;
mod ledger;
mod limits;
mod locks;
mod native;
mod native_carrier;
mod native_client;
mod native_reading;
mod operators;
mod origins;
mod people;
mod presence;
mod protocol;
mod recorder;
mod server;
mod shutdown;
mod stay;
