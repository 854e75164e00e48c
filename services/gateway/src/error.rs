//! Why a gateway does not start.

use std::{io, net::SocketAddr};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The key of the configuration.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}
