//! The kubelet's part: a thread that asks `/livez` every 50 ms, and how long the answers took.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

const PERIOD: Duration = Duration::from_millis(50);
/// A kubelet's default is one second.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(5);

/// A prober; it ends with [`Prober::stop`].
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Duration>>,
}

impl Prober {
    pub(crate) fn start(admin: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let asking = spawn(move || {
            let mut took = Vec::new();
            while !told.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // No answer counts as the longest wait.
                took.push(if ask(admin).is_some() { begun.elapsed() } else { GIVEN_UP_AFTER });
                sleep(PERIOD);
            }
            took
        });
        Self { stop, asking }
    }

    /// How long each answer took.
    pub(crate) fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.asking.join().unwrap()
    }
}

fn ask(admin: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect_timeout(&admin, GIVEN_UP_AFTER).ok()?;
    stream.set_read_timeout(Some(GIVEN_UP_AFTER)).ok()?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    (&head == b"HTTP/1.1 200").then_some(())
}
