//! The launcher of this machine: each program in a sandbox of its own.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use pilvi_runtime::{
    Exec, Execution, Exit, Failure, From, Limits, Mount, Runtime, Sandbox, Spec, Stacks,
};
use tokio::net::TcpStream;

use super::launcher::{Ended, Errand, Launcher, Order, Program, Running};

/// Where programs find their slug, and where they start.
const APP: &str = "/app";

/// Processes and threads of one process of an app.
const PIDS: u32 = 512;

/// An app of the smallest size may use this part of the machine's processors when others want them too, relative to
/// the others; a larger one accordingly more.
const WEIGHT_PER_UNIT: u32 = 100;
const UNIT_BYTES: u64 = 256 << 20;

/// Starts programs in sandboxes.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    runtime: Runtime,
    stacks: Stacks,
}

impl Sandboxes {
    pub fn new(runtime: Runtime, stacks: Stacks) -> Self {
        Self { runtime, stacks }
    }

    async fn start(&self, order: Order) -> io::Result<Arc<dyn Program>> {
        let (stacks, name) = (self.stacks.clone(), order.place.stack.as_str().to_owned());
        // It looks at folders.
        let stack = tokio::task::spawn_blocking(move || stacks.root(&name)).await?;
        let stack = stack.map_err(|error| io::Error::other(sentence(&error)))?;
        let spec = Spec {
            name: format!("{}/{}", order.app, order.name),
            uid: order.place.uid,
            stack,
            mounts: vec![Mount {
                at: APP.to_owned(),
                from: From::Layered {
                    lower: order.place.slug,
                    // What it writes there is memory, and counts as such.
                    upper_bytes: order.place.memory_bytes,
                },
            }],
            argv: order.argv,
            env: order.env,
            cwd: APP.to_owned(),
            limits: limits(order.place.memory_bytes),
            network: true,
            hostname: order.hostname,
            stdin: None,
            stdout: order.stdout,
            stderr: order.stderr,
        };
        let sandbox = self
            .runtime
            .launch(spec)
            .await
            .map_err(|failure| failed(&failure))?;
        Ok(Arc::new(Boxed(sandbox)))
    }
}

fn limits(memory_bytes: u64) -> Limits {
    let units = u32::try_from(memory_bytes / UNIT_BYTES).unwrap_or(u32::MAX);
    Limits {
        memory_bytes,
        pids: PIDS,
        cpu_max: None,
        cpu_weight: WEIGHT_PER_UNIT
            .saturating_mul(units)
            .clamp(WEIGHT_PER_UNIT, 10_000),
        ..Limits::default()
    }
}

/// The whole story, since the reader is the app's owner and has no list of sources.
fn failed(failure: &Failure) -> io::Error {
    io::Error::new(failure.source.kind(), failure.sentence())
}

fn sentence(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", sentence(source)),
        None => error.to_string(),
    }
}

fn ended(exit: Exit) -> Ended {
    Ended {
        code: exit.code(),
        out_of_memory: exit.out_of_memory,
    }
}

impl Launcher for Sandboxes {
    fn launch(&self, order: Order) -> BoxFuture<'_, io::Result<Arc<dyn Program>>> {
        Box::pin(self.start(order))
    }
}

/// A program in its sandbox.
struct Boxed(Sandbox);

impl Program for Boxed {
    fn ended(&self) -> BoxFuture<'_, Ended> {
        Box::pin(async { ended(self.0.exited().await) })
    }

    fn signal(&self, signal: i32) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.0.signal(signal).await;
            Ok(())
        })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.kill().await;
        })
    }

    fn dial(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(self.0.dial(port))
    }

    fn run(&self, errand: Errand) -> BoxFuture<'_, io::Result<Box<dyn Running>>> {
        Box::pin(async move {
            let exec = Exec {
                argv: errand.argv,
                env: errand.env,
                cwd: APP.to_owned(),
                stdin: None,
                stdout: errand.stdout,
                stderr: errand.stderr,
            };
            let execution = self
                .0
                .exec(exec)
                .await
                .map_err(|failure| failed(&failure))?;
            Ok(Box::new(BoxedErrand(execution)) as Box<dyn Running>)
        })
    }

    fn memory_bytes(&self) -> Option<u64> {
        Some(self.0.usage().memory_bytes).filter(|bytes| *bytes > 0)
    }
}

struct BoxedErrand(Execution);

impl Running for BoxedErrand {
    fn ended(&self) -> BoxFuture<'_, Ended> {
        Box::pin(async { ended(self.0.exited().await) })
    }

    fn kill(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.kill())
    }
}
