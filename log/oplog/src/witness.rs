//! The thread that notes the committed tails outside the store.

use std::{io, sync::Arc, thread, time::Duration};

use aetherflow_log_core::Storage;

use crate::queue::Signal;

/// A commit is noted within 100 ms: this long is waited for more, the rest is left for the write itself.
const GATHER: Duration = Duration::from_millis(60);

pub(crate) fn start(storage: Arc<dyn Storage>, committed: Arc<Signal>) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name("log-witness".to_owned()).spawn(move || {
        loop {
            let goes_on = committed.wait(GATHER);
            // A failure has put the store in failsafe, where everyone can see it.
            let _ = storage.witness();
            if !goes_on {
                return;
            }
        }
    })
}
