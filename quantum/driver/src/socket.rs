//! A UDP socket that sends and receives many datagrams at once (GSO, GRO, recvmmsg), with ECN, from the address that the peer knows.
//!
//! On failure: what cannot be sent is as good as lost on the way; a network card that refuses segmentation gets single datagrams.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use quantum_proto::{Ecn, Transmit};
use quinn_udp::{EcnCodepoint, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Bytes of the kernel's buffers, asked for: a burst of a whole window should fit.
const KERNEL_BUFFER: usize = 4 << 20;

pub(crate) struct Socket {
    pub(crate) io: UdpSocket,
    pub(crate) state: UdpSocketState,
    /// IPv4 addresses are mapped.
    is_ipv6: bool,
    /// Bound to every address of the host: answers must name theirs.
    is_wildcard: bool,
}

impl Socket {
    /// Must be called within a tokio runtime. `[::]` serves IPv4 as well.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&addr.into())?;
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // The kernel may grant less; that costs speed only.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), KERNEL_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), KERNEL_BUFFER);
        Ok(Self {
            io,
            state,
            is_ipv6: addr.is_ipv6(),
            is_wildcard: addr.ip().is_unspecified(),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Datagrams that one send may hold.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends as soon as the kernel has room. `local`: from which of the host's addresses.
    pub(crate) async fn send(&self, transmit: &Transmit, local: Option<IpAddr>, data: &[u8]) -> io::Result<()> {
        loop {
            match self.try_send(transmit, local, data) {
                // Any number of tasks may wait here.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.io.writable().await?,
                done => return done,
            }
        }
    }

    pub(crate) fn try_send(&self, transmit: &Transmit, local: Option<IpAddr>, data: &[u8]) -> io::Result<()> {
        let batch = quinn_udp::Transmit {
            destination: self.mapped(transmit.remote),
            ecn: transmit.ecn.map(codepoint),
            contents: data,
            segment_size: (transmit.segment < data.len()).then_some(transmit.segment),
            src_ip: local.filter(|_| self.is_wildcard),
        };
        let sent = self.try_send_batch(&batch);
        match &sent {
            // Segmentation was refused, and is given up: these go one by one.
            Err(error) if batch.segment_size.is_some() && error.kind() != io::ErrorKind::WouldBlock => {
                if self.max_segments() == 1 {
                    let single = |contents| quinn_udp::Transmit {
                        contents,
                        segment_size: None,
                        ..batch
                    };
                    return data
                        .chunks(transmit.segment)
                        .try_for_each(|one| self.try_send_batch(&single(one)));
                }
                sent
            }
            _ => sent,
        }
    }

    fn try_send_batch(&self, batch: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send(UdpSockRef::from(&self.io), batch)
        })
    }

    fn mapped(&self, remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(v4) if self.is_ipv6 => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
            remote => remote,
        }
    }
}

/// The address as people know it.
pub(crate) fn unmapped(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(v4.into(), v6.port()),
            None => remote,
        },
        remote => remote,
    }
}

pub(crate) fn codepoint(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

pub(crate) fn ecn(codepoint: EcnCodepoint) -> Ecn {
    match codepoint {
        EcnCodepoint::Ect0 => Ecn::Ect0,
        EcnCodepoint::Ect1 => Ecn::Ect1,
        EcnCodepoint::Ce => Ecn::Ce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(remote: SocketAddr, bytes: usize, segment: usize) -> Transmit {
        Transmit {
            remote,
            bytes,
            segment,
            ecn: None,
        }
    }

    #[test]
    fn mapped_addresses_are_shown_plain() {
        let v4: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:192.0.2.1]:7".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::1]:7".parse().unwrap();
        assert_eq!([unmapped(v4), unmapped(mapped), unmapped(v6)], [v4, v4, v6]);
    }

    #[tokio::test]
    async fn a_batch_arrives_datagram_by_datagram_with_and_without_segmentation() {
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let data: Vec<u8> = (0..2500).map(|byte| byte as u8).collect();
        socket.send(&plain(to, 2500, 1000), None, &data).await.unwrap();
        let mut buffer = [0; 4096];
        for part in data.chunks(1000) {
            let len = receiver.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], part);
        }
    }

    #[tokio::test]
    async fn a_datagram_that_is_too_long_for_the_link_is_an_error_and_no_more() {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        let data = vec![0; 70_000];
        assert!(
            socket
                .send(&plain(to, data.len(), data.len()), None, &data)
                .await
                .is_err()
        );
        socket.send(&plain(to, 10, 10), None, &data[..10]).await.unwrap();
    }

    #[tokio::test]
    async fn a_wildcard_of_ipv6_reaches_ipv4() {
        let Ok(socket) = Socket::bind(SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0)) else {
            return; // The host has no IPv6.
        };
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        socket.send(&plain(to, 5, 5), None, b"hello").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), 5);
    }
}
