//! A connection with or without TLS, for those who wait for readiness, read into a buffer that all share, and write from
//! where the bytes are.
//!
//! **Owns** the socket and the TLS session. **Invariants**: with TLS, what was written and the system did not take yet
//! is at most rustls' 64 KiB, and [`Wire::has_unsent`] tells that there is some; nothing here waits. **On failure** of the
//! TLS session the peer is told so, if it still listens.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use rustls::ServerConnection;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};

use super::Stream;

/// See the [module](self).
pub struct Wire {
    socket: TcpStream,
    session: Option<Box<Session>>,
}

struct Session {
    tls: ServerConnection,
    /// There may be bytes that were decrypted and not read.
    decrypted: bool,
}

/// The socket as rustls wants it.
struct Socket<'a>(&'a mut TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        try_read(self.0, buffer)
    }
}

/// Reads what there is. Unlike [`TcpStream::try_read`] this notes that a short read emptied the socket, so that it is not
/// asked again, in vain, before something came; nobody is woken, as whoever reads waits for readiness afterwards.
fn try_read(socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(buffer);
    match Pin::new(socket).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
        Poll::Ready(read) => read.map(|()| buffer.filled().len()),
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<Stream> for Wire {
    fn from(stream: Stream) -> Self {
        match stream {
            Stream::Plain(socket) => Self { socket, session: None },
            Stream::Tls(stream) => {
                let (socket, tls) = stream.into_inner();
                let session = Some(Box::new(Session { tls, decrypted: true }));
                Self { socket, session }
            }
        }
    }
}

impl Wire {
    /// Ready when there may be something to read, the end and errors included.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        match &self.session {
            Some(session) if session.decrypted => Poll::Ready(()),
            _ => self.socket.poll_read_ready(context).map(drop),
        }
    }

    /// Ready when something may be written.
    pub fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        drop(ready!(self.socket.poll_write_ready(context)));
        Poll::Ready(())
    }

    /// Reads what there is; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; others end the connection.
    pub fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return try_read(&mut self.socket, buffer);
        };
        loop {
            match session.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => session.decrypted = false,
                read => {
                    session.decrypted = read.as_ref().is_ok_and(|read| *read == buffer.len());
                    return read;
                }
            }
            session.tls.read_tls(&mut Socket(&mut self.socket))?;
            if let Err(error) = session.tls.process_new_packets() {
                // The alert that says why; whether it arrives is the peer's loss.
                let _ = session.flush(&mut self.socket);
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Writes as much as there is room for.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; others end the connection.
    pub fn try_write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(session) = &mut self.session else {
            return self.socket.try_write_vectored(parts);
        };
        session.flush(&mut self.socket)?;
        let written = session.tls.writer().write_vectored(parts)?;
        match session.flush(&mut self.socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(written),
        }
    }

    /// Whether the system has not taken all that was written.
    pub fn has_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.tls.wants_write())
    }

    /// Hands to the system what it takes of that.
    ///
    /// # Errors
    /// Those of the connection; it is none when there is no room.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.session {
            Some(session) => match session.flush(&mut self.socket) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// Lets the peer see that nothing more comes.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn close_write(&mut self) -> io::Result<()> {
        self.part();
        SockRef::from(&self.socket).shutdown(Shutdown::Write)
    }

    /// Ends the TLS session, so that the peer can tell this end from one that somebody else made.
    fn part(&mut self) {
        if let Some(session) = &mut self.session {
            session.tls.send_close_notify();
            // A socket that takes nothing now ends without it.
            let _ = session.flush(&mut self.socket);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.part();
    }
}

impl Session {
    fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut Socket(socket))?;
        }
        Ok(())
    }
}
