//! Work in a process of its own, which may use up its stack, its memory and its time without harm to anyone.
//!
//! ```text
//!  Children::run ─► a place (few at once) ─► spawn ─► input to stdin ─► output from stdout, up to a bound
//!                                              │
//!                                              └─ killed at the deadline, and when the future is dropped
//! ```
//!
//! The child is this program itself with another argument. It gets no environment and no files but its pipes; the first
//! thing that it does is [`confine`], which bounds its memory, its CPU time and what it can be dumped to.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

/// The longest that one child may take, whatever its caller's deadline. It shares its CPU with what serves.
const PATIENCE: Duration = Duration::from_secs(5);

/// CPU time of one child, in seconds.
const CPU_MAX: u64 = 1;

/// Bytes that one child may allocate.
const MEMORY_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of its stack.
const STACK_MAX: u64 = 8 * 1024 * 1024;

/// Children at once, where there are many cores.
const PLACES_MAX: usize = 4;

/// Callers that wait for a place.
const WAITING_MAX: usize = 64;

/// How the child is to be run.
#[derive(Clone, Debug)]
pub struct ChildSettings {
    /// The program.
    pub program: PathBuf,
    /// What it is told.
    pub arguments: Vec<OsString>,
    /// The most that it may answer, in bytes.
    pub output_max: usize,
}

/// Why a child gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Too many wait already.
    #[error("too many of these calls wait already; try again in a moment")]
    Busy,
    /// It could not be started or talked to.
    #[error("its process cannot be run: {0}")]
    Start(#[from] io::Error),
    /// It took too long, or too much of the CPU.
    #[error("it takes longer than the {CPU_MAX} s of CPU that it may take, or than its caller waits")]
    TooSlow,
    /// Its memory or its stack was used up.
    #[error("it needs more than the {} MiB of memory that it may use, or nests values too deeply", MEMORY_MAX >> 20)]
    TooLarge,
    /// It answered more than it may.
    #[error("its result is longer than {0} bytes")]
    TooLong(usize),
}

/// Runs children, few at a time.
#[derive(Debug)]
pub struct Children {
    settings: ChildSettings,
    places: Semaphore,
    waiting: AtomicUsize,
}

impl Children {
    /// A runner of these.
    #[must_use]
    pub fn new(settings: ChildSettings) -> Self {
        let places = std::thread::available_parallelism().map_or(1, usize::from).min(PLACES_MAX);
        Self { settings, places: Semaphore::new(places), waiting: AtomicUsize::new(0) }
    }

    /// What a child answers to this input.
    ///
    /// # Errors
    /// Why it answered nothing.
    pub async fn run(&self, input: &[u8], deadline: Instant) -> Result<Vec<u8>, ChildError> {
        let place = {
            let _counted = Waiting::join(&self.waiting)?;
            let place = timeout_at(deadline, self.places.acquire()).await.map_err(|_elapsed| ChildError::Busy)?;
            place.map_err(|_closed| ChildError::Busy)?
        };
        let deadline = deadline.min(Instant::now() + PATIENCE);
        let mut child = self.spawn()?;
        let answering = async {
            let output = self.talk(&mut child, input).await?;
            if output.len() > self.settings.output_max {
                return Err(ChildError::TooLong(self.settings.output_max));
            }
            verdict(child.wait().await?)?;
            Ok(output)
        };
        let answered = timeout_at(deadline, answering).await.unwrap_or(Err(ChildError::TooSlow));
        if answered.is_err() {
            // Whatever happened, it has ended before its place is another's.
            if let Err(error) = child.kill().await {
                tracing::warn!(cause = %error, "a child could not be ended");
            }
        }
        drop(place);
        answered
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::new(&self.settings.program)
            .args(&self.settings.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    }

    async fn talk(&self, child: &mut Child, input: &[u8]) -> Result<Vec<u8>, ChildError> {
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let give = async move {
            // A child that has ended reads no more; how it ended says why.
            if let Some(mut stdin) = stdin {
                drop(stdin.write_all(input).await);
            }
        };
        let take = async move {
            let mut output = Vec::new();
            let most = u64::try_from(self.settings.output_max).unwrap_or(u64::MAX).saturating_add(1);
            if let Some(stdout) = stdout {
                stdout.take(most).read_to_end(&mut output).await?;
            }
            Ok(output)
        };
        let ((), output) = tokio::join!(give, take);
        output
    }
}

/// What the way it ended says.
fn verdict(status: ExitStatus) -> Result<(), ChildError> {
    use std::os::unix::process::ExitStatusExt as _;
    /// `SIGXCPU`, by which the kernel ends who has used up its CPU time, and `SIGKILL`, by which we end who is too slow.
    const TIME: [i32; 2] = [24, 9];
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (None, Some(signal)) if TIME.contains(&signal) => Err(ChildError::TooSlow),
        (None, Some(_)) => Err(ChildError::TooLarge),
        (code, _) => Err(ChildError::Start(io::Error::other(format!("it ended with code {code:?}")))),
    }
}

/// One of those who wait.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn join(count: &'a AtomicUsize) -> Result<Self, ChildError> {
        let one = Self(count);
        if count.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX { Err(ChildError::Busy) } else { Ok(one) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bounds this process, which is a child: memory, CPU time and stack, no core file, behind everyone who serves.
///
/// # Errors
/// When the system does not let it.
pub fn confine() -> io::Result<()> {
    let bounds =
        [(Resource::Data, MEMORY_MAX), (Resource::Stack, STACK_MAX), (Resource::Cpu, CPU_MAX), (Resource::Core, 0)];
    for (resource, bound) in bounds {
        let most = getrlimit(resource).maximum.map_or(bound, |most| most.min(bound));
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    // Where even this is not allowed, it only competes harder.
    let _niceness = nice(10);
    Ok(())
}
