//! Taking datagrams from the socket, many with one call.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
};

use bytes::BytesMut;
use quantum_proto::Ecn;
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef};
use tokio::io::Interest;

use crate::socket::{Socket, ecn, unmapped};

/// What the kernel puts together at most. Memory that nothing was received into is not used.
const ROOM: usize = 1 << 16;

/// Datagrams of one sender, all but the last `stride` bytes long.
pub(crate) struct Received {
    pub(crate) remote: SocketAddr,
    /// Which of the host's addresses they were sent to.
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: Option<Ecn>,
    pub(crate) stride: usize,
    pub(crate) data: BytesMut,
}

/// The memory into which datagrams are received.
pub(crate) struct ReceiveBuffer {
    memory: Vec<u8>,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self {
            memory: vec![0; ROOM * BATCH_SIZE],
        }
    }

    /// Waits until there is something and appends it. Cancelling loses nothing.
    pub(crate) async fn receive(&mut self, socket: &Socket, received: &mut Vec<Received>) -> io::Result<()> {
        loop {
            match self.try_receive(socket, received) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.io.readable().await?,
                done => return done,
            }
        }
    }

    fn try_receive(&mut self, socket: &Socket, received: &mut Vec<Received>) -> io::Result<()> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut rooms = self.memory.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        let mut count = 0;
        let result = socket.io.try_io(Interest::READABLE, || {
            count = socket
                .state
                .recv(UdpSockRef::from(&socket.io), &mut slices, &mut metas)?;
            match count {
                BATCH_SIZE => Ok(()),
                // That was all: asking once more only to hear so would be a waste.
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        if count == 0 {
            return result;
        }
        for (meta, room) in metas[..count].iter().zip(self.memory.chunks_exact(ROOM)) {
            received.push(Received {
                remote: unmapped(meta.addr),
                local: meta.dst_ip,
                ecn: meta.ecn.map(ecn),
                stride: meta.stride.max(1),
                // One copy for all of them: what comes next needs the room.
                data: BytesMut::from(&room[..meta.len.min(ROOM)]),
            });
        }
        Ok(())
    }
}
