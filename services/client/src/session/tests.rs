//! The session against a model of a server, in virtual time.

mod model;
mod property;
mod unit;
