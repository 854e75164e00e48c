//! Cutting off the end of the write-ahead log, as a power cut does to what was written and never synced.
//!
//! A killed process loses nothing that it wrote: the system still has it. Only when the system itself stops is what was
//! not synced gone, and a log file then ends somewhere before its last write. So the log's size is noted while the
//! server runs, and after the kill the file is cut to what it was a moment earlier: a state in which a machine without
//! syncing may well come back.
//!
//! Only for servers that run with `log.fsync=false`. With syncing on, the bytes that would be cut had been synced before
//! their acknowledgement, and no power cut takes those; cutting them anyway would test a broken disk instead.

use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::sleep};

use crate::lock;

/// Between two looks at the log's size.
const LOOK: Duration = Duration::from_millis(5);

/// How far back sizes are remembered.
const MEMORY: Duration = Duration::from_secs(2);

/// A size of the newest log file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Size {
    at: Instant,
    path: PathBuf,
    bytes: u64,
}

/// Watches the newest log file under a directory.
pub struct Watcher {
    sizes: Arc<Mutex<VecDeque<Size>>>,
    task: JoinHandle<()>,
    dir: PathBuf,
}

/// What was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Its size before.
    pub from: u64,
    /// And after.
    pub to: u64,
}

impl Watcher {
    /// Starts watching.
    pub fn start(data_dir: &Path) -> Self {
        let sizes = Arc::new(Mutex::new(VecDeque::new()));
        let dir = data_dir.to_owned();
        let task = tokio::spawn(watch(dir.clone(), sizes.clone()));
        Self { sizes, task, dir }
    }

    /// Stops watching, and cuts the newest log file to the size it had `age` before now. A file that was not there yet
    /// is cut to nothing. `None` when there is nothing to cut.
    ///
    /// # Errors
    /// When the file cannot be cut.
    pub fn cut(self, age: Duration) -> io::Result<Option<Cut>> {
        let then = Instant::now().checked_sub(age);
        self.task.abort();
        let Some((path, from)) = newest(&self.dir)? else {
            return Ok(None);
        };
        let to = lock(&self.sizes)
            .iter()
            .rev()
            .find(|size| size.path == path && then.is_some_and(|then| size.at <= then))
            .map_or(0, |size| size.bytes);
        if to >= from {
            return Ok(None);
        }
        OpenOptions::new().write(true).open(&path)?.set_len(to)?;
        Ok(Some(Cut { path, from, to }))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(dir: PathBuf, sizes: Arc<Mutex<VecDeque<Size>>>) {
    loop {
        // Files come and go while it looks.
        if let Ok(Some((path, bytes))) = newest(&dir) {
            let at = Instant::now();
            let mut sizes = lock(&sizes);
            sizes.push_back(Size { at, path, bytes });
            while sizes.front().is_some_and(|first| at - first.at > MEMORY) {
                sizes.pop_front();
            }
        }
        // It samples: time itself is the matter.
        sleep(LOOK).await;
    }
}

/// The log file with the highest number in the directories called `rocksdb` below `dir`, and its size.
fn newest(dir: &Path) -> io::Result<Option<(PathBuf, u64)>> {
    let mut found: Option<(PathBuf, u64)> = None;
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        let is_database = dir.file_name().is_some_and(|name| name == "rocksdb");
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if is_database && path.extension().is_some_and(|extension| extension == "log") {
                let newer = found
                    .as_ref()
                    .is_none_or(|(best, _)| best.file_name() < path.file_name());
                if newer {
                    let bytes = fs::metadata(&path)?.len();
                    found = Some((path, bytes));
                }
            }
        }
    }
    Ok(found)
}

/// Removes the store's witness, as if it had been lost with the tail: then only the clients can tell that something is
/// missing.
///
/// # Errors
/// When there is none.
pub fn remove_witness(data_dir: &Path) -> io::Result<()> {
    fs::remove_file(data_dir.join("log").join("witness"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_file_is_cut_to_an_earlier_size() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("log").join("rocksdb");
        fs::create_dir_all(&database).unwrap();
        fs::write(database.join("000004.log"), [1; 500]).unwrap();
        fs::write(database.join("LOG"), [1; 900]).unwrap();
        let log = database.join("000012.log");
        fs::write(&log, [1; 100]).unwrap();
        let watcher = Watcher::start(dir.path());
        let seen = |bytes| {
            let sizes = watcher.sizes.clone();
            async move {
                while lock(&sizes).back().is_none_or(|size| size.bytes != bytes) {
                    tokio::task::yield_now().await;
                    sleep(Duration::from_millis(1)).await;
                }
            }
        };
        seen(100).await;
        let early = Instant::now();
        fs::write(&log, [1; 300]).unwrap();
        seen(300).await;
        let cut = watcher.cut(early.elapsed()).unwrap().unwrap();
        assert_eq!((cut.from, cut.to), (300, 100));
        assert_eq!(fs::read(&log).unwrap(), [1; 100]);
    }

    #[test]
    fn without_a_log_there_is_nothing_to_cut() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(newest(dir.path()).unwrap(), None);
    }
}
