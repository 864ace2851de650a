//! The task that keeps a sandbox: it alone talks with the init, and clears up in the end.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use pilvi_base::TaskGroup;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};

use super::pool::Pool;
use super::{KILLED, Sandbox, Shared, ended};
use crate::launch::{Remains, Running};
use crate::protocol::{FIRST, Family, Order, Report};
use crate::runtime::Accepted;
use crate::spec::{Door, Ending, Exit};
use crate::{Failure, channel::AsyncChannel};

/// Commands that wait for the keeper. A caller who finds no room waits.
const COMMANDS: usize = 64;
/// How many sockets are asked for at once.
const SOCKETS: u8 = 8;

/// What the holders of a sandbox ask its keeper for.
#[derive(Debug)]
pub(super) enum Command {
    Signal { program: u64, signal: i32 },
    Exec(ExecOrder),
    Sockets { family: Family },
}

#[derive(Debug)]
pub(super) struct ExecOrder {
    pub(super) program: OwnedFd,
    pub(super) streams: [OwnedFd; 3],
    pub(super) reply: oneshot::Sender<Result<Started, Failure>>,
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) program: u64,
    pub(super) exit: watch::Receiver<Option<Exit>>,
}

struct Keeper {
    channel: AsyncChannel,
    commands: mpsc::Receiver<Command>,
    pools: Arc<[Pool; 2]>,
    /// Programs that are to start, by number, and who waits for that.
    starting: HashMap<u64, oneshot::Sender<Result<Started, Failure>>>,
    running: HashMap<u64, watch::Sender<Option<Exit>>>,
    next: u64,
    stop: TaskGroup,
}

/// Takes care of a sandbox from now on; returns the first handle on it.
pub(crate) fn keep(
    running: Running,
    name: String,
    uid: Option<u32>,
    doors: &[Door],
    arrivals: &mpsc::Sender<Accepted>,
    tasks: &TaskGroup,
) -> Result<Sandbox, (Failure, Remains)> {
    let Running {
        channel,
        remains,
        listeners,
    } = running;
    let init = match remains.init.as_ref().map(OwnedFd::try_clone) {
        Some(Ok(init)) => init,
        Some(Err(error)) => return Err((Failure::new("be watched", error), remains)),
        None => return Err((ended(), remains)),
    };
    let (commands, orders) = mpsc::channel(COMMANDS);
    let (exit_here, exit) = watch::channel(None);
    let pools = Arc::new([Pool::default(), Pool::default()]);
    let shared = Shared {
        name,
        uid,
        cgroup: Arc::clone(&remains.cgroup),
        init,
        commands,
        pools: Arc::clone(&pools),
        prefers_v6: AtomicBool::new(false),
        exit,
    };
    let sandbox = Sandbox {
        shared: Arc::new(shared),
    };
    for (listener, door) in listeners.into_iter().zip(doors) {
        watch_door(listener, door.port, &sandbox, arrivals.clone(), tasks);
    }
    let keeper = Keeper {
        channel,
        commands: orders,
        pools,
        starting: HashMap::new(),
        running: HashMap::new(),
        next: FIRST + 1,
        stop: tasks.clone(),
    };
    tasks.spawn("sandbox", keeper.run(remains, exit_here));
    Ok(sandbox)
}

impl Keeper {
    async fn run(mut self, remains: Remains, exit: watch::Sender<Option<Exit>>) {
        let ending = self.serve().await.unwrap_or(KILLED.ending);
        let Self { running, .. } = self;
        let out_of_memory = remains.clear().await;
        for program in running.into_values() {
            program.send_replace(Some(KILLED));
        }
        exit.send_replace(Some(Exit {
            ending,
            out_of_memory,
        }));
    }

    /// Serves until the first program has ended, and says how; or until nobody needs the sandbox any more.
    async fn serve(&mut self) -> Option<Ending> {
        loop {
            tokio::select! {
                command = self.commands.recv() => {
                    // The init may be gone, and how the first program ended may still wait to be read.
                    let _ = self.order(command?).await;
                }
                message = self.channel.receive() => {
                    let message = message.ok()??;
                    let report = Report::decode(&message.bytes).ok()?;
                    if let Report::Exited { program: FIRST, ending } = report {
                        return Some(ending);
                    }
                    self.hear(report, message.files);
                }
                () = self.stop.stopping() => return None,
            }
        }
    }

    async fn order(&mut self, command: Command) -> std::io::Result<()> {
        match command {
            Command::Signal { program, signal } => {
                self.channel
                    .send(&Order::Signal { program, signal }.encode(), &[])
                    .await
            }
            Command::Sockets { family } => {
                let order = Order::Sockets {
                    family,
                    count: SOCKETS,
                };
                self.channel.send(&order.encode(), &[]).await
            }
            Command::Exec(order) => {
                let program = self.next;
                self.next += 1;
                let files: Vec<_> = [&order.program]
                    .into_iter()
                    .chain(&order.streams)
                    .map(AsFd::as_fd)
                    .collect();
                self.starting.insert(program, order.reply);
                self.channel
                    .send(&Order::Exec { program }.encode(), &files)
                    .await
            }
        }
    }

    fn hear(&mut self, report: Report, files: Vec<OwnedFd>) {
        match report {
            Report::Started { program } => self.started(program),
            Report::Failed { program, refusal } => {
                if let Some(reply) = self.starting.remove(&program) {
                    let _ = reply.send(Err(refusal.into()));
                }
            }
            Report::Exited { program, ending } => {
                if let Some(exit) = self.running.remove(&program) {
                    exit.send_replace(Some(Exit {
                        ending,
                        out_of_memory: false,
                    }));
                }
            }
            Report::Sockets { family, errno } => Pool::of(&self.pools, family).put(files, errno),
            Report::Prepared => {}
        }
    }

    fn started(&mut self, program: u64) {
        let Some(reply) = self.starting.remove(&program) else {
            return;
        };
        let (exit_here, exit) = watch::channel(None);
        self.running.insert(program, exit_here);
        // Whoever asked may have given up; the program runs on until the sandbox ends.
        let _ = reply.send(Ok(Started { program, exit }));
    }
}

/// Takes the connections that programs inside make to one of our doors, for as long as the sandbox lives.
fn watch_door(
    listener: OwnedFd,
    port: u16,
    sandbox: &Sandbox,
    arrivals: mpsc::Sender<Accepted>,
    tasks: &TaskGroup,
) {
    let listener = match TcpListener::from_std(listener.into()) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                port,
                "a door of a sandbox stays closed"
            );
            return;
        }
    };
    let name = sandbox.name().to_owned();
    let mut exit = sandbox.shared.exit.clone();
    let accept = async move {
        loop {
            let arrival = match listener.accept().await {
                Ok((stream, _)) => Accepted {
                    stream,
                    port,
                    sandbox: name.clone(),
                },
                // The connection is gone again, or the server is short of files: others may come.
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            };
            if arrivals.send(arrival).await.is_err() {
                return;
            }
        }
    };
    tasks.spawn("door of a sandbox", async move {
        tokio::select! {
            () = accept => {}
            _ = exit.wait_for(Option::is_some) => {}
        }
    });
}
