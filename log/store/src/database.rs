//! RocksDB, what is not in its index tables yet, and the thread that brings it there.

use std::{io, sync::Arc, thread};

use rocksdb::DB;

use crate::{failsafe::Failsafe, options::StoreOptions, pending::Pending, tables};

/// What readers and the index thread share.
pub(crate) struct Database {
    pub(crate) db: DB,
    pub(crate) pending: Pending,
}

/// A database with its index thread, which ends when this is dropped, before the database is closed.
pub(crate) struct Indexed {
    database: Arc<Database>,
    indexer: Option<thread::JoinHandle<()>>,
}

impl Indexed {
    pub(crate) fn start(database: Database, options: StoreOptions, failsafe: Arc<Failsafe>) -> io::Result<Self> {
        let database = Arc::new(database);
        let shared = database.clone();
        let indexer = thread::Builder::new()
            .name("log-indexer".to_owned())
            .spawn(move || index(&shared, &options, &failsafe))?;
        Ok(Self {
            database,
            indexer: Some(indexer),
        })
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }
}

/// Writes out one sealed generation after the other, until the end or the first failure.
fn index(database: &Database, options: &StoreOptions, failsafe: &Failsafe) {
    let _ending = Ending { database, failsafe };
    while let Some(generation) = database.pending.next_sealed() {
        if let Err(reason) = tables::put_away(&database.db, options, &generation) {
            failsafe.enter(reason);
            return;
        }
        database.pending.drop_oldest(generation);
    }
}

/// However the index thread ends, the writer does not wait for it.
struct Ending<'a> {
    database: &'a Database,
    failsafe: &'a Failsafe,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failsafe.enter("the index thread panicked".to_owned());
        }
        self.database.pending.end();
    }
}

impl Drop for Indexed {
    fn drop(&mut self) {
        self.database.pending.end();
        // What it failed of is known by the failsafe.
        let _ = self.indexer.take().map(thread::JoinHandle::join);
    }
}
