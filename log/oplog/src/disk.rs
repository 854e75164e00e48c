//! The thread that writes large groups, so that the next one is placed meanwhile. One group at a time.

use std::{
    io,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread::{self, JoinHandle},
};

use aetherflow_log_core::{Storage, StorageError};
use aetherflow_schema::{
    id::{Offset, PartitionId},
    record::Frame,
};

use crate::queue::Queue;

/// What became of a group.
#[derive(Default)]
pub(crate) struct Written {
    /// Up to where partitions are durable.
    pub(crate) stored: Vec<(PartitionId, Offset)>,
    /// The partitions whose frames were not written (all of them, when it is `None`), and why.
    pub(crate) failed: Vec<(Option<PartitionId>, String)>,
}

/// The writer's end of it.
pub(crate) struct Disk {
    groups: Option<SyncSender<Vec<Frame>>>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
}

impl Disk {
    pub(crate) fn start(storage: Arc<dyn Storage>, queue: Arc<Queue>) -> io::Result<Self> {
        let (groups, received) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("log-disk".to_owned())
            .spawn(move || run(&*storage, &queue, &received))?;
        Ok(Self {
            groups: Some(groups),
            thread: Some(thread),
            busy: false,
        })
    }

    /// A group is being written, whose end has not been heard of.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a group; what became of it comes through the queue. Only when it is not busy.
    pub(crate) fn write(&mut self, frames: Vec<Frame>) {
        self.busy = self.groups.as_ref().is_some_and(|groups| groups.send(frames).is_ok());
        assert!(self.busy, "the thread that writes ends after this one");
    }

    pub(crate) fn done(&mut self) {
        self.busy = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.groups = None;
        // Panics are reported as failed writes.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(storage: &dyn Storage, queue: &Queue, groups: &Receiver<Vec<Frame>>) {
    for frames in groups {
        queue.written(write(storage, frames));
    }
}

/// Writes a group. A panic in it is a write that failed: those who wait are told.
pub(crate) fn write(storage: &dyn Storage, frames: Vec<Frame>) -> Written {
    let written = panic::catch_unwind(AssertUnwindSafe(|| write_all(storage, frames)));
    written.unwrap_or_else(|_| Written {
        stored: Vec::new(),
        failed: vec![(None, "writing panicked".to_owned())],
    })
}

fn write_all(storage: &dyn Storage, mut frames: Vec<Frame>) -> Written {
    let mut written = Written::default();
    while !frames.is_empty() {
        match storage.write(&frames) {
            Ok(()) => {
                let ends = frames
                    .iter()
                    .map(|frame| (frame.header().partition, frame.header().last()));
                written.stored.extend(ends);
                break;
            }
            // Only that partition is lost; the others' frames are still to be written.
            Err(error @ StorageError::Quarantined(partition, _)) => {
                written.failed.push((Some(partition), error.to_string()));
                frames.retain(|frame| frame.header().partition != partition);
            }
            Err(error @ (StorageError::Failsafe(_) | StorageError::Unreadable(_))) => {
                written.failed.push((None, error.to_string()));
                break;
            }
        }
    }
    written
}
