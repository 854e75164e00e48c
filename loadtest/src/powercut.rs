//! Rounds of power cuts at random moments.
//!
//! A round: the writers write to a server whose data is on a [`Disk`]; the server is frozen; what has reached the disk
//! is copied; the server is killed and its disk thrown away; the server starts on the copy; the audit looks for
//! everything that was acknowledged before the freeze. The next round goes on from there, so that a disk goes through
//! many power cuts.
//!
//! Acknowledgements that clients read after the freeze were sent before it, so they count.
//!
//! With `fsync` off the same drill must find losses: that is its negative control.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use automerge::AutomergeError;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::block_in_place, time::sleep};

use crate::{
    audit::{self, Violation},
    client::Late,
    crew::{Crew, CrewOptions},
    device::{DeviceError, Disk},
    server::{Server, ServerError, ServerOptions},
};

/// How long clients may take to notice that the server is gone, or to come back.
const NOTICE: Duration = Duration::from_secs(20);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Power cuts.
    pub rounds: u32,
    /// Who writes.
    pub crew: CrewOptions,
    /// How long the server lives in each round, at least and at most.
    pub life: (Duration, Duration),
    /// Everything random follows from it, except what the system's scheduler does.
    pub seed: u64,
    /// `false` for the negative control.
    pub fsync: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Power cuts survived, or with the last of which a violation was found.
    pub rounds: u32,
    /// Edits made.
    pub edits: u64,
    /// Changes acknowledged.
    pub acknowledged: usize,
    /// Changes of which the server said where they stand.
    pub placed: usize,
    /// All of it.
    pub took: Duration,
    /// Promises not kept.
    pub violations: Vec<Violation>,
}

/// The drill itself failed.
#[derive(Debug, thiserror::Error)]
pub enum PowerCutError {
    /// The disk could not be made, copied or thrown away.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The server could not be driven.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A client did not do what it should.
    #[error(transparent)]
    Client(#[from] Late),
    /// The documents could not be made.
    #[error(transparent)]
    Automerge(#[from] AutomergeError),
    /// There are no ports.
    #[error("cannot prepare: {0}")]
    Io(#[from] std::io::Error),
}

/// A server and the disk it runs on. The server goes first when they are dropped.
struct Machine {
    server: Server,
    disk: Disk,
}

/// Runs the drill in `dir`, inside a multi-threaded runtime. Ends at the first violation.
///
/// # Errors
/// When the drill itself fails; a broken promise is in the outcome.
pub async fn run(plan: &Plan, dir: &Path) -> Result<Outcome, PowerCutError> {
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mount = dir.join("disk");
    let mut options = ServerOptions::new(dir)?.set("log.fsync", plan.fsync);
    options.data_dir = mount.join("data");
    let disk = block_in_place(|| Disk::create(&dir.join("disk-0.img"), &mount))?;
    let mut machine = Machine {
        server: Server::start(options).await?,
        disk,
    };
    let crew = Crew::start(machine.server.endpoint()?, &plan.crew, &mut rng)?;
    crew.until_connected(true, NOTICE).await?;
    crew.until_saved(NOTICE).await?;
    let mut outcome = Outcome::default();
    for round in 1..=plan.rounds {
        // The moment of the power cut is the experiment.
        sleep(rng.random_range(plan.life.0..plan.life.1)).await;
        let copy = dir.join(format!("disk-{round}.img"));
        machine = cut_power(machine, &crew, &copy).await?;
        outcome.rounds = round;
        outcome.violations = audit::audit(&machine.server, &crew.claims()).await?;
        if !outcome.violations.is_empty() {
            break;
        }
        crew.release();
        crew.until_connected(true, NOTICE).await?;
    }
    if outcome.violations.is_empty() {
        outcome.violations = crew.conclude(&machine.server).await?;
    }
    outcome.edits = crew.edits();
    outcome.acknowledged = crew.claims().changes();
    outcome.placed = crew.claims().places();
    outcome.took = started.elapsed();
    machine.server.kill().await?;
    block_in_place(|| machine.disk.discard())?;
    Ok(outcome)
}

/// Cuts the power and starts again from what had reached the disk. The writers are held until they are released.
async fn cut_power(machine: Machine, crew: &Crew, copy: &Path) -> Result<Machine, PowerCutError> {
    let Machine { server, disk } = machine;
    server.freeze()?;
    crew.hold();
    block_in_place(|| disk.copy(copy))?;
    let options = server.kill().await?;
    crew.until_connected(false, NOTICE).await?;
    let mount = disk.mount().to_owned();
    let disk = block_in_place(|| {
        disk.discard()?;
        Disk::attach(copy, &mount)
    })?;
    let server = Server::start(options).await?;
    Ok(Machine { server, disk })
}
