//! Logs that never block whoever logs.
//!
//! ```text
//!  a thread that logs ─► line (cut at 16 KiB) ─► queue (at most 1 MiB) ─► the writer's thread ─► stderr or stdout
//!                                                   └─ full: dropped and counted
//! ```
//!
//! **Invariants**
//! - Logging takes memory and no time that depends on the reader: a pipe that nobody empties holds up one thread of ours
//!   and no other.
//! - Lines come out in the order in which they went in, and whole.
//! - What was dropped is counted, and said as soon as lines flow again.
//! - The end of the process waits for the reader, but not for long.

mod line;
mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use queue::Queue;

/// How long the end of a process waits for somebody to read its last lines.
pub const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// Where logs go. Clones are the same writer.
#[derive(Clone, Debug)]
pub struct Logs(Arc<Queue>);

impl Logs {
    /// Logs to `out`, which only a thread of its own ever touches.
    ///
    /// # Errors
    /// When that thread cannot be started.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let ours = Arc::clone(&queue);
        thread::Builder::new().name("logs".to_owned()).spawn(move || write_all(&ours, out))?;
        Ok(Self(queue))
    }

    /// Adds a line as it is, after those that have been logged.
    pub fn line(&self, text: &str) {
        self.0.push(format!("{text}\n").as_bytes());
    }

    /// The lines that nobody read in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Waits until everything is written, but no longer than [`FINISH_WITHIN`]; returns whether it was.
    pub fn finish(&self) -> bool {
        self.0.wait_until_written(FINISH_WITHIN)
    }

    /// Makes panics lines of the log. The standard library writes them to standard error itself, and waits for its reader.
    pub fn take_panics(&self) {
        std::panic::set_hook(Box::new(|info| {
            let panic = info.payload_as_str().unwrap_or("of an unknown type");
            let location = info.location().map(ToString::to_string);
            let trace = Backtrace::capture();
            let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
            let thread = thread::current();
            tracing::error!(panic, location, thread = thread.name(), backtrace = trace, "panicked");
        }));
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Lines<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(&self.0)
    }
}

/// Takes lines, each written at once.
#[derive(Debug)]
pub struct Lines<'a>(&'a Queue);

impl Write for Lines<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes what comes, for as long as the process lives.
fn write_all(queue: &Queue, mut out: impl Write) {
    let mut lines = Vec::new();
    loop {
        queue.take(&mut lines);
        // Now there is room for it, and it comes after the lines that had found some.
        let lost = queue.unsaid();
        if lost > 0 {
            tracing::warn!(lines = lost, "log lines were dropped, because nobody read them in time");
        }
        if out.write_all(&lines).and_then(|()| out.flush()).is_err() {
            // Nobody will ever read them: the other end is closed.
            queue.lost(line::count(&lines));
        }
        queue.written();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// A pipe that takes something only when it is allowed to.
    struct Pipe {
        allowed: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(|_closed| io::ErrorKind::BrokenPipe)?;
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logs() -> (Logs, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (allow, allowed) = channel();
        let written = Arc::default();
        (Logs::to(Pipe { allowed, written: Arc::clone(&written) }).unwrap(), allow, written)
    }

    #[test]
    fn a_pipe_that_nobody_empties_holds_up_nobody_and_what_is_lost_is_said() {
        let (logs, allow, written) = logs();
        let subscriber =
            tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().json().with_writer(logs.clone()));
        // The writer's thread says itself what was lost: the subscriber has to be everybody's.
        tracing::subscriber::set_global_default(subscriber).unwrap();
        for number in 0..20_000 {
            tracing::info!(number, "a line of the log that is neither short nor very long, as most of them are");
        }
        let dropped = logs.dropped();
        assert!(dropped > 0 && dropped < 20_000, "{dropped}");
        for _ in 0..4 {
            allow.send(()).unwrap();
        }
        assert!(logs.finish());
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let numbers: Vec<u64> = lines.iter().filter_map(|line| line["fields"]["number"].as_u64()).collect();
        assert!(numbers.is_sorted() && numbers.first() == Some(&0), "in order, from the first");
        assert_eq!(u64::try_from(numbers.len()).unwrap() + dropped, 20_000);
        assert_eq!(lines.last().unwrap()["fields"]["lines"], dropped);
    }

    #[test]
    fn the_end_waits_for_a_reader_but_not_for_long() {
        let (logs, allow, written) = logs();
        logs.line("agent-pod: the last words");
        assert!(!logs.finish());
        allow.send(()).unwrap();
        assert!(logs.finish());
        assert_eq!(*written.lock().unwrap(), b"agent-pod: the last words\n");
    }

    #[test]
    fn lines_for_a_closed_pipe_are_counted() {
        let (logs, allow, _written) = logs();
        drop(allow);
        logs.line("one");
        assert!(logs.finish());
        assert_eq!(logs.dropped(), 1);
    }
}
