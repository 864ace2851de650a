//! A launcher for tests that starts plain processes: no sandbox, and everything else as it is.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pilvi_base::TaskGroup;
use pilvi_mar::supervisor::launcher::{Ended, Errand, Launcher, Order, Program, Running};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Starts plain processes, each with a free port of this machine in place of its own one.
pub(crate) struct PlainProcesses {
    pub(crate) tasks: TaskGroup,
}

impl PlainProcesses {
    pub(crate) fn new(tasks: TaskGroup) -> Arc<Self> {
        Arc::new(Self { tasks })
    }

    fn command(
        argv: &[String],
        env: &[(String, String)],
        port: u16,
        folder: &std::path::Path,
    ) -> Command {
        let mut command = Command::new(&argv[0]);
        command
            .args(
                argv[1..]
                    .iter()
                    .map(|argument| argument.replace("/app/", &format!("{}/", folder.display()))),
            )
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("PORT", port.to_string())
            .current_dir(folder)
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    fn watch(&self, mut child: Child) -> Plain {
        let pid = child
            .id()
            .and_then(|id| Pid::from_raw(id.cast_signed()))
            .unwrap();
        let (tell, ended) = watch::channel(None);
        let group = Group(pid);
        self.tasks.spawn("child", async move {
            // A test that fails drops this task, and leaves no process behind either.
            let _group = group;
            let status = child.wait().await.unwrap();
            tell.send_replace(Some(Ended {
                code: code(status),
                out_of_memory: false,
            }));
        });
        Plain { pid, ended }
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap())
}

impl Launcher for PlainProcesses {
    fn launch(&self, order: Order) -> BoxFuture<'_, io::Result<Arc<dyn Program>>> {
        Box::pin(async move {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                .await?
                .local_addr()?
                .port();
            let mut command = Self::command(&order.argv, &order.env, port, &order.place.slug);
            let child = command.stdout(order.stdout).stderr(order.stderr).spawn()?;
            // The command holds the ends of the pipes that the child has.
            drop(command);
            Ok(Arc::new(PlainProgram {
                plain: self.watch(child),
                port,
                folder: order.place.slug,
                tasks: self.tasks.clone(),
            }) as Arc<dyn Program>)
        })
    }
}

/// The processes that a program has started, as long as they stay in its group.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // An error says that none is left.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

struct Plain {
    pid: Pid,
    ended: watch::Receiver<Option<Ended>>,
}

impl Plain {
    async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        let ended = ended.wait_for(Option::is_some).await;
        ended.map_or(
            Ended {
                code: 137,
                out_of_memory: false,
            },
            |ended| ended.unwrap(),
        )
    }

    async fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.ended().await;
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

struct PlainProgram {
    plain: Plain,
    port: u16,
    folder: std::path::PathBuf,
    tasks: TaskGroup,
}

impl Program for PlainProgram {
    fn ended(&self) -> BoxFuture<'_, Ended> {
        Box::pin(self.plain.ended())
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let signal = Signal::from_named_raw(signal).unwrap();
            Ok(kill_process(self.plain.pid, signal)?)
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.plain.kill())
    }

    fn dial(&self, _port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let addresses = [
                SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, self.port)),
            ];
            TcpStream::connect(&addresses[..]).await
        })
    }

    fn run(&self, errand: Errand) -> BoxFuture<'_, io::Result<Box<dyn Running>>> {
        Box::pin(async move {
            let mut command =
                PlainProcesses::command(&errand.argv, &errand.env, self.port, &self.folder);
            let child = command
                .stdout(errand.stdout)
                .stderr(errand.stderr)
                .spawn()?;
            drop(command);
            let launcher = PlainProcesses::new(self.tasks.clone());
            Ok(Box::new(PlainErrand(launcher.watch(child))) as Box<dyn Running>)
        })
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(1 << 20)
    }
}

struct PlainErrand(Plain);

impl Running for PlainErrand {
    fn ended(&self) -> BoxFuture<'_, Ended> {
        Box::pin(self.0.ended())
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.kill())
    }
}
