//! A stream whose peer has to take what it asked for.
//!
//! **Owns** a timer while writing waits. **Invariant**: it runs from when the peer took something last. **On failure** of the
//! peer to take anything in time writing fails, and with it the connection: an answer in memory is not kept for as long as
//! TCP is patient.

use std::{
    future::Future,
    io::{self, ErrorKind, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// See the [module](self).
pub(crate) struct Patient<S> {
    stream: S,
    patience: Duration,
    /// While writing waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// Lets the peer of this stream take nothing for so long.
    pub(crate) fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            waiting: None,
        }
    }

    /// The stream itself, which then waits as long as it likes.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn watch<T>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = None;
            return progress;
        }
        let patience = self.patience;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(waiting.as_mut().poll(context));
        let text = format!("nothing was taken for {} ms", patience.as_millis());
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, text)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, progress)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        time::Instant,
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up() {
        let (near, far) = duplex(8);
        let mut stream = Patient::new(near, PATIENCE);
        let started = Instant::now();
        let error = stream.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed()), (ErrorKind::TimedOut, PATIENCE));
        drop(far);
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_something_now_and_then_has_all_the_time_it_wants() {
        let (near, mut far) = duplex(8);
        let mut stream = Patient::new(near, PATIENCE);
        let writing = tokio::spawn(async move { stream.write_all(&[7; 80]).await });
        let mut taken = 0;
        while taken < 80 {
            sleep(PATIENCE - Duration::from_millis(1)).await;
            let read = far.read(&mut [0; 8]).await.unwrap();
            assert_ne!(read, 0);
            taken += read;
        }
        writing.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_nothing_may_be_silent() {
        let (near, mut far) = duplex(8);
        let mut stream = Patient::new(near, PATIENCE);
        stream.write_all(&[7; 8]).await.unwrap();
        let reading = tokio::spawn(async move { stream.read_u8().await });
        sleep(10 * PATIENCE).await;
        far.write_all(&[1]).await.unwrap();
        assert_eq!(reading.await.unwrap().unwrap(), 1);
    }
}
