//! A disk whose power can be cut: an ext4 filesystem in an image file on a loop device.
//!
//! What a power cut leaves is what reached the device. The device here is the loop driver, and what it was given stands
//! in the image file; what the filesystem on it still holds back in memory does not. So a copy of the image file, taken
//! while nothing is being written, is the disk after a power cut. The copy reads the image through the page cache of
//! the system around it, where the loop driver put it: that is the device, not the filesystem's own cache.
//!
//! Invariants: a copy counts only when the device's own counters stood still while it was made; whatever was attached
//! or mounted is detached and unmounted when dropped, also by a panic.
//!
//! One thing real disks do is not modelled: a write that reached the device without a flush may still be lost there.
//! Here it counts as kept. The negative control shows how much is caught all the same.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Bytes of the disk. The image is sparse, and the drills write a few MiB.
const BYTES: u64 = 512 << 20;

/// How often a copy is tried.
const COPIES: u32 = 100;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The drill may not do what it must.
    #[error("a power cut needs root and a loop device: {0}")]
    NotAllowed(String),
    /// A program failed.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// Which.
        command: String,
        /// What it said.
        reason: String,
    },
    /// A file could not be dealt with.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The device never stood still.
    #[error("the device was still being written to after {COPIES} copies")]
    Restless,
}

/// An attached and mounted disk.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    mount: Mount,
    device: Loop,
}

/// A loop device.
#[derive(Debug)]
struct Loop(String);

/// A mounted filesystem.
#[derive(Debug)]
struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes an empty disk and mounts it at `mount`.
    ///
    /// # Errors
    /// When there are no rights or no loop devices.
    pub fn create(image: &Path, mount: &Path) -> Result<Self, DeviceError> {
        if !nix::unistd::geteuid().is_root() {
            return Err(DeviceError::NotAllowed("this is not root".to_owned()));
        }
        File::create(image)
            .and_then(|file| file.set_len(BYTES))
            .map_err(|source| io_error(image, source))?;
        // Without lazy initialization the device is written to by nobody but us.
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-J", "size=16", "-E", options])
            .arg(image))?;
        Self::attach(image, mount)
    }

    /// Mounts an image at `mount`; the filesystem recovers from its journal if it must.
    ///
    /// # Errors
    /// As for [`Disk::create`].
    pub fn attach(image: &Path, mount: &Path) -> Result<Self, DeviceError> {
        fs::create_dir_all(mount).map_err(|source| io_error(mount, source))?;
        let device = run(Command::new("losetup").args(["--find", "--show"]).arg(image))
            .map_err(|error| DeviceError::NotAllowed(error.to_string()))?;
        let device = Loop(device.trim().to_owned());
        run(Command::new("mount").args(["-t", "ext4", &device.0]).arg(mount))?;
        let mount = Mount {
            at: mount.to_owned(),
            mounted: true,
        };
        Ok(Self {
            image: image.to_owned(),
            mount,
            device,
        })
    }

    /// Where it is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount.at
    }

    /// Copies what has reached the device to `copy`. Whoever writes must be frozen, so that the device comes to rest.
    ///
    /// # Errors
    /// When it does not come to rest, or the copy fails.
    pub fn copy(&self, copy: &Path) -> Result<(), DeviceError> {
        for _ in 0..COPIES {
            let before = self.device.activity()?;
            run(Command::new("cp").arg("--sparse=always").arg(&self.image).arg(copy))?;
            let after = self.device.activity()?;
            if before == after && after.in_flight == 0 {
                return Ok(());
            }
            // The device needs time to come to rest, and nothing tells when it does.
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(DeviceError::Restless)
    }

    /// Unmounts and detaches it, and removes the image.
    ///
    /// # Errors
    /// When one of these fails.
    pub fn discard(mut self) -> Result<(), DeviceError> {
        self.mount.unmount()?;
        let image = self.image.clone();
        drop(self);
        fs::remove_file(&image).map_err(|source| io_error(&image, source))
    }
}

/// What a device did so far.
#[derive(Debug, PartialEq, Eq)]
struct Activity {
    writes: u64,
    sectors: u64,
    in_flight: u64,
}

impl Loop {
    /// The kernel's counters: see Documentation/block/stat.rst.
    fn activity(&self) -> Result<Activity, DeviceError> {
        let name = self.0.trim_start_matches("/dev/");
        let path = PathBuf::from(format!("/sys/block/{name}/stat"));
        let text = fs::read_to_string(&path).map_err(|source| io_error(&path, source))?;
        let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        match fields[..] {
            [_, _, _, _, writes, _, sectors, _, in_flight, ..] => Ok(Activity {
                writes,
                sectors,
                in_flight,
            }),
            _ => Err(io_error(&path, io::ErrorKind::InvalidData.into())),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        report(run(Command::new("losetup").args(["--detach", &self.0])));
    }
}

impl Mount {
    fn unmount(&mut self) -> Result<(), DeviceError> {
        run(Command::new("umount").arg(&self.at))?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // A process that was not stopped may hold it: unmount as soon as it ends.
            report(run(Command::new("umount").arg("--lazy").arg(&self.at)));
        }
    }
}

/// Nobody can be told of a failure while things are dropped; whoever runs the drill should see it.
fn report(result: Result<String, DeviceError>) {
    if let Err(error) = result {
        eprintln!("cleaning up: {error}");
    }
}

fn run(command: &mut Command) -> Result<String, DeviceError> {
    let text = format!("{command:?}");
    let failed = |reason| DeviceError::Command {
        command: text.clone(),
        reason,
    };
    let output = command.output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{} {}", output.status, said.trim())))
}

fn io_error(path: &Path, source: io::Error) -> DeviceError {
    DeviceError::Io {
        path: path.to_owned(),
        source,
    }
}
