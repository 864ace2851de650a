//! The app behind the routers: it answers every request with the same bytes.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use crate::poll::Poll;

const LISTENER: u64 = 0;
/// How often it looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A thread that is an app, until it is dropped.
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl App {
    /// Starts an app whose answers have so many bytes.
    pub(crate) fn start(bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let body = "x".repeat(bytes);
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n{body}"
        );
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || serve(&listener, answer.as_bytes(), &told));
        Ok(Self {
            address,
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What went wrong in it, the requests have shown.
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, answer: &[u8], over: &AtomicBool) -> Result<()> {
    let mut poll = Poll::new()?;
    poll.add(listener, LISTENER)?;
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let (mut next, mut ready) = (LISTENER + 1, Vec::new());
    while !over.load(Ordering::Relaxed) {
        poll.wait(Some(LOOK_EVERY), &mut ready)?;
        for key in &ready {
            if *key == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    stream.set_nonblocking(true)?;
                    poll.add(&stream, next)?;
                    connections.insert(next, stream);
                    next += 1;
                }
            } else if let Some(stream) = connections.get_mut(key)
                && !answered(stream, answer)
            {
                connections.remove(key);
            }
        }
    }
    Ok(())
}

/// Answers a request, which comes as a whole. `false` when there will be no more.
fn answered(stream: &mut TcpStream, answer: &[u8]) -> bool {
    let mut request = [0; 4096];
    match stream.read(&mut request) {
        Ok(0) => false,
        // The answer always fits into an empty send buffer.
        Ok(_) => stream.write_all(answer).is_ok(),
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
