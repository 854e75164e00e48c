//! Why a connection was closed: one table of WebSocket close codes (RFC 6455, section 7.4), which Quantum connections
//! use too.

use std::fmt;

/// What a client should do after a close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Do not come back by itself: whoever closed the connection meant it.
    Never,
    /// Connect again, after a delay that grows and is jittered, or the one that a `GoAway` named.
    AfterDelay,
    /// Connect again only after what the code names has been put right: another client version, another token, fewer
    /// documents. Coming back unchanged ends the same way.
    AfterFixing,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $retry:ident, $reason:literal;)*) => {
        /// Why a connection was closed. Codes below 4000 are those of RFC 6455 and its registry; those from 4000 are
        /// ours. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl CloseCode {
            /// Every code there is, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The text that goes with the code on the wire: at most 123 bytes, as RFC 6455 demands.
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }

            /// What the client should do.
            pub const fn retry(self) -> Retry {
                match self { $(Self::$name => Retry::$retry,)* }
            }

            /// The code with this number, if it is one of these.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }
        }
    };
}

close_codes! {
    /// The work is done. The client may come back when it has more.
    Normal = 1000, Never, "done";
    /// The server process stops, or the page was left. Connect again; another server may answer.
    GoingAway = 1001, AfterDelay, "going away";
    /// The peer broke the WebSocket protocol itself. A client that does so needs fixing.
    ProtocolError = 1002, AfterFixing, "protocol error";
    /// A text message where only binary ones are understood. A client that does so needs fixing.
    UnsupportedData = 1003, AfterFixing, "only binary messages are understood";
    /// A rule was broken for which there is no better code. The text in the log says which.
    PolicyViolation = 1008, AfterFixing, "policy violation";
    /// A message was longer than `limits.frame_bytes`. Split the change, or raise the limit.
    MessageTooBig = 1009, AfterFixing, "message too big";
    /// The server failed in a way that it did not foresee. Connect again.
    InternalError = 1011, AfterDelay, "internal error";
    /// The server restarts. Connect again.
    ServiceRestart = 1012, AfterDelay, "restarting";
    /// The server has more to do than it can. Connect again, later than for the other codes.
    TryAgainLater = 1013, AfterDelay, "overloaded, try again later";
    /// Nobody joined (or said hello) in the time allowed after connecting. Connect again.
    JoinTimeout = 4001, AfterDelay, "no join in time";
    /// None of the protocol versions offered is spoken here. The client must be updated.
    UnsupportedVersion = 4002, AfterFixing, "no common protocol version";
    /// A newer connection joined under the same peer id, or went on with the session. Coming back would close that one in
    /// turn.
    Replaced = 4003, Never, "replaced by a newer connection of the same peer";
    /// A message could not be decoded. The client needs fixing.
    MalformedMessage = 4004, AfterFixing, "malformed message";
    /// The client did not read what was sent to it until the bound on its queue was reached. Nothing is lost: sync
    /// again from a new connection.
    SlowReader = 4005, AfterDelay, "reading too slowly";
    /// More documents are open on the connection than allowed. Close some, or use a second connection.
    TooManyDocuments = 4006, AfterFixing, "too many open documents";
    /// Too many connections from the client's address. One may be free later.
    TooManyConnections = 4007, AfterDelay, "too many connections from this address";
    /// A ping was not answered in time. Connect again.
    KeepAliveTimeout = 4008, AfterDelay, "ping not answered in time";
    /// There was no token, or one that does not verify. Get another.
    Unauthorized = 4009, AfterFixing, "not authenticated";
    /// The principal may not connect, or claimed a peer id that is somebody else's. Another principal may.
    Forbidden = 4010, AfterFixing, "not allowed";
    /// The token was good but has expired. Get a fresh one and connect again.
    TokenExpired = 4011, AfterFixing, "token expired";
    /// The client exceeded a rate limit and did not heed it. Connect again, and send less.
    RateLimited = 4012, AfterDelay, "rate limit exceeded";
    /// The server hands its clients over to others before it stops. Connect again.
    Draining = 4013, AfterDelay, "server draining";
    /// An operator ended the session, or nothing was heard of it for too long. Connect again, to get another one.
    SessionEnded = 4014, AfterDelay, "the session was ended";
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_again_by_its_number() {
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_code(code.code()), Some(*code));
        }
        let known = (0..=u16::MAX).filter_map(CloseCode::from_code);
        assert!(
            known.eq(CloseCode::ALL.iter().copied()),
            "in ascending order, each once"
        );
    }

    #[test]
    fn every_code_may_be_sent_and_its_reason_fits_a_close_frame() {
        for code in CloseCode::ALL {
            // RFC 6455, 7.4: 1004 to 1006 and 1015 are never sent; 4000 to 4999 are for applications.
            let number = code.code();
            assert!(
                matches!(number, 1000..=1003 | 1007..=1014 | 4000..=4999),
                "{number} must not be sent"
            );
            assert!(!code.reason().is_empty() && code.reason().len() <= 123, "{code}");
        }
    }

    #[test]
    fn the_numbers_clients_were_told_stay() {
        let told = [
            (CloseCode::Normal, 1000, Retry::Never),
            (CloseCode::GoingAway, 1001, Retry::AfterDelay),
            (CloseCode::MessageTooBig, 1009, Retry::AfterFixing),
            (CloseCode::TryAgainLater, 1013, Retry::AfterDelay),
            (CloseCode::UnsupportedVersion, 4002, Retry::AfterFixing),
            (CloseCode::Replaced, 4003, Retry::Never),
            (CloseCode::MalformedMessage, 4004, Retry::AfterFixing),
            (CloseCode::SlowReader, 4005, Retry::AfterDelay),
            (CloseCode::TokenExpired, 4011, Retry::AfterFixing),
            (CloseCode::Draining, 4013, Retry::AfterDelay),
        ];
        for (code, number, retry) in told {
            assert_eq!((code.code(), code.retry()), (number, retry), "{code}");
        }
    }

    #[test]
    fn a_code_prints_its_number_and_reason() {
        assert_eq!(CloseCode::SlowReader.to_string(), "4005 (reading too slowly)");
    }
}
