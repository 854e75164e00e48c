//! The session against a model of a server, in virtual time.

mod connection;
mod edits;
mod locks;
mod model;
mod presence;
mod property;
mod steps;
