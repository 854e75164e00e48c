//! Following a partition's committed entries.

use std::collections::VecDeque;

use aetherflow_log_core::StorageError;
use aetherflow_schema::{
    id::{Offset, PartitionId},
    record::Frame,
};
use tokio::sync::watch;

use crate::handle::LogHandle;

/// Bytes read ahead at once.
const READ_BYTES: usize = 1 << 20;

/// Gives a partition's committed frames in order, and waits for more at the end. It holds no more than it reads at once.
pub struct TailReader {
    log: LogHandle,
    partition: PartitionId,
    next: Offset,
    watermark: watch::Receiver<Offset>,
    read: VecDeque<Frame>,
}

impl TailReader {
    pub(crate) fn new(
        log: LogHandle,
        partition: PartitionId,
        from: Offset,
        watermark: watch::Receiver<Offset>,
    ) -> Self {
        Self {
            log,
            partition,
            next: from.max(Offset(1)),
            watermark,
            read: VecDeque::new(),
        }
    }

    /// The next committed frame; the first may begin before the offset asked for. Waits until there is one. `None` when
    /// the log has ended.
    pub async fn next(&mut self) -> Result<Option<Frame>, StorageError> {
        loop {
            if let Some(frame) = self.read.pop_front() {
                self.next = frame.header().last().next();
                return Ok(Some(frame));
            }
            if self
                .watermark
                .wait_for(|committed| *committed >= self.next)
                .await
                .is_err()
            {
                return Ok(None);
            }
            let (log, partition, from) = (self.log.clone(), self.partition, self.next);
            let read = tokio::task::spawn_blocking(move || log.frames(partition, from, READ_BYTES));
            self.read = match read.await {
                Ok(frames) => frames?.into(),
                Err(error) => return Err(StorageError::Unreadable(error.to_string())),
            };
        }
    }
}
