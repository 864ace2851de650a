//! A running sandbox, as the server sees it.

mod keeper;
mod pool;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use self::keeper::keep;
use self::keeper::{Command, ExecOrder};
use self::pool::Pool;
use crate::Failure;
use crate::cgroup::Cgroup;
use crate::launch::{memory_file, own, streams};
use crate::protocol::{FIRST, Family, Program};
use crate::spec::{Ending, Exec, Exit, Usage};

/// How long an init may take to start a program.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running sandbox. Cloning gives another handle on it; dropping the last one kills it.
#[derive(Clone, Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// The user of the host behind it, when that is not our own.
    uid: Option<u32>,
    cgroup: Arc<Cgroup>,
    init: std::os::fd::OwnedFd,
    commands: mpsc::Sender<Command>,
    pools: Arc<[Pool; 2]>,
    /// Whether the last program that answered a call did so at ::1 only.
    prefers_v6: AtomicBool,
    exit: watch::Receiver<Option<Exit>>,
}

/// A program that was started in a sandbox beside its first one. It goes on when this is dropped.
#[derive(Debug)]
pub struct Execution {
    sandbox: Sandbox,
    program: u64,
    exit: watch::Receiver<Option<Exit>>,
}

impl Sandbox {
    /// The name that it was launched under.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Waits for the end of the first program. By then everything else in the sandbox has been killed too, and nothing
    /// of it is left: processes, mounts, cgroup, network.
    pub async fn exited(&self) -> Exit {
        wait(self.shared.exit.clone()).await
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        *self.shared.exit.borrow()
    }

    /// Sends a signal to the first program and the others of its process group. Does nothing after its end.
    pub async fn signal(&self, signal: i32) {
        let program = FIRST;
        self.command(Command::Signal { program, signal }).await;
    }

    /// Kills everything in the sandbox at once, and returns when nothing of it is left.
    pub async fn kill(&self) -> Exit {
        // An error says that it has ended already.
        let _ = pidfd_send_signal(&self.shared.init, Signal::KILL);
        self.exited().await
    }

    /// Starts another program in it.
    pub async fn exec(&self, exec: Exec) -> Result<Execution, Failure> {
        let program = Program {
            argv: exec.argv,
            env: exec.env,
            cwd: exec.cwd,
        };
        let step = |error| Failure::new("be told what to start", error);
        let streams = streams(exec.stdin, exec.stdout, exec.stderr).map_err(step)?;
        if let Some(uid) = self.shared.uid {
            own(&streams, uid).map_err(step)?;
        }
        let program = memory_file(&program.encode()).map_err(step)?;
        let (reply, started) = oneshot::channel();
        let order = ExecOrder {
            program,
            streams,
            reply,
        };
        let starting = async {
            self.command(Command::Exec(order)).await;
            started.await.unwrap_or_else(|_| Err(ended()))
        };
        let late = || Failure::new("start a program", io::Error::from(io::ErrorKind::TimedOut));
        let started = tokio::time::timeout(PATIENCE, starting)
            .await
            .unwrap_or_else(|_| Err(late()))?;
        Ok(Execution {
            sandbox: self.clone(),
            program: started.program,
            exit: started.exit,
        })
    }

    /// Connects to a port of the sandbox: at 127.0.0.1, and at ::1 when nobody listens there.
    pub async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        let v6_first = self.shared.prefers_v6.load(Ordering::Relaxed);
        let (first, second) = if v6_first {
            (Family::V6, Family::V4)
        } else {
            (Family::V4, Family::V6)
        };
        match self.dial_at(first, port).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            outcome => return outcome,
        }
        let stream = self.dial_at(second, port).await?;
        self.shared.prefers_v6.store(!v6_first, Ordering::Relaxed);
        Ok(stream)
    }

    /// What it uses at this moment.
    pub fn usage(&self) -> Usage {
        self.shared.cgroup.usage()
    }

    async fn dial_at(&self, family: Family, port: u16) -> io::Result<TcpStream> {
        let socket = self.socket(family).await?;
        let socket = TcpSocket::from_std_stream(socket.into());
        let address = match family {
            Family::V4 => (std::net::Ipv4Addr::LOCALHOST, port).into(),
            Family::V6 => (std::net::Ipv6Addr::LOCALHOST, port).into(),
        };
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn socket(&self, family: Family) -> io::Result<std::os::fd::OwnedFd> {
        let pool = Pool::of(&self.shared.pools, family);
        // An async closure would do, but then nobody could box this future as one that may change threads.
        let ask = || {
            let commands = self.shared.commands.clone();
            async move {
                let _ = commands.send(Command::Sockets { family }).await;
            }
        };
        let mut exit = self.shared.exit.clone();
        tokio::select! {
            socket = pool.take(ask) => socket,
            _ = exit.wait_for(Option::is_some) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    /// Whether anybody is left who can carry it out shows in what comes back.
    async fn command(&self, command: Command) {
        let _ = self.shared.commands.send(command).await;
    }
}

impl Execution {
    /// Waits for its end. The end of its sandbox ends it as well.
    pub async fn exited(&self) -> Exit {
        wait(self.exit.clone()).await
    }

    /// Kills the program and the others of its process group.
    pub async fn kill(&self) {
        self.signal(libc::SIGKILL).await;
    }

    /// Sends a signal to the program and the others of its process group.
    pub async fn signal(&self, signal: i32) {
        let program = self.program;
        self.sandbox
            .command(Command::Signal { program, signal })
            .await;
    }
}

/// What a caller hears who is told nothing: the keeper of the sandbox is gone, which it only is with its sandbox.
const KILLED: Exit = Exit {
    ending: Ending::Signal(libc::SIGKILL),
    out_of_memory: false,
};

async fn wait(mut exit: watch::Receiver<Option<Exit>>) -> Exit {
    let ended = exit.wait_for(Option::is_some).await;
    ended.ok().and_then(|exit| *exit).unwrap_or(KILLED)
}

fn ended() -> Failure {
    Failure::new("start a program", io::Error::other("the sandbox has ended"))
}
