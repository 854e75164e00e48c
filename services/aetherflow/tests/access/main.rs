//! Who may do what, on a real server process over real sockets: every protocol, role, operation and fault of a token
//! against the one table in `schema::access`; what is taken back on connections that are open; certificates; and what the
//! configuration changes while the server runs.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod faults;
mod grpc;
mod http;
mod live;
mod native;
mod people;
mod reload;
mod repo;
mod secrets;
mod server;
mod table;
mod tls;
mod who;
