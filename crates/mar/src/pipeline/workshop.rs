//! The sandbox of one build, and the one place that runs programs in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::pin;

use base64::Engine;
use pilvi_model::app::RESERVED_VARS;
use pilvi_runtime::{Exec, Exit, Limits, Mount, Runtime, Sandbox, Spec};
use tokio::net::unix::pipe;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::disk;
use super::outcome::{Cause, Failed, OutOfMemory, Step};
use super::packs::CUSTOM;
use super::scratch::Scratch;
use super::tame::{Lines, tame};
use super::{BuildLimits, BuildOrder, Packs, Voice};

/// The paths that buildpacks know (`mar.md` §4.3).
pub(super) const HOME: &str = "/app";
pub(super) const BUILD: &str = "/tmp/build";
pub(super) const CACHE: &str = "/tmp/cache";
pub(super) const PACKS: &str = "/tmp/buildpacks";
pub(super) const VARS: &str = "/tmp/env";
pub(super) const SLUG: &str = "/tmp/slug";

const PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
/// Config vars are bounded where they are set; every one takes a page.
const VARS_BYTES: u64 = 16 << 20;
const PIECE_BYTES: usize = 64 << 10;

/// The sandbox of a build. Nothing runs in it but what [`Workshop::perform`] starts.
pub(super) struct Workshop {
    sandbox: Sandbox,
    env: Vec<(String, String)>,
    limits: BuildLimits,
    deadline: Instant,
    abandoned: CancellationToken,
    /// What the build may fill.
    watched: PathBuf,
    /// Bytes that the build's programs may still write to the log.
    output_left: u64,
    packs: Packs,
}

/// A program of a step.
pub(super) struct Task<'a> {
    pub(super) step: &'a Step,
    pub(super) argv: Vec<String>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: To<'a>,
}

/// Where the standard output of a program goes. Its standard error is always told to the pusher.
pub(super) enum To<'a> {
    /// To the pusher as well, in order with the other.
    Voice,
    /// To us, up to a number of bytes; what comes after them is left out.
    Bytes(&'a mut Vec<u8>, usize),
    File(OwnedFd),
}

impl Workshop {
    /// Starts the sandbox.
    pub(super) async fn open(
        runtime: &Runtime,
        packs: &Packs,
        limits: &BuildLimits,
        scratch: &Scratch,
        order: &BuildOrder,
    ) -> Result<Self, Failed> {
        let env = environment(order, limits.jobs);
        let spec = spec(packs, limits, scratch, order, env.clone())
            .map_err(Failed::machine(Step::Begin))?;
        let sandbox = runtime
            .launch(spec)
            .await
            .map_err(Failed::sandbox(Step::Begin))?;
        Ok(Self {
            sandbox,
            env,
            limits: limits.clone(),
            deadline: Instant::now() + limits.time,
            abandoned: order.abandoned.clone(),
            watched: scratch.folder().to_owned(),
            output_left: limits.output_bytes,
            packs: packs.clone(),
        })
    }

    pub(super) fn limits(&self) -> &BuildLimits {
        &self.limits
    }

    pub(super) fn packs(&self) -> &Packs {
        &self.packs
    }

    /// Kills everything in the sandbox, and returns when nothing of it is left. Says whether its memory was used up,
    /// which is only known now.
    pub(super) async fn close(self) -> OutOfMemory {
        OutOfMemory(
            self.sandbox.kill().await.out_of_memory,
            self.limits.memory_bytes,
        )
    }

    /// Runs a program that must succeed.
    pub(super) async fn run(
        &mut self,
        step: &Step,
        argv: Vec<String>,
        voice: &mut Voice,
    ) -> Result<(), Failed> {
        let task = Task {
            step,
            argv,
            stdin: None,
            stdout: To::Voice,
        };
        let exit = self.perform(task, voice).await?;
        self.succeeded(step, exit)
    }

    /// Runs a program for its standard output.
    pub(super) async fn ask(
        &mut self,
        step: &Step,
        argv: Vec<String>,
        bytes_max: usize,
        voice: &mut Voice,
    ) -> Result<(Exit, Vec<u8>), Failed> {
        let mut answer = Vec::new();
        let task = Task {
            step,
            argv,
            stdin: None,
            stdout: To::Bytes(&mut answer, bytes_max),
        };
        let exit = self.perform(task, voice).await?;
        Ok((exit, answer))
    }

    pub(super) fn succeeded(&self, step: &Step, exit: Exit) -> Result<(), Failed> {
        match exit.code() {
            0 => Ok(()),
            _ => Err(Failed::new(step.clone(), Cause::Exit(exit))),
        }
    }

    /// Runs a program to its end, whatever that is, unless the build has used up what it may.
    pub(super) async fn perform(
        &mut self,
        task: Task<'_>,
        voice: &mut Voice,
    ) -> Result<Exit, Failed> {
        let step = task.step;
        let machine = || Failed::machine(step.clone());
        let (log, log_end) = Inlet::open().map_err(machine())?;
        let mut answer = None;
        let stdout = match task.stdout {
            To::Voice => log_end.try_clone().map_err(machine())?,
            To::Bytes(bytes, bytes_max) => {
                let (inlet, end) = Inlet::open().map_err(machine())?;
                answer = Some(Answer {
                    inlet,
                    bytes,
                    bytes_max,
                });
                end
            }
            To::File(file) => file,
        };
        let execution = self
            .sandbox
            .exec(Exec {
                argv: task.argv,
                env: self.env.clone(),
                cwd: BUILD.to_owned(),
                stdin: task.stdin,
                stdout,
                stderr: log_end,
            })
            .await
            .map_err(Failed::sandbox(step.clone()))?;
        let overfull = disk::overfull(&self.watched, &self.limits);
        let time = self.limits.time;
        let output_max = self.limits.output_bytes;
        let (deadline, abandoned) = (self.deadline, self.abandoned.clone());
        let followed = follow(
            execution.exited(),
            log,
            answer,
            &mut self.output_left,
            voice,
        );
        let cause = tokio::select! {
            followed = followed => match followed {
                Ok(Some(exit)) => return Ok(exit),
                Ok(None) => Cause::TooMuchOutput(output_max),
                Err(error) => Cause::Machine(error),
            },
            cause = overfull => cause,
            () = tokio::time::sleep_until(deadline) => Cause::OutOfTime(time),
            () = abandoned.cancelled() => Cause::Abandoned,
        };
        execution.kill().await;
        Err(Failed::new(step.clone(), cause))
    }
}

/// Carries what a program writes until it has ended. `None`: it wrote too much.
async fn follow(
    exited: impl Future<Output = Exit>,
    mut log: Inlet,
    mut answer: Option<Answer<'_>>,
    output_left: &mut u64,
    voice: &mut Voice,
) -> io::Result<Option<Exit>> {
    let mut exited = pin!(exited);
    let mut lines = Lines::default();
    let mut piece = vec![0; PIECE_BYTES];
    let mut exit = None;
    loop {
        // What was written before the end is in the pipes by then. Nobody waits for their ends: a program that was left
        // running in the background may hold them open for ever.
        let read = log.read(&mut piece)?;
        if read > 0 {
            let Some(left) = output_left.checked_sub(read as u64) else {
                return Ok(None);
            };
            *output_left = left;
            let mut told = Vec::new();
            lines.feed(&piece[..read], |line| told.push(tame(line)));
            voice.programs(&told).await;
        }
        let answered = match &mut answer {
            Some(answer) => answer.read(&mut piece)?,
            None => 0,
        };
        if read > 0 || answered > 0 {
            // A program that writes without pause must not keep the limits from being looked at.
            tokio::task::yield_now().await;
            continue;
        }
        if let Some(exit) = exit {
            if let Some(last) = lines.finish() {
                voice.programs(&[tame(&last)]).await;
            }
            return Ok(Some(exit));
        }
        tokio::select! {
            ended = &mut exited => exit = Some(ended),
            ready = log.ready() => ready?,
            ready = async {
                match &answer {
                    Some(answer) => answer.inlet.ready().await,
                    None => std::future::pending().await,
                }
            } => ready?,
        }
    }
}

/// What a program writes to us.
struct Answer<'a> {
    inlet: Inlet,
    bytes: &'a mut Vec<u8>,
    bytes_max: usize,
}

impl Answer<'_> {
    /// Takes what is in the pipe now; 0 when that is nothing. What is too much is read, and left out.
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let read = self.inlet.read(piece)?;
        let room = self.bytes_max.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&piece[..read.min(room)]);
        Ok(read)
    }
}

/// The end of a pipe that a program writes to, until its writers have gone.
struct Inlet(Option<pipe::Receiver>);

impl Inlet {
    fn open() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        Ok((
            Self(Some(pipe::Receiver::from_owned_fd(reader.into())?)),
            writer.into(),
        ))
    }

    /// What is in the pipe now; 0 when that is nothing.
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let Some(pipe) = &self.0 else {
            return Ok(0);
        };
        match pipe.try_read(piece) {
            Ok(0) => {
                self.0 = None;
                Ok(0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            read => read,
        }
    }

    /// Resolves when a read may find something, which is never after the writers have gone.
    async fn ready(&self) -> io::Result<()> {
        match &self.0 {
            Some(pipe) => pipe.readable().await,
            None => std::future::pending().await,
        }
    }
}

/// A pipe that we write to.
pub(super) fn feed() -> io::Result<(pipe::Sender, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    Ok((pipe::Sender::from_owned_fd(writer.into())?, reader.into()))
}

fn spec(
    packs: &Packs,
    limits: &BuildLimits,
    scratch: &Scratch,
    order: &BuildOrder,
    env: Vec<(String, String)>,
) -> io::Result<Spec> {
    use pilvi_runtime::From::{Folder, Memory};
    let folder = |at: &str, path: PathBuf, writable| Mount {
        at: at.to_owned(),
        from: Folder { path, writable },
    };
    let nowhere = || -> io::Result<OwnedFd> {
        let file = File::options().read(true).write(true).open("/dev/null")?;
        Ok(file.into())
    };
    Ok(Spec {
        name: format!("{}/build", order.app),
        uid: order.uid,
        stack: order.stack.clone(),
        mounts: vec![
            folder(HOME, scratch.home(), true),
            folder("/tmp", scratch.temporary(), true),
            folder(BUILD, scratch.build(), true),
            folder(CACHE, order.cache.clone(), true),
            folder(SLUG, scratch.slimmed(), true),
            folder(PACKS, packs.folder().to_owned(), false),
            folder(&format!("{PACKS}/{CUSTOM}"), scratch.custom(), true),
            Mount {
                at: VARS.to_owned(),
                from: Memory { bytes: VARS_BYTES },
            },
        ],
        // The sandbox lives as long as this does; what a build runs is started beside it.
        argv: vec!["/usr/bin/sleep".to_owned(), "infinity".to_owned()],
        env,
        cwd: HOME.to_owned(),
        limits: Limits {
            memory_bytes: limits.memory_bytes,
            pids: limits.pids,
            cpu_max: None,
            cpu_weight: limits.cpu_weight,
            file_bytes: limits.file_bytes,
            ..Limits::default()
        },
        network: true,
        hostname: order.app.to_string(),
        stdin: None,
        stdout: nowhere()?,
        stderr: nowhere()?,
    })
}

/// The app's config vars, and over them what the contract with buildpacks fixes (`mar.md` §4.3, §4.6).
fn environment(order: &BuildOrder, jobs: usize) -> Vec<(String, String)> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("LANG".to_owned(), "C.UTF-8".to_owned()),
    ]);
    let own = order
        .vars
        .iter()
        .filter(|(name, _)| !RESERVED_VARS.contains(&name.as_str()));
    env.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    // An owner's path comes first, and the stack's is never missing.
    if let Some(own) = order.vars.get("PATH") {
        env.insert("PATH".to_owned(), format!("{own}:{PATH}"));
    }
    let fixed = [
        ("HOME", HOME.to_owned()),
        ("APP_DIR", HOME.to_owned()),
        ("STACK", order.stack_name.to_string()),
        ("MAR_APP_ID", order.app.to_string()),
        ("REQUEST_ID", request_id()),
        ("SOURCE_VERSION", order.commit.clone().unwrap_or_default()),
        ("BUILD_JOBS", jobs.to_string()),
    ];
    env.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    env.into_iter().collect()
}

/// Random base64, as the original builder made it.
fn request_id() -> String {
    let random = pilvi_base::secret::random_bytes::<15>();
    base64::engine::general_purpose::STANDARD.encode(random)
}
