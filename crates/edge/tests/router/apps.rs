//! Apps for the tests: an upstream that is a real listener, with a script for each connection.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pilvi_base::TaskGroup;
use pilvi_edge::{BoxFuture, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{World, refused};

/// One process of an app.
pub(crate) struct App {
    id: String,
    address: SocketAddr,
    pub(crate) dials: AtomicUsize,
    /// Connections that are open.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) refuses: AtomicBool,
}

impl Upstream for App {
    fn id(&self) -> &str {
        &self.id
    }

    fn dial(&self) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async {
            if self.refuses.load(Ordering::SeqCst) {
                return Err(refused());
            }
            self.dials.fetch_add(1, Ordering::SeqCst);
            TcpStream::connect(self.address).await
        })
    }
}

impl App {
    /// Starts a process that runs `script` on each of its connections.
    pub(crate) async fn start<F, Fut>(tasks: &TaskGroup, id: &str, script: F) -> Arc<Self>
    where
        F: Fn(Wire) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = Arc::new(AtomicUsize::new(0));
        let app = Arc::new(Self {
            id: id.to_owned(),
            address: listener.local_addr().unwrap(),
            dials: AtomicUsize::new(0),
            open: open.clone(),
            refuses: AtomicBool::new(false),
        });
        let (group, script) = (tasks.clone(), Arc::new(script));
        tasks.spawn("app", async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = group.stopping() => return,
                };
                stream.set_nodelay(true).unwrap();
                open.fetch_add(1, Ordering::SeqCst);
                let (script, open, stopping) = (script.clone(), open.clone(), group.clone());
                group.spawn("app connection", async move {
                    let wire = Wire {
                        stream,
                        read: Vec::new(),
                    };
                    tokio::select! {
                        () = script(wire) => {}
                        () = stopping.stopping() => {}
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        app
    }

    /// An app at the usual host that answers each request with `answer`.
    pub(crate) async fn answering(world: &World, answer: impl Into<String>) -> Arc<Self> {
        let answer = answer.into();
        let app = Self::start(&world.tasks, "web.1", move |mut wire| {
            let answer = answer.clone();
            async move {
                while wire.request().await.is_some() {
                    wire.send(&answer).await;
                }
            }
        })
        .await;
        world.run(&app);
        app
    }

    /// An app at the usual host that sends back what it was asked, head and body, and goes on.
    pub(crate) async fn echoing(world: &World) -> Arc<Self> {
        let app = Self::start(&world.tasks, "web.1", |mut wire| async move {
            while let Some((head, body)) = wire.request().await {
                let text = [head.as_bytes(), &body].concat();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", text.len());
                wire.send([answer.as_bytes(), &text].concat()).await;
            }
        })
        .await;
        world.run(&app);
        app
    }
}

/// The app's end of a connection.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) read: Vec<u8>,
}

impl Wire {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The head of the next request; `None` when there is none.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next request: its head, and its body as it came.
    pub(crate) async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        if let Some(length) = length {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            let body = self.read.drain(..length).collect();
            return Some((head, body));
        }
        if !head.contains("Transfer-Encoding: chunked") {
            return Some((head, Vec::new()));
        }
        loop {
            if self.read.ends_with(b"\r\n\r\n") {
                return Some((head, std::mem::take(&mut self.read)));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads some more. `false` at the end.
    pub(crate) async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.read).await, Ok(read) if read > 0)
    }

    /// Until the other side has gone.
    pub(crate) async fn gone(&mut self) {
        while self.more().await {
            self.read.clear();
        }
    }
}
