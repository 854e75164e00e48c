//! Connections' qlogs as files of a folder.
//!
//! Owns: the folder, and the thread that writes. Records wait in a bounded queue; when the disk is slower than the
//! network, records are left out, which is logged: a log must not hold up what it describes. A file ends with its connection.

use std::{
    collections::HashMap,
    fmt,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread,
};

use quantum_proto::{Connection, QlogSink, Side, Time};

/// Records that wait for the disk. One has 300 bytes or so.
const QUEUE: usize = 16_384;

/// A folder in which each connection gets a file, `<connection id>.client.sqlog` or `.server.sqlog`, that qvis can open. Clones share it.
/// The contents of messages are not in it; addresses are.
#[derive(Clone)]
pub struct QlogFolder {
    folder: Arc<PathBuf>,
    queue: SyncSender<Entry>,
    next: Arc<AtomicU64>,
}

enum Entry {
    Begin(u64, PathBuf),
    Record(u64, Box<str>),
    End(u64),
}

impl QlogFolder {
    /// Makes the folder if there is none, and starts the thread that writes. That ends with the last connection that is logged.
    ///
    /// # Errors
    /// The folder cannot be made, or there is no thread to be had.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (queue, entries) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("quantum-qlog".to_owned())
            .spawn(move || write(&entries))?;
        Ok(Self {
            folder: Arc::new(folder.to_owned()),
            queue,
            next: Arc::default(),
        })
    }

    pub(crate) fn begin(&self, connection: &mut Connection, now: Time) {
        let side = match connection.side() {
            Side::Client => "client",
            Side::Server => "server",
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}.{side}.sqlog", connection.id()));
        if self.queue.try_send(Entry::Begin(number, path)).is_err() {
            tracing::warn!(connection = %connection.id(), "the connection is not logged: the disk is too slow");
            return;
        }
        let sink = Sink {
            number,
            queue: self.queue.clone(),
            left_out: 0,
        };
        connection.set_qlog(now, Box::new(sink));
    }
}

impl fmt::Debug for QlogFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QlogFolder({})", self.folder.display())
    }
}

struct Sink {
    number: u64,
    queue: SyncSender<Entry>,
    left_out: u64,
}

impl QlogSink for Sink {
    fn event(&mut self, record: &str) {
        let entry = Entry::Record(self.number, record.into());
        self.left_out += u64::from(self.queue.try_send(entry).is_err());
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.left_out > 0 {
            tracing::warn!(records = self.left_out, "a qlog is not complete: the disk is too slow");
        }
        // Without it the file stays open until the thread ends: that is all that can be lost.
        let _ = self.queue.try_send(Entry::End(self.number));
    }
}

/// The thread: until nobody can send any more.
fn write(entries: &Receiver<Entry>) {
    let mut files: HashMap<u64, (PathBuf, BufWriter<File>)> = HashMap::new();
    loop {
        let entry = match entries.try_recv() {
            Ok(entry) => entry,
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                // Nothing more at present: what there is can be read.
                files.retain(|_, (path, file)| noted(path, file.flush()));
                match entries.recv() {
                    Ok(entry) => entry,
                    Err(_) => return,
                }
            }
        };
        match entry {
            Entry::Begin(number, path) => match File::create(&path) {
                Ok(file) => {
                    files.insert(number, (path, BufWriter::new(file)));
                }
                Err(error) => {
                    noted(&path, Err(error));
                }
            },
            Entry::Record(number, record) => {
                let written = files
                    .get_mut(&number)
                    .is_none_or(|(path, file)| noted(path, file.write_all(record.as_bytes())));
                if !written {
                    files.remove(&number);
                }
            }
            Entry::End(number) => {
                if let Some((path, mut file)) = files.remove(&number) {
                    noted(&path, file.flush());
                }
            }
        }
    }
}

/// Whether it went well; a file that cannot be written is given up.
fn noted(path: &Path, result: io::Result<()>) -> bool {
    if let Err(error) = &result {
        tracing::warn!(file = %path.display(), %error, "a qlog is given up");
    }
    result.is_ok()
}
