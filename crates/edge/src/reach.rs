//! From a host to a connection that takes the request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Absence;
use crate::edge::Shared;
use crate::slot::Ticket;
use crate::table::{Entry, Pick};
use crate::trouble::Trouble;

/// A request that must not be sent twice takes a resting connection only when it has just been used. One that has
/// rested for longer may be about to be closed by the process, which could then not be told from a process that took
/// the request and died.
const FRESH: Duration = Duration::from_secs(1);

/// A connection to a process, for one request.
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// Read and not used yet.
    pub(crate) inbox: BytesMut,
    pub(crate) ticket: Ticket,
    pub(crate) app: Arc<str>,
    /// It has served a request before, so it may have been closed without our knowing.
    pub(crate) reused: bool,
    pub(crate) connect: Duration,
}

/// Nobody took the request.
pub(crate) struct Unreached {
    pub(crate) trouble: Trouble,
    /// None when the host belongs to no app.
    pub(crate) app: Option<Arc<str>>,
    pub(crate) connect: Duration,
}

/// What a request asks of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Any that is open.
    Any,
    /// One that was open a moment ago.
    Fresh,
    /// One that has served nobody.
    New,
}

impl Shared {
    /// Finds a process for a request to `host` and connects to it: to one after the other, until one takes it.
    pub(crate) async fn reach(&self, host: &[u8], wish: Wish) -> Result<Link, Unreached> {
        let started = Instant::now();
        let mut tried = Vec::new();
        let mut trouble = Trouble::UNREACHABLE;
        loop {
            let entry = self.table.find(host).ok_or(Unreached {
                trouble: Trouble::UNKNOWN_HOST,
                app: None,
                connect: Duration::ZERO,
            })?;
            let unreached = |trouble| Unreached {
                trouble,
                app: Some(Arc::clone(&entry.app)),
                connect: started.elapsed(),
            };
            if !entry.has_upstreams() {
                self.await_start(&entry, host, started)
                    .await
                    .map_err(unreached)?;
                continue;
            }
            let now = Instant::now();
            let ticket = match entry.pick(now, &tried) {
                Some(Pick::Entered(ticket)) => ticket,
                Some(Pick::Gone) => continue,
                None => return Err(unreached(trouble)),
            };
            match self.connect(&ticket, wish).await {
                Ok((stream, reused)) => {
                    return Ok(Link {
                        stream,
                        inbox: BytesMut::new(),
                        ticket,
                        app: Arc::clone(&entry.app),
                        reused,
                        connect: match reused {
                            true => Duration::ZERO,
                            false => started.elapsed(),
                        },
                    });
                }
                Err(error) => {
                    tracing::debug!(
                        app = &*entry.app,
                        upstream = ticket.slot().upstream.id(),
                        error = &error as &dyn std::error::Error,
                        "a process takes no connection"
                    );
                    if error.kind() == io::ErrorKind::TimedOut {
                        trouble = Trouble::SLOW_TO_CONNECT;
                    }
                    ticket.slot().shun(Instant::now(), self.settings.shun);
                    tried.push(Arc::clone(ticket.slot()));
                }
            }
        }
    }

    /// A connection as it is wished for, and whether it has served before.
    async fn connect(&self, ticket: &Ticket, wish: Wish) -> io::Result<(TcpStream, bool)> {
        let now = Instant::now();
        let resting = match wish {
            Wish::Any => ticket.slot().take(now, None),
            Wish::Fresh => ticket.slot().take(now, Some(FRESH)),
            Wish::New => None,
        };
        match resting {
            Some(stream) => Ok((stream, true)),
            None => Ok((self.dial(ticket).await?, false)),
        }
    }

    async fn dial(&self, ticket: &Ticket) -> io::Result<TcpStream> {
        let dial = ticket.slot().upstream.dial();
        let stream = tokio::time::timeout(self.settings.dial_timeout, dial)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Waits until something is published, as long as the app may be about to have processes.
    async fn await_start(
        &self,
        entry: &Arc<Entry>,
        host: &[u8],
        since: Instant,
    ) -> Result<(), Trouble> {
        let absent = Trouble::absent(entry.absence);
        if entry.absence != Absence::Starting {
            return Err(absent);
        }
        let _waiting = self.start_waiters.try_acquire().map_err(|_| absent)?;
        let published = self.published.notified();
        // It may have been published before we began to listen.
        let unchanged = self
            .table
            .find(host)
            .is_some_and(|now| Arc::ptr_eq(&now, entry));
        if !unchanged {
            return Ok(());
        }
        let until = since + self.settings.start_patience;
        tokio::select! {
            waited = tokio::time::timeout_at(until, published) => waited.map_err(|_| absent),
            () = self.tasks.stopping() => Err(absent),
        }
    }
}
