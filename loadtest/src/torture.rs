//! Rounds of SIGKILL at random moments, with writers that keep writing.
//!
//! A round: the writers write; the server is killed; what was acknowledged is collected once every client has heard all
//! that was sent to it; the server starts on the same data and port; the audit reads every document; only then may the
//! writers come back. In some rounds they come back at once instead, all together, into the server's recovery: such a
//! round tests the recovery and not the loss, which the writers would make good before anybody looked. In some rounds the
//! server is killed a second time before it is ready, in its recovery.
//!
//! Why nothing may be missing: an acknowledgement leaves only after the log was synced, and a killed process loses
//! nothing that reached the system. [`Sabotage`] is the negative control.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use automerge::AutomergeError;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use crate::{
    audit::{self, Claims, Violation},
    client::Late,
    crew::{Crew, CrewOptions},
    server::{Server, ServerError, ServerOptions},
    tail::{self, Watcher},
};

/// How long clients may take to notice that the server is gone, or to come back.
const NOTICE: Duration = Duration::from_secs(20);

/// How the promise is broken on purpose, to see whether that is noticed: the server does not sync, and after each kill
/// the end of its log is cut off.
#[derive(Debug, Clone, Copy)]
pub struct Sabotage {
    /// What was written within this time before the kill is lost.
    pub age: Duration,
    /// The store's witness is lost too, so that the server itself cannot know.
    pub witness: bool,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// Who writes.
    pub crew: CrewOptions,
    /// How long the server lives in each round, at least and at most.
    pub life: (Duration, Duration),
    /// Everything random follows from it, except what the system's scheduler does.
    pub seed: u64,
    /// Breaking the promise on purpose.
    pub sabotage: Option<Sabotage>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rounds that were completed, or in the last of which a violation was found.
    pub rounds: u32,
    /// Rounds in which the writers came back into the server's recovery.
    pub storms: u32,
    /// Rounds in which the server was killed in its recovery.
    pub stumbles: u32,
    /// Edits made.
    pub edits: u64,
    /// Changes acknowledged.
    pub acknowledged: usize,
    /// Of how many of those the place in the log was told, and compared.
    pub placed: usize,
    /// Bytes of the log that were cut off on purpose.
    pub cut_bytes: u64,
    /// The longest time from the start of the process to readiness.
    pub slowest_start: Duration,
    /// All of it.
    pub took: Duration,
    /// Promises not kept.
    pub violations: Vec<Violation>,
}

/// The drill itself failed.
#[derive(Debug, thiserror::Error)]
pub enum TortureError {
    /// The server could not be driven.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A client did not do what it should.
    #[error(transparent)]
    Client(#[from] Late),
    /// The documents could not be made.
    #[error(transparent)]
    Automerge(#[from] AutomergeError),
    /// The data directory could not be dealt with.
    #[error("cannot prepare or damage the data directory: {0}")]
    Io(#[from] std::io::Error),
}

/// Runs the drill in `dir`. Ends at the first violation.
///
/// # Errors
/// When the drill itself fails; a broken promise is in the outcome.
pub async fn run(plan: &Plan, dir: &Path) -> Result<Outcome, TortureError> {
    let started = Instant::now();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let mut options = ServerOptions::new(dir)?;
    if plan.sabotage.is_some() {
        options = options.set("log.fsync", false);
    }
    let mut server = Server::start(options).await?;
    let crew = Crew::start(server.endpoint()?, &plan.crew, &mut rng)?;
    crew.until_connected(true, NOTICE).await?;
    crew.until_saved(NOTICE).await?;
    let mut outcome = Outcome::default();
    for round in 1..=plan.rounds {
        let course = Course::draw(plan, &mut rng);
        outcome.storms += u32::from(course.storm);
        outcome.stumbles += u32::from(course.stumble.is_some());
        server = one_round(plan, server, &crew, &course, &mut outcome).await?;
        outcome.rounds = round;
        if !outcome.violations.is_empty() {
            break;
        }
        crew.release();
        crew.until_connected(true, NOTICE).await?;
    }
    if outcome.violations.is_empty() {
        outcome.violations = crew.conclude(&server).await?;
    }
    outcome.edits = crew.edits();
    outcome.acknowledged = crew.claims().changes();
    outcome.placed = crew.claims().places();
    outcome.took = started.elapsed();
    Ok(outcome)
}

/// What happens in a round.
struct Course {
    /// How long the server lives.
    life: Duration,
    /// The writers come back at once, all together.
    storm: bool,
    /// The server is killed again so long after its start.
    stumble: Option<Duration>,
}

impl Course {
    fn draw(plan: &Plan, rng: &mut StdRng) -> Self {
        let life = rng.random_range(plan.life.0..plan.life.1);
        let storm = rng.random_ratio(1, 4);
        let stumble = rng
            .random_ratio(1, 4)
            .then(|| rng.random_range(Duration::ZERO..Duration::from_millis(200)));
        Self {
            life,
            storm: storm && plan.sabotage.is_none(),
            stumble: stumble.filter(|_| plan.sabotage.is_none()),
        }
    }
}

async fn one_round(
    plan: &Plan,
    server: Server,
    crew: &Crew,
    course: &Course,
    outcome: &mut Outcome,
) -> Result<Server, TortureError> {
    let data_dir = server.options().data_dir.clone();
    let watcher = plan.sabotage.map(|_| Watcher::start(&data_dir));
    // The moment of the kill is the experiment.
    sleep(course.life).await;
    if !course.storm {
        crew.hold();
    }
    let options = server.kill().await?;
    if let (Some(sabotage), Some(watcher)) = (plan.sabotage, watcher) {
        outcome.cut_bytes += watcher.cut(sabotage.age)?.map_or(0, |cut| cut.from - cut.to);
        if sabotage.witness {
            tail::remove_witness(&data_dir)?;
        }
    }
    let mut claims = Claims::default();
    if !course.storm {
        crew.until_connected(false, NOTICE).await?;
        claims = crew.claims();
    }
    if let Some(after) = course.stumble {
        Server::start_and_kill(&options, after).await?;
    }
    let server = Server::start(options).await?;
    outcome.slowest_start = outcome.slowest_start.max(server.startup);
    outcome.violations = audit::audit(&server, &claims).await?;
    Ok(server)
}
