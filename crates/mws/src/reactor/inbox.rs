//! What others ask of a reactor.
//!
//! A plain list under a mutex, taken out whole: it is held for a push or a swap. What is in it is bounded by what there
//! is: messages by the room of their gateway ([`crate::limits::Limits::batch_bytes_max`]), sockets by their maximum,
//! questions by the callers who wait for an answer.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pilvi_model::GatewayId;
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::question::Question;
use super::socket::Newcomer;
use crate::dress::Dressed;
use crate::roster::Receivers;
use crate::session::Farewell;
use crate::settings::presence::PresencePlan;
use crate::socket_id::SocketId;

/// A message on its way to the reactors.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) gateway: GatewayId,
    pub(crate) to: Receivers,
    pub(crate) message: Arc<Dressed>,
    /// Given back once every reactor has found its receivers.
    pub(crate) _room: Option<OwnedSemaphorePermit>,
}

/// What a reactor is asked to do. Questions are answered unless the reactor breaks down.
#[derive(Debug)]
pub(crate) enum Command {
    Join(Box<Joining>),
    Publish(Arc<Publication>),
    /// Takes a socket out of its gateway and ends it. Answers whether it was there.
    End {
        gateway: GatewayId,
        id: SocketId,
        farewell: Farewell,
        answer: oneshot::Sender<bool>,
    },
    /// There is room again for what a socket says.
    Resume {
        gateway: GatewayId,
        id: SocketId,
    },
    /// Ends all sockets of a gateway.
    EndAll(GatewayId, Farewell),
    /// Asks what is known of a gateway's sockets here.
    Ask(GatewayId, Question),
    /// Says of which tags it is noted who comes and leaves.
    Watch(GatewayId, Option<Arc<PresencePlan>>),
    /// Ends all sockets, also those that still come, and then the reactor.
    Close,
}

/// A connection on its way into a gateway.
#[derive(Debug)]
pub(crate) struct Joining {
    pub(crate) newcomer: Newcomer,
    /// Of which tags the gateway says who is there.
    pub(crate) presence: Option<Arc<PresencePlan>>,
    /// What it missed, ready to be sent before everything else.
    pub(crate) replay: Vec<Bytes>,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    /// Written to when the reactor is to wake up. Never read: it is watched for its edges.
    bell: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    commands: Vec<Command>,
    /// The reactor waits for the bell.
    asleep: bool,
    /// The reactor has ended and nobody looks in here any more.
    closed: bool,
}

impl Inbox {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Adds a command. When the reactor has ended, the command is dropped.
    pub(crate) fn push(&self, command: Command) {
        let mut state = self.state();
        if state.closed {
            return;
        }
        state.commands.push(command);
        let asleep = std::mem::take(&mut state.asleep);
        drop(state);
        if asleep {
            // It can only fail when the bell rings already.
            let _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    /// Moves all commands into `commands`, which is empty.
    pub(crate) fn take(&self, commands: &mut Vec<Command>) {
        debug_assert!(commands.is_empty());
        let mut state = self.state();
        state.asleep = false;
        std::mem::swap(&mut state.commands, commands);
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.state().commands.len()
    }

    /// Says whether the reactor may wait. If so, the next command rings the bell.
    pub(crate) fn fall_asleep(&self) -> bool {
        let mut state = self.state();
        state.asleep = state.commands.is_empty();
        state.asleep
    }

    /// Closes it unless there is something in it.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut state = self.state();
        state.closed |= state.commands.is_empty();
        state.closed
    }

    /// Closes it and drops what is in it.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let dropped = std::mem::take(&mut state.commands);
        drop(state);
        drop(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
