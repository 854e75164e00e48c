//! Who may do what, on a real server process over real sockets: every protocol, role, operation and fault of a token
//! against the one table in `schema::access`; and what is taken back on connections that are open.

#![allow(clippy::unwrap_used, reason = "a failure here fails the test")]

mod http;
mod live;
mod native;
mod repo;
mod secrets;
mod server;
mod table;
