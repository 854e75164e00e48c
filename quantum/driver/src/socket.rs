//! A UDP socket that sends and receives many datagrams at once (GSO, GRO, recvmmsg), with ECN.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use quantum_proto::{Ecn, Transmit};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::{io::Interest, net::UdpSocket};

/// Largest datagram that is looked at; longer ones are cut and then do not open.
const DATAGRAM_MAX: usize = 2048;
/// Bytes of the kernel's buffers, asked for: a burst of a whole window should fit.
const KERNEL_BUFFER: usize = 4 << 20;

pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
}

/// What one receive call brought: datagrams of one sender, all but the last `stride` bytes long.
pub(crate) struct Received {
    pub(crate) remote: SocketAddr,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) stride: usize,
    pub(crate) data: BytesMut,
}

impl Socket {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(addr);
        let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
        if addr.is_ipv6() {
            // `[::]` serves IPv4 as well.
            socket.set_only_v6(false)?;
        }
        socket.bind(&addr.into())?;
        Self::from_std(socket.into())
    }

    pub(crate) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let io = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // The kernel may grant less; that costs speed only.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), KERNEL_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), KERNEL_BUFFER);
        Ok(Self { io, state })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Datagrams that one send may hold.
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends, or asks to be woken when it can.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit, data: &[u8]) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_send_ready(cx))?;
            match self.io.try_io(Interest::WRITABLE, || self.send_now(transmit, data)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Sends if the socket takes it; otherwise it is lost, as datagrams may be.
    pub(crate) fn try_send(&self, transmit: &Transmit, data: &[u8]) {
        let _ = self.io.try_io(Interest::WRITABLE, || self.send_now(transmit, data));
    }

    fn send_now(&self, transmit: &Transmit, data: &[u8]) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.remote,
            ecn: transmit.ecn.map(|ecn| match ecn {
                Ecn::Ect0 => EcnCodepoint::Ect0,
                Ecn::Ect1 => EcnCodepoint::Ect1,
                Ecn::Ce => EcnCodepoint::Ce,
            }),
            contents: data,
            segment_size: (transmit.segment < data.len()).then_some(transmit.segment),
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&self.io), &transmit)
    }
}

/// The memory into which datagrams are received.
pub(crate) struct ReceiveBuffer {
    memory: Vec<u8>,
    each: usize,
}

impl ReceiveBuffer {
    pub(crate) fn new(socket: &Socket) -> Self {
        let each = DATAGRAM_MAX * socket.state.gro_segments();
        Self { memory: vec![0; each * BATCH_SIZE], each }
    }

    /// Receives what is there, or asks to be woken.
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        socket: &Socket,
        received: &mut Vec<Received>,
    ) -> Poll<io::Result<()>> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let count = loop {
            ready!(socket.io.poll_recv_ready(cx))?;
            let mut chunks = self.memory.chunks_exact_mut(self.each);
            let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
            let result = socket.io.try_io(Interest::READABLE, || {
                socket.state.recv(UdpSockRef::from(&socket.io), &mut slices, &mut metas)
            });
            match result {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        };
        for (meta, memory) in metas[..count].iter().zip(self.memory.chunks_exact(self.each)) {
            received.push(Received {
                remote: meta.addr,
                ecn: meta.ecn.map(|ecn| match ecn {
                    EcnCodepoint::Ect0 => Ecn::Ect0,
                    EcnCodepoint::Ect1 => Ecn::Ect1,
                    EcnCodepoint::Ce => Ecn::Ce,
                }),
                stride: meta.stride.max(1),
                // One copy for all of them: what is received next needs the memory.
                data: BytesMut::from(&memory[..meta.len]),
            });
        }
        Poll::Ready(Ok(()))
    }
}
