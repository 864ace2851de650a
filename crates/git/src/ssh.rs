//! The SSH door: keys only, and nothing behind it but git's two programs.

mod command;
mod connection;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use pilvi_base::TaskGroup;
use russh::keys::Algorithm;
use russh::server::{Config, RunningSession, run_stream};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{Git, HostKey};
use connection::{Connection, Standing};

/// Bounds of the SSH door.
#[derive(Clone, Debug)]
pub struct SshLimits {
    pub connections_max: usize,
    /// The same for one address.
    pub connections_per_address_max: usize,
    /// How long a client may take to show a key that is known.
    pub login_timeout: Duration,
    /// How long a connection may rest that runs nothing.
    pub idle_timeout: Duration,
    /// How often a client is asked whether it is still there; the third time without an answer is the last.
    pub keepalive_interval: Duration,
    /// Keys that one client may try.
    pub attempts_max: usize,
    /// Commands at once in one connection.
    pub channels_max: usize,
}

impl Default for SshLimits {
    fn default() -> Self {
        Self {
            connections_max: 256,
            connections_per_address_max: 64,
            login_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(15),
            attempts_max: 10,
            channels_max: 4,
        }
    }
}

/// What one client may send before it is read, in bytes. Together with the number of messages that wait, it bounds
/// the memory of a connection.
const WINDOW: u32 = 1 << 20;
const PACKET_MAX: u32 = 32 << 10;
const MESSAGES_MAX: usize = 32;

/// A refused key costs its client this, so that trying many is no use.
const REJECTION: Duration = Duration::from_millis(100);

/// How long a client may take to part after it was told to.
const PARTING: Duration = Duration::from_secs(3);

/// The SSH door.
pub struct SshServer {
    git: Git,
    config: Arc<Config>,
    limits: SshLimits,
    /// Open connections by address. A plain mutex: held to count.
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl SshServer {
    pub fn new(git: Git, host_key: &HostKey, limits: SshLimits) -> Self {
        let config = Config {
            server_id: SshId::Standard("SSH-2.0-Pilvi".into()),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: REJECTION,
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![host_key.key().clone()],
            window_size: WINDOW,
            maximum_packet_size: PACKET_MAX,
            channel_buffer_size: MESSAGES_MAX,
            preferred: preferred(),
            max_auth_attempts: limits.attempts_max,
            // Connections end by other clocks: see `attend`.
            inactivity_timeout: None,
            keepalive_interval: Some(limits.keepalive_interval),
            keepalive_max: 3,
            nodelay: true,
            ..Config::default()
        };
        Self {
            git,
            config: Arc::new(config),
            limits,
            connections: Arc::default(),
        }
    }

    /// Accepts clients until the server stops.
    pub async fn serve(self, listener: TcpListener, tasks: TaskGroup) {
        loop {
            let accepted = tokio::select! {
                () = tasks.stopping() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, &tasks),
                Err(error) => {
                    tracing::warn!(%error, "an ssh connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn welcome(&self, stream: TcpStream, peer: SocketAddr, tasks: &TaskGroup) {
        let Some(place) = self.place(peer.ip()) else {
            tracing::warn!(%peer, "there is no room for one more ssh connection");
            return;
        };
        // Packets of SSH are made to be sent at once; where that cannot be had, they only arrive later.
        let _ = stream.set_nodelay(true);
        let (standing, watched) = watch::channel(Standing::Stranger);
        let cut = CancellationToken::new();
        let stream = Cuttable {
            stream,
            cut: Box::pin(cut.clone().cancelled_owned()),
        };
        let connection = Connection::new(
            self.git.clone(),
            tasks.clone(),
            peer.ip(),
            standing,
            self.limits.channels_max,
        );
        let (config, limits) = (Arc::clone(&self.config), self.limits.clone());
        let group = tasks.clone();
        tasks.spawn("ssh connection", async move {
            let _place = place;
            // Whatever happens here, the socket is closed afterwards.
            let _cut = cut.drop_guard();
            let greeted =
                tokio::time::timeout(limits.login_timeout, run_stream(config, stream, connection));
            match greeted.await {
                Ok(Ok(session)) => attend(session, watched, &limits, &group).await,
                Ok(Err(error)) => tracing::debug!(%peer, %error, "an ssh connection failed"),
                Err(_) => tracing::debug!(%peer, "an ssh client did not say anything"),
            }
        });
    }

    fn place(&self, address: IpAddr) -> Option<ConnectionPlace> {
        let mut open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let of_address = open.get(&address).copied().unwrap_or(0);
        if all >= self.limits.connections_max
            || of_address >= self.limits.connections_per_address_max
        {
            return None;
        }
        open.insert(address, of_address + 1);
        Some(ConnectionPlace {
            address,
            connections: Arc::clone(&self.connections),
        })
    }
}

/// One open connection of an address.
struct ConnectionPlace {
    address: IpAddr,
    connections: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Algorithms that a client of the last ten years has. Compression gains nothing on packs, which are compressed.
fn preferred() -> Preferred {
    // Also the ways in which clients may sign; SHA-1 is not among them.
    let mut keys = Preferred::DEFAULT.key.to_vec();
    keys.extend([Algorithm::SkEd25519, Algorithm::SkEcdsaSha2NistP256]);
    keys.retain(|algorithm| !matches!(algorithm, Algorithm::Dsa | Algorithm::Rsa { hash: None }));
    Preferred {
        key: keys.into(),
        compression: [russh::compression::NONE].to_vec().into(),
        ..Preferred::DEFAULT
    }
}

/// Waits until the connection ends, and ends it when it is of no more use.
async fn attend(
    session: RunningSession<Connection>,
    mut standing: watch::Receiver<Standing>,
    limits: &SshLimits,
    tasks: &TaskGroup,
) {
    let handle = session.handle();
    let mut session = std::pin::pin!(session);
    let login_end = Instant::now() + limits.login_timeout;
    loop {
        let now = *standing.borrow_and_update();
        let end = match now {
            Standing::Stranger => Some(login_end),
            Standing::Idle => Some(Instant::now() + limits.idle_timeout),
            Standing::Busy => None,
        };
        let is_over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an ssh connection ended");
                }
                return;
            }
            // A command that runs is told by itself that the server stops.
            () = tasks.stopping(), if now != Standing::Busy => break,
            () = is_over => break,
            changed = standing.changed() => if changed.is_err() { break },
        }
    }
    let parting = handle.disconnect(Disconnect::ByApplication, String::new(), String::new());
    let _ = tokio::time::timeout(PARTING, async {
        let _ = parting.await;
        let _ = session.await;
    })
    .await;
}

/// A socket that can be closed from outside, whoever holds it.
struct Cuttable {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Cuttable {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
