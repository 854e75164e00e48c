//! The thread that places and answers: group commit over all partitions of a store.
//!
//! Small groups it writes itself, so that a lone append meets no other thread. A large one it hands to the [`disk`] thread,
//! and goes on placing what comes meanwhile; the frames that fill up then are the next group.
//!
//! [`disk`]: crate::disk

use std::{
    io, mem,
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use aetherflow_log_core::{
    AppendError, Appended, Effect, Partition, PartitionState, Storage, StorageError, partition::Quorum,
    storage::Operation,
};
use aetherflow_schema::{
    id::{Offset, PartitionId},
    record::Frame,
};
use tokio::sync::watch;

use crate::{
    completions::{Completions, Ticket},
    disk::{self, Disk, Written},
    queue::{Queue, Request, Round, Signal},
};

/// Entries up to which a group is written here. Handing it over costs two thread switches, and is worth it when placing the
/// next group takes longer than that.
const INLINE_ENTRIES: usize = 32;

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
        let disk = Disk::start(self.storage.clone(), self.queue.clone())?;
        thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || Cores::new(self, disk).run())
    }
}

struct Cores {
    writer: Writer,
    disk: Disk,
    partitions: Vec<Partition<Ticket>>,
    effects: Vec<Effect<Ticket>>,
    /// Sequenced, to be stored.
    frames: Vec<Frame>,
    completed: Vec<(Ticket, Result<Appended, AppendError>)>,
}

impl Cores {
    fn new(writer: Writer, disk: Disk) -> Self {
        let mut cores = Self {
            writer,
            disk,
            partitions: Vec::new(),
            effects: Vec::new(),
            frames: Vec::new(),
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
            let Round {
                written,
                appends,
                resume,
                stop,
            } = self.writer.queue.take(self.disk.is_busy());
            if let Some(written) = written {
                self.disk.done();
                // Not after a failure: what was placed on top of a lost frame goes with it.
                if written.failed.is_empty() {
                    self.hand_over();
                }
                self.settle(written);
            }
            self.place(appends);
            if !self.disk.is_busy() {
                self.write();
            }
            if let Some(answer) = resume {
                let result = self.writer.storage.resume();
                if result.is_ok() {
                    self.lead_all();
                }
                let _ = answer.send(result);
            }
            if stop {
                return self.writer.completions.end();
            }
        }
    }

    /// Has all that is placed written, if it is a large group: the disk is not to wait until the last one was answered.
    fn hand_over(&mut self) {
        for partition in &mut self.partitions {
            partition.seal(&mut self.effects);
        }
        self.carry_out();
        let entries: usize = self.frames.iter().map(|frame| frame.header().count as usize).sum();
        if entries > INLINE_ENTRIES {
            self.disk.write(mem::take(&mut self.frames));
        }
    }

    /// Writes all that is placed, or has it written.
    fn write(&mut self) {
        self.hand_over();
        if !self.disk.is_busy() && !self.frames.is_empty() {
            let written = disk::write(&*self.writer.storage, mem::take(&mut self.frames));
            self.settle(written);
        }
    }

    /// Lets the cores place a group, after one look-up of all of its operations. It is this thread that settles commits too, so
    /// that an operation is in the store or in flight, and never just between the two.
    fn place(&mut self, mut requests: Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        match self.writer.storage.lookup(&operations(&requests)) {
            Ok(known) => self.submit(requests, &known),
            Err(error) if requests.len() == 1 => {
                let refused = requests.drain(..).map(|request| (request.ticket, Err(refusal(&error))));
                self.completed.extend(refused);
            }
            // What cannot be looked up is refused; the others' entries are still to be placed.
            Err(_) => requests.into_iter().for_each(|request| self.place(vec![request])),
        }
        self.carry_out();
    }

    fn submit(&mut self, requests: Vec<Request>, mut known: &[Option<Offset>]) {
        let now_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as u64);
        for request in requests {
            let (of_request, rest) = known.split_at(request.entries.len());
            known = rest;
            self.partitions[usize::from(request.partition.0)].submit(
                now_us,
                request.ticket,
                &request.entries,
                of_request,
                &mut self.effects,
            );
        }
    }

    /// Tells the cores what became of their frames.
    fn settle(&mut self, Written { stored, failed }: Written) {
        for (partition, offset) in stored {
            self.partitions[usize::from(partition.0)].on_stored(offset, &mut self.effects);
        }
        for (lost, reason) in failed {
            let is_lost = |partition| lost.is_none_or(|lost| lost == partition);
            self.frames.retain(|frame| !is_lost(frame.header().partition));
            for (partition, id) in self.partitions.iter_mut().zip((0..).map(PartitionId)) {
                if is_lost(id) {
                    partition.on_failure(&reason, &mut self.effects);
                }
            }
        }
        self.carry_out();
    }

    /// Each round carries out what the round before asked for, in order.
    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in mem::take(&mut self.effects) {
                match effect {
                    // Embedded, there is nobody to agree with: a frame has its place at once.
                    Effect::Publish(frame) => {
                        let partition = usize::from(frame.header().partition.0);
                        self.partitions[partition].on_sequenced(&mut self.effects);
                    }
                    Effect::Store(frame) => self.frames.push(frame),
                    Effect::Committed(partition, offset) => {
                        self.writer.watermarks[usize::from(partition.0)].send_replace(offset);
                        self.writer.committed.raise();
                    }
                    Effect::Complete(ticket, result) => self.completed.push((ticket, result)),
                }
            }
        }
        if !self.completed.is_empty() {
            self.writer.completions.add(&mut self.completed);
        }
    }
}

fn operations(requests: &[Request]) -> Vec<Operation<'_>> {
    requests
        .iter()
        .flat_map(|request| {
            request.entries.iter().map(|entry| Operation {
                partition: request.partition,
                document: entry.document(),
                op: entry.op_id(),
            })
        })
        .collect()
}

fn refusal(error: &StorageError) -> AppendError {
    match error {
        StorageError::Failsafe(_) => AppendError::ReadOnly(error.to_string()),
        StorageError::Quarantined(..) => AppendError::Quarantined(error.to_string()),
        StorageError::Unreadable(_) => AppendError::ReadOnly(error.to_string()),
    }
}
