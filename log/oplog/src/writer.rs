//! The one thread that writes: group commit over all partitions of a store.

use std::{
    io,
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_log_core::{
    AppendError, Appended, Effect, Partition, PartitionState, Storage, StorageError, partition::Quorum,
};
use aetherflow_schema::{
    id::{Offset, OpId, PartitionId},
    record::{EncodedEntry, Frame},
};
use tokio::sync::watch;

use crate::{
    completions::{Completions, Ticket},
    queue::{Queue, Request, Signal, Work},
};

pub(crate) struct Writer {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) queue: Arc<Queue>,
    /// Raised after every commit.
    pub(crate) committed: Arc<Signal>,
    pub(crate) completions: Arc<Completions>,
    /// One watermark for each partition.
    pub(crate) watermarks: Arc<[watch::Sender<Offset>]>,
}

/// One node, no replicas: what is stored here is committed.
const EMBEDDED: Quorum = Quorum { needed: 1 };

impl Writer {
    pub(crate) fn start(self) -> io::Result<thread::JoinHandle<()>> {
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || Cores::new(self).run())
    }
}

struct Cores {
    writer: Writer,
    partitions: Vec<Partition<Ticket>>,
    effects: Vec<Effect<Ticket>>,
    completed: Vec<(Ticket, Result<Appended, AppendError>)>,
}

impl Cores {
    fn new(writer: Writer) -> Self {
        let mut cores = Self {
            writer,
            partitions: Vec::new(),
            effects: Vec::new(),
            completed: Vec::new(),
        };
        cores.lead_all();
        cores
    }

    /// Builds the core of every partition from what the store found; a quarantined one is stopped at once.
    fn lead_all(&mut self) {
        self.partitions = (0..self.writer.storage.partitions())
            .map(PartitionId)
            .map(|id| match self.writer.storage.state(id) {
                PartitionState::Sound(tail) => {
                    self.writer.watermarks[usize::from(id.0)].send_replace(tail.offset);
                    Partition::lead(id, 0, tail, EMBEDDED)
                }
                PartitionState::Quarantined(damage) => {
                    let mut partition = Partition::lead(id, 0, Default::default(), EMBEDDED);
                    partition.on_failure(&damage.to_string(), &mut Vec::new());
                    partition
                }
            })
            .collect();
    }

    fn run(mut self) {
        loop {
            match self.writer.queue.take() {
                Work::Appends(requests) => self.write_group(requests),
                Work::Resume(answer) => {
                    let result = self.writer.storage.resume();
                    if result.is_ok() {
                        self.lead_all();
                    }
                    let _ = answer.send(result);
                }
                Work::Stop => return self.writer.completions.end(),
            }
        }
    }

    fn write_group(&mut self, requests: Vec<Request>) {
        let now_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as u64);
        for request in requests {
            self.place(now_us, request);
        }
        for partition in &mut self.partitions {
            partition.seal(&mut self.effects);
        }
        let mut frames = Vec::new();
        // Each round carries out what the round before asked for, in order.
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.carry_out(effect, &mut frames);
            }
            if !frames.is_empty() && self.effects.is_empty() {
                self.store(std::mem::take(&mut frames));
            }
        }
        self.writer.completions.add(&mut self.completed);
    }

    fn place(&mut self, now_us: u64, request: Request) {
        let Request {
            partition,
            entries,
            ticket,
        } = request;
        let ops: Vec<OpId> = entries.iter().map(EncodedEntry::op_id).collect();
        match self.writer.storage.lookup(partition, entries[0].document(), &ops) {
            Ok(known) => {
                let partition = &mut self.partitions[usize::from(partition.0)];
                partition.submit(now_us, ticket, &entries, &known, &mut self.effects);
            }
            Err(error) => self.completed.push((ticket, Err(refusal(error)))),
        }
    }

    fn carry_out(&mut self, effect: Effect<Ticket>, frames: &mut Vec<Frame>) {
        match effect {
            // Embedded, there is nobody to agree with: a frame has its place at once.
            Effect::Publish(frame) => {
                let partition = usize::from(frame.header().partition.0);
                self.partitions[partition].on_sequenced(&mut self.effects);
            }
            Effect::Store(frame) => frames.push(frame),
            Effect::Committed(partition, offset) => {
                self.writer.watermarks[usize::from(partition.0)].send_replace(offset);
                self.writer.committed.raise();
            }
            Effect::Complete(ticket, result) => self.completed.push((ticket, result)),
        }
    }

    fn store(&mut self, mut frames: Vec<Frame>) {
        loop {
            let error = match self.writer.storage.write(&frames) {
                Ok(()) => break,
                Err(error) => error,
            };
            match &error {
                // Only that partition is lost; the others' frames are still to be written.
                StorageError::Quarantined(partition, _) => {
                    let reason = error.to_string();
                    self.partitions[usize::from(partition.0)].on_failure(&reason, &mut self.effects);
                    frames.retain(|frame| frame.header().partition != *partition);
                    if frames.is_empty() {
                        return;
                    }
                }
                StorageError::Failsafe(_) | StorageError::Unreadable(_) => {
                    let reason = error.to_string();
                    for partition in &mut self.partitions {
                        partition.on_failure(&reason, &mut self.effects);
                    }
                    return;
                }
            }
        }
        for frame in frames {
            let header = frame.header();
            self.partitions[usize::from(header.partition.0)].on_stored(header.last(), &mut self.effects);
        }
    }
}

fn refusal(error: StorageError) -> AppendError {
    match error {
        StorageError::Failsafe(_) => AppendError::ReadOnly(error.to_string()),
        StorageError::Quarantined(..) => AppendError::Quarantined(error.to_string()),
        StorageError::Unreadable(_) => AppendError::ReadOnly(error.to_string()),
    }
}
