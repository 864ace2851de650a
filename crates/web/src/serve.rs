//! The listeners: taking connections, no more than can be served, until it is time to stop.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pilvi_base::TaskGroup;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::arrival::{Ends, Scope};
use crate::conn::{serve_http1, serve_http2};
use crate::{Door, Permit, Stream};

/// How long a listener rests when the machine is out of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a connection beyond the bound gets. Written without reading the request, so it fits any service.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n\
    Content-Length: 152\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\
    {\"error\":{\"reason\":\"Unavailable\",\"message\":\"too many connections\"},\
    \"errors\":[{\"reason\":\"Unavailable\",\"message\":\"too many connections; try again soon\"}]}";

/// How connections come in.
#[derive(Clone)]
struct Way {
    tls: Option<TlsAcceptor>,
    /// See [`Ends::public_port`].
    public_port: Option<u16>,
    scope: Scope,
}

impl Door {
    /// Takes connections from `listener`, under TLS when `tls` is given, until `tasks` is told to stop. Each
    /// connection is a task of the group; a stopping group lets requests under way finish.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        tasks: TaskGroup,
    ) {
        let way = Way {
            tls: tls.map(TlsAcceptor::from),
            public_port: None,
            scope: Scope::Everybody,
        };
        let mut exhausted = false;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tasks.stopping() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    exhausted = false;
                    self.admit(stream, way.clone(), &tasks).await;
                }
                Err(error) if is_the_clients(&error) => {}
                Err(error) => {
                    // Once, however long it lasts.
                    if !std::mem::replace(&mut exhausted, true) {
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "could not take a connection; trying again shortly"
                        );
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection that was accepted elsewhere, as a task of the group. `public_port` is where everybody else
    /// finds what is reached here, `scope` what that is.
    pub async fn take(
        self: &Arc<Self>,
        stream: TcpStream,
        tls: Option<Arc<rustls::ServerConfig>>,
        public_port: u16,
        scope: Scope,
        tasks: &TaskGroup,
    ) {
        let way = Way {
            tls: tls.map(TlsAcceptor::from),
            public_port: Some(public_port),
            scope,
        };
        self.admit(stream, way, tasks).await;
    }

    /// Starts serving a connection, or turns it away when there are too many.
    async fn admit(self: &Arc<Self>, stream: TcpStream, way: Way, tasks: &TaskGroup) {
        let Some(permit) = self.permit_for(&stream) else {
            return self.turn_away(stream, way.tls, tasks).await;
        };
        let (door, group) = (self.clone(), tasks.clone());
        tasks.spawn("connection", async move {
            if let Err(error) = door.serve_connection(permit, stream, way, &group).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "a connection broke off"
                );
            }
        });
    }

    fn permit_for(&self, stream: &TcpStream) -> Option<Permit> {
        let permit = match stream.as_raw_fd() < self.limits.files_max {
            true => self.permit(),
            false => None,
        };
        // Once for each time that it becomes full.
        let was_full = self.is_full.swap(permit.is_none(), Ordering::Relaxed);
        if permit.is_none() && !was_full {
            tracing::warn!("connections are turned away: there are too many");
        }
        permit
    }

    /// Says that there are too many connections. Only so many are told with patience at the same time. Under TLS
    /// nothing can be said without it, so whoever comes meanwhile waits to be accepted.
    async fn turn_away(&self, stream: TcpStream, tls: Option<TlsAcceptor>, tasks: &TaskGroup) {
        let refusals = Arc::clone(&self.refusals);
        let turn = match &tls {
            None => refusals.try_acquire_owned().ok(),
            Some(_) => tokio::select! {
                turn = refusals.acquire_owned() => turn.ok(),
                () = tasks.stopping() => return,
            },
        };
        let Some(turn) = turn else {
            return turn_away_at_once(stream);
        };
        let patience = self.limits.linger;
        tasks.spawn("refusal", async move {
            let told = async {
                match tls.as_ref().map(without_http2) {
                    None => tell_full(stream).await,
                    Some(tls) => tell_full(tls.accept(stream).await?).await,
                }
            };
            // Who takes longer has gone, or has read it, or does not want to know.
            let _ = tokio::time::timeout(patience, told).await;
            drop(turn);
        });
    }

    async fn serve_connection(
        self: Arc<Self>,
        permit: Permit,
        stream: TcpStream,
        way: Way,
        tasks: &TaskGroup,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Way {
            tls,
            public_port,
            scope,
        } = way;
        let ends = Ends {
            public_port,
            scope,
            secure: tls.is_some(),
            peer: stream.peer_addr()?,
            local: stream.local_addr()?,
        };
        match tls {
            None => serve_http1(self, permit, Stream::Plain(stream), ends, tasks).await,
            // What does not speak TLS need not carry its size.
            Some(tls) => Box::pin(self.serve_tls(permit, stream, tls, ends, tasks)).await?,
        }
        Ok(())
    }

    async fn serve_tls(
        self: Arc<Self>,
        permit: Permit,
        stream: TcpStream,
        tls: TlsAcceptor,
        ends: Ends,
        tasks: &TaskGroup,
    ) -> io::Result<()> {
        let handshake = tls.accept(stream);
        let handshake = Box::pin(tokio::time::timeout(
            self.limits.handshake_timeout,
            handshake,
        ));
        let stream = tokio::select! {
            done = handshake => done.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??,
            () = tasks.stopping() => return Ok(()),
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = Stream::Tls(Box::new(stream));
        if http2 {
            Box::pin(serve_http2(self, stream, ends, tasks)).await;
            drop(permit);
        } else {
            serve_http1(self, permit, stream, ends, tasks).await;
        }
        Ok(())
    }
}

/// Says it, and waits until the client has gone: a socket closed with unread input resets, and the reply is lost.
async fn tell_full(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    stream.write_all(FULL).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

/// What is said fits HTTP/1 alone.
fn without_http2(tls: &TlsAcceptor) -> TlsAcceptor {
    let mut config = rustls::ServerConfig::clone(tls.config());
    config.alpn_protocols.retain(|name| name != b"h2");
    TlsAcceptor::from(Arc::new(config))
}

/// One attempt to say why, without waiting for anybody.
fn turn_away_at_once(stream: TcpStream) {
    let _ = stream.try_write(FULL);
    // What has arrived is taken off, because a socket closed with unread input resets and the reply is lost.
    let _ = stream.try_read(&mut [0; 4096]);
    if let Ok(stream) = stream.into_std() {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
}

/// Errors of one connection that went away before it was taken.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F>(
        _: impl FnOnce(Arc<Door>, Permit, TcpStream, Way, &'static TaskGroup) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_client_that_has_just_come_takes_little() {
        let size = size_of_future(Door::serve_connection);
        assert!(size <= 1 << 10, "{size}");
    }

    #[test]
    fn the_reply_to_one_too_many_has_its_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
