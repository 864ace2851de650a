//! A router with a listener, and what a test needs around it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use pilvi_base::TaskGroup;
use pilvi_edge::{Absence, After, Edge, Ends, Journal, Route, RouterEvent, Settings, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::apps::App;

/// Longer than anything that is waited for here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const HOST: &str = "app.localhost";

pub(crate) struct World {
    pub(crate) edge: Edge,
    pub(crate) journal: Arc<Lines>,
    pub(crate) tasks: TaskGroup,
    pub(crate) address: SocketAddr,
}

/// The app's log.
#[derive(Default)]
pub(crate) struct Lines {
    lines: Mutex<Vec<String>>,
    more: Notify,
}

impl Journal for Lines {
    fn note(&self, app: &str, event: RouterEvent<'_>) {
        self.lines.lock().unwrap().push(format!("{app} {event}"));
        self.more.notify_waiters();
    }
}

impl Lines {
    /// Waits for a line that holds all of `words`.
    pub(crate) async fn with(&self, words: &[&str]) -> String {
        let found = async {
            loop {
                let more = self.more.notified();
                let line = {
                    let lines = self.lines.lock().unwrap();
                    lines
                        .iter()
                        .find(|line| words.iter().all(|word| line.contains(word)))
                        .cloned()
                };
                if let Some(line) = line {
                    return line;
                }
                more.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, found).await;
        waited.unwrap_or_else(|_| {
            panic!(
                "no line with {words:?} in {:#?}",
                self.lines.lock().unwrap()
            )
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.lines.lock().unwrap().len()
    }
}

impl World {
    pub(crate) async fn start(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, journal) = (TaskGroup::new(), Arc::new(Lines::default()));
        let edge = Edge::new(settings, journal.clone(), tasks.clone());
        let (group, router) = (tasks.clone(), edge.clone());
        tasks.spawn("listener", async move {
            loop {
                let (stream, peer) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = group.stopping() => return,
                };
                let (router, ends) = (
                    router.clone(),
                    Ends {
                        peer,
                        local: address,
                        secure: false,
                    },
                );
                group.spawn("connection", async move {
                    stream.set_nodelay(true).unwrap();
                    if let After::NotMine(mut stream, read) =
                        router.serve(stream, BytesMut::new(), ends).await
                    {
                        let _ = stream.write_all(&[b"NOT MINE: ", &read[..]].concat()).await;
                    }
                });
            }
        });
        Self {
            edge,
            journal,
            tasks,
            address,
        }
    }

    pub(crate) async fn default() -> Self {
        Self::start(Settings::default()).await
    }

    /// Publishes an app at [`HOST`].
    pub(crate) fn publish(&self, upstreams: &[Arc<dyn Upstream>]) {
        self.edge.publish(Route {
            app: "app".to_owned(),
            hosts: vec![HOST.to_owned()],
            upstreams: upstreams.to_vec(),
            absence: Absence::Crashed,
            certificate: None,
        });
    }

    /// Publishes an app at [`HOST`] that has one process.
    pub(crate) fn run(&self, app: &Arc<App>) {
        let one: Arc<dyn Upstream> = app.clone();
        self.publish(&[one]);
    }

    pub(crate) async fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream,
            read: Vec::new(),
        }
    }

    /// One request on a connection of its own: everything that comes back.
    pub(crate) async fn ask(&self, request: &str) -> String {
        let mut client = self.connect().await;
        client.send(request).await;
        client.rest().await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// A client that sees every byte.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(mut self) -> String {
        let read = self.stream.read_to_end(&mut self.read);
        // A reset is an end as well.
        let _ = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the connection ends");
        String::from_utf8_lossy(&self.read).into_owned()
    }

    /// Reads until `end` has come, and takes all up to it.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = find(&self.read, end.as_bytes()) {
                let taken: Vec<u8> = self.read.drain(..at + end.len()).collect();
                return String::from_utf8_lossy(&taken).into_owned();
            }
            if self.more().await == 0 {
                panic!(
                    "the connection ended with {:?} without {end:?}",
                    String::from_utf8_lossy(&self.read)
                );
            }
        }
    }

    /// One response with a length: its head and its body.
    pub(crate) async fn response(&mut self) -> (String, Vec<u8>) {
        let head = self.until("\r\n\r\n").await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more().await > 0, "the body is cut off: {head}");
        }
        (head, self.read.drain(..length).collect())
    }

    pub(crate) async fn more(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.read);
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("something comes")
            .unwrap_or(0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
}

pub(crate) fn last_get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
}

/// Waits for a condition that something else brings about.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waited).await.is_ok(),
        "{what}"
    );
}

pub(crate) fn refused() -> io::Error {
    io::ErrorKind::ConnectionRefused.into()
}
