//! Where somebody is, as limits count it.
//!
//! **Invariant**: an IPv4 address is the same one however a socket writes it; one that serves both families writes
//! `::ffff:192.0.2.1`.

use std::net::{IpAddr, Ipv6Addr};

/// One IPv4 address, or the /64 network that an IPv6 host has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// Where this address is.
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
            }
            address => address,
        })
    }

    /// Whether that is this machine.
    pub fn is_this_machine(self) -> bool {
        self.0.is_loopback()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_one_however_it_is_written_and_an_ipv6_host_has_a_network() {
        assert_eq!(network("192.0.2.1"), network("::ffff:192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:192.0.2.2"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }

    #[test]
    fn this_machine_is_known_by_all_its_names() {
        for name in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(network(name).is_this_machine(), "{name}");
        }
        for other in ["192.0.2.1", "::ffff:192.0.2.1", "::2", "2001:db8::1", "0.0.0.0"] {
            assert!(!network(other).is_this_machine(), "{other}");
        }
    }
}
