//! One client's connection: who it is, and the commands it runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pilvi_base::TaskGroup;
use pilvi_model::{Error, Kind};
use russh::keys::{Algorithm, HashAlg};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Pty,
};
use tokio::sync::{mpsc, watch};

use super::command::{self, SshCommand};
use crate::Pusher;
use crate::conversation::{Conversation, Piece};
use crate::git::{Git, Manner, Wish};
use crate::public_key::fingerprint;

/// The one user there is.
const USER: &str = "git";

/// The exit code of a command that was not run, the same as git's own for a fatal error.
const NOT_RUN: u8 = 128;

/// What a connection is good for, which decides how long it may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No key has been shown yet.
    Stranger,
    /// Somebody we know, who runs nothing.
    Idle,
    Busy,
}

/// What the library calls with all that a client sends.
pub(super) struct Connection {
    git: Git,
    tasks: TaskGroup,
    pusher: Option<Pusher>,
    peer: IpAddr,
    channels_max: usize,
    /// Channels that have not asked for anything yet.
    waiting: HashMap<ChannelId, Waiting>,
    busy: Arc<Busy>,
}

struct Waiting {
    channel: Channel<Msg>,
    /// What the client said of git's protocol.
    protocol: Option<String>,
}

/// Counts what runs, and tells.
struct Busy {
    running: AtomicUsize,
    standing: watch::Sender<Standing>,
}

/// One command that runs.
struct Running(Arc<Busy>);

impl Running {
    fn begin(busy: &Arc<Busy>) -> Self {
        busy.running.fetch_add(1, Ordering::Relaxed);
        busy.standing.send_replace(Standing::Busy);
        Self(Arc::clone(busy))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.standing.send_replace(Standing::Idle);
        }
    }
}

impl Connection {
    pub(super) fn new(
        git: Git,
        tasks: TaskGroup,
        peer: IpAddr,
        standing: watch::Sender<Standing>,
        channels_max: usize,
    ) -> Self {
        Self {
            git,
            tasks,
            pusher: None,
            peer: peer.to_canonical(),
            channels_max,
            waiting: HashMap::new(),
            busy: Arc::new(Busy {
                running: AtomicUsize::new(0),
                standing,
            }),
        }
    }

    /// Whose key it is, if the user and the way of signing are right too.
    async fn find_holder(
        &self,
        user: &str,
        key: &russh::keys::PublicKey,
        algorithm: &Algorithm,
    ) -> Option<Pusher> {
        if user != USER || !is_strong(algorithm) {
            return None;
        }
        let fingerprint = fingerprint(key);
        let holder = self
            .git
            .shared
            .gatekeeper
            .key_holder(&fingerprint, self.peer);
        match holder.await {
            Ok(holder) => holder,
            Err(error) => {
                tracing::error!(%error, "an ssh key could not be looked up");
                None
            }
        }
    }

    /// Lets a channel do what it asks for, in a task of its own.
    fn run(
        &mut self,
        id: ChannelId,
        line: Option<Vec<u8>>,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        let (Some(waiting), Some(pusher)) = (self.waiting.remove(&id), self.pusher.clone()) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let running = Running::begin(&self.busy);
        let (git, peer) = (self.git.clone(), self.peer);
        self.tasks.spawn("ssh command", async move {
            let _running = running;
            let (from_client, to_client) = waiting.channel.split();
            let begun = begin(
                &git,
                pusher,
                peer,
                line.as_deref(),
                waiting.protocol.as_deref(),
            );
            let ended = match begun.await {
                Ok(conversation) => carry(conversation, from_client, &to_client).await,
                Err(message) => {
                    let said = to_client
                        .extended_data_bytes(1, format!("{message}\n"))
                        .await;
                    said.map(|()| NOT_RUN)
                }
            };
            if let Ok(code) = ended {
                // Each of these fails only when the client has gone.
                let _ = to_client.exit_status(code.into()).await;
                let _ = to_client.eof().await;
                let _ = to_client.close().await;
            }
        });
        Ok(())
    }
}

/// SHA-1 signatures can be forged by whoever has enough machines.
fn is_strong(algorithm: &Algorithm) -> bool {
    match algorithm {
        Algorithm::Rsa { hash } => matches!(hash, Some(HashAlg::Sha256 | HashAlg::Sha512)),
        Algorithm::Dsa => false,
        _ => true,
    }
}

/// Starts git for a command line. The error is for the pusher's terminal.
async fn begin(
    git: &Git,
    pusher: Pusher,
    peer: IpAddr,
    line: Option<&[u8]>,
    protocol: Option<&str>,
) -> Result<Conversation, String> {
    let Some(line) = line else {
        return Err(format!(
            "Hello {pusher}! Your key is known here. This server takes git push, git fetch and git clone; \
             it has no shell."
        ));
    };
    let SshCommand { service, app } = command::parse(line)?;
    let wish = Wish {
        service,
        manner: Manner::Conversation,
        app: &app,
        pusher,
        peer,
        protocol,
    };
    git.begin(wish).await.map_err(|error| tell(&error))
}

fn tell(error: &Error) -> String {
    if error.kind == Kind::Internal {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(cause, "git over ssh failed through a fault of ours");
    }
    error.message.clone()
}

/// Carries bytes both ways until git ends, and returns its exit code. An error: the client has gone first.
async fn carry(
    conversation: Conversation,
    from_client: ChannelReadHalf,
    to_client: &ChannelWriteHalf<Msg>,
) -> Result<u8, russh::Error> {
    let Conversation { input, output } = conversation;
    tokio::select! {
        ended = speak(output, to_client) => ended,
        () = listen(from_client, input) => Err(russh::Error::Disconnect),
    }
}

async fn speak(
    mut output: mpsc::Receiver<Piece>,
    to_client: &ChannelWriteHalf<Msg>,
) -> Result<u8, russh::Error> {
    loop {
        match output.recv().await {
            Some(Piece::Output(bytes)) => to_client.data_bytes(bytes).await?,
            Some(Piece::Complaint(bytes)) => to_client.extended_data_bytes(1, bytes).await?,
            Some(Piece::Exit(code)) => return Ok(code),
            None => return Ok(NOT_RUN),
        }
    }
}

/// Resolves when the client has gone. That it has nothing more to say is not the same.
async fn listen(mut from_client: ChannelReadHalf, input: mpsc::Sender<bytes::Bytes>) {
    let mut input = Some(input);
    while let Some(message) = from_client.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(git) = &input
                    && git.send(data).await.is_err()
                {
                    input = None;
                }
            }
            ChannelMsg::Eof => input = None,
            ChannelMsg::Close => return,
            _ => {}
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, russh::Error> {
        let holder = self.find_holder(user, offer.public_key, offer.algorithm);
        Ok(match holder.await {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        self.pusher = self.find_holder(user, key.public_key, key.algorithm).await;
        Ok(match self.pusher {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Result<(), russh::Error> {
        self.busy.standing.send_replace(Standing::Idle);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        let open = self.waiting.len() + self.busy.running.load(Ordering::Relaxed);
        if open >= self.channels_max {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        let waiting = Waiting {
            channel,
            protocol: None,
        };
        self.waiting.insert(waiting.channel.id(), waiting);
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), russh::Error> {
        self.waiting.remove(&id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        match self.waiting.get_mut(&id) {
            Some(waiting) if name == "GIT_PROTOCOL" && value.len() <= 64 => {
                waiting.protocol = Some(value.to_owned());
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.run(id, Some(line.to_vec()), session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.run(id, None, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_failure(id)
    }
}
