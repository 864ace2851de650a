//! A constant load of visitors: so many requests a second, whether the app is quick or slow, every one counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::http::client::Client;
use crate::http::request::Request;
use crate::samples::Latencies;

/// Visitors at the same time. One in two opens a connection for every request, the others keep theirs.
const VISITORS: u32 = 8;
/// Requests of all visitors in a second.
pub(super) const PER_SECOND: u32 = 100;

/// Visitors of one app, until they are asked what they saw.
pub(super) struct Visitors {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What visitors saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: u64,
    pub(super) failed: u64,
    /// The first failure, for people.
    pub(super) failure: Option<String>,
    /// From the moment at which a request was due: one that has to wait for the one before it is slow, too.
    pub(super) latencies: Latencies,
}

impl Visitors {
    pub(super) fn start(address: SocketAddr, host: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..VISITORS)
            .map(|number| {
                let (over, host) = (Arc::clone(&over), host.to_owned());
                std::thread::spawn(move || visit(number, address, &host, &over))
            })
            .collect();
        Self { over, threads }
    }

    /// Sends the visitors home.
    pub(super) fn end(self) -> Result<Seen> {
        self.over.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().map_err(|_| anyhow!("a visitor panicked"))?;
            all.requests += seen.requests;
            all.failed += seen.failed;
            all.failure = all.failure.or(seen.failure);
            all.latencies.append(seen.latencies);
        }
        Ok(all)
    }
}

fn visit(number: u32, address: SocketAddr, host: &str, over: &AtomicBool) -> Seen {
    let keeps = number.is_multiple_of(2);
    let pause = Duration::from_secs(1) * VISITORS / PER_SECOND;
    // Not all at the same moment.
    let mut due = Instant::now() + pause * number / VISITORS;
    let mut seen = Seen::default();
    let mut kept = None;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        seen.requests += 1;
        match ask(&mut kept, address, host) {
            Ok(()) => seen.latencies.add(due.elapsed()),
            Err(error) => {
                seen.failed += 1;
                seen.failure.get_or_insert_with(|| format!("{error:#}"));
                kept = None;
            }
        }
        if !keeps {
            kept = None;
        }
        due += pause;
    }
    seen
}

fn ask(kept: &mut Option<Client>, address: SocketAddr, host: &str) -> Result<()> {
    let client = match kept {
        Some(client) => client,
        None => kept.insert(Client::connect(address)?),
    };
    let answer = client.send(Request::get_at(host, "/"))?;
    match answer.status {
        200 => Ok(()),
        status => Err(anyhow!(
            "the answer was {status}: {}",
            String::from_utf8_lossy(&answer.body)
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn refusals_and_broken_connections_are_failures() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["200 OK", "503 Service Unavailable", ""] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 1024]).unwrap();
                if !answer.is_empty() {
                    let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                    stream.write_all(head.as_bytes()).unwrap();
                }
            }
        });
        let outcomes = [(); 3].map(|()| ask(&mut None, address, "app.localhost").is_ok());
        server.join().unwrap();
        assert_eq!(outcomes, [true, false, false]);
    }
}
