//! One run of one process, from its start until nothing is left of it.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pilvi_edge::Upstream;
use pilvi_model::app::ProcessName;
use pilvi_model::{Result, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use super::launcher::{Ended, KILLED, Order, Program, SIGTERM};
use super::output::{Output, Tail, pipe};
use super::recipe::Recipe;
use super::upstream::WebProcess;
use super::{Parts, command};
use crate::journal::Stream;

/// How often a starting web process is asked whether it accepts connections: often at first, then less. Whoever deploys
/// waits for the answer, so at most a fifth is added to what the process needs, and a knock costs next to nothing.
const FIRST_KNOCK: Duration = Duration::from_millis(5);
const SLOWEST_KNOCK: Duration = Duration::from_millis(50);

/// How long one attempt to connect may take.
const KNOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long killing may take, which only waits for the kernel. Then the process is given up, so that another can start.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// How long output is read after the program has ended. All of its children are gone then.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a keeper is told by what it has started, which is known by a serial number.
pub(super) enum Event {
    /// What was asked for with this ticket is ready, or cannot be made so.
    Prepared(u64, Result<Box<Recipe>>),
    /// A web process accepts connections; any other one was started.
    Up(u64),
    /// It has ended, and what is left of it is being cleared away.
    Down(u64),
    /// Nothing is left of it.
    Gone(u64, Gone),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) why: Why,
    pub(super) exit_code: Option<i32>,
    /// How long it was up.
    pub(super) was_up: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It was told to stop.
    Told,
    /// It ended by itself.
    Exited,
    /// It did not accept connections in time.
    NeverBound,
    /// It could not even be started.
    NotStarted(String),
}

/// How a process is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Once its requests have ended, or `drain` is over; then by SIGTERM, and after `grace` by SIGKILL.
    Politely {
        drain: Duration,
        grace: Duration,
    },
    AtOnce,
}

/// A run as its keeper holds it.
pub(super) struct Process {
    pub(super) serial: u64,
    pub(super) name: ProcessName,
    pub(super) recipe: Arc<Recipe>,
    pub(super) started_at: Timestamp,
    /// It has told that it is [`Event::Up`].
    pub(super) is_up: bool,
    pub(super) tail: Tail,
    leave: watch::Sender<Option<Leave>>,
    program: Arc<OnceLock<Running>>,
}

/// A program that has been started, and its door for the router.
struct Running {
    program: Arc<dyn Program>,
    upstream: Arc<WebProcess>,
}

impl Process {
    /// Starts a run. `turn` is kept from others until the process is up.
    pub(super) fn start(
        parts: &Arc<Parts>,
        name: ProcessName,
        recipe: &Arc<Recipe>,
        turn: Option<Turn>,
        events: &mpsc::Sender<Event>,
    ) -> Self {
        let (leave, told) = watch::channel(None);
        let process = Self {
            serial: parts.next_serial(),
            name,
            recipe: Arc::clone(recipe),
            started_at: parts.clock.now().into(),
            is_up: false,
            tail: Tail::default(),
            leave,
            program: Arc::default(),
        };
        let run = Run {
            parts: Arc::clone(parts),
            serial: process.serial,
            label: process.name.to_string(),
            is_web: process.name.process_type.is_web(),
            command: recipe
                .types
                .command(&process.name.process_type)
                .unwrap_or("")
                .to_owned(),
            recipe: Arc::clone(recipe),
            tail: process.tail.clone(),
            told,
            program: Arc::clone(&process.program),
            events: events.clone(),
        };
        parts.tasks.spawn("process", async move {
            let (serial, events) = (run.serial, run.events.clone());
            let gone = run.live(turn).await;
            // Nobody listens any more when the keeper has ended, which it does only when the server stops.
            let _ = events.send(Event::Gone(serial, gone)).await;
        });
        process
    }

    /// Tells it to go. Who was told to go at once is not asked to be polite later.
    pub(super) fn leave(&self, how: Leave) {
        self.leave.send_if_modified(|told| {
            let changes = told.is_none() || (how == Leave::AtOnce && *told != Some(how));
            if changes {
                *told = Some(how);
            }
            changes
        });
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leave.borrow().is_some()
    }

    /// The same one each time, so that the router knows it again.
    pub(super) fn upstream(&self) -> Option<Arc<dyn Upstream>> {
        let running = self.program.get()?;
        Some(Arc::clone(&running.upstream) as Arc<dyn Upstream>)
    }

    pub(super) fn program(&self) -> Option<Arc<dyn Program>> {
        self.program
            .get()
            .map(|running| Arc::clone(&running.program))
    }
}

/// A process waits for its turn to start when many are to start at once.
pub(super) struct Turn {
    pub(super) semaphore: Arc<Semaphore>,
    pub(super) lasts: Duration,
}

/// A turn that was given: others wait for it to end.
struct Taken {
    permit: OwnedSemaphorePermit,
    lasts: Duration,
}

impl Turn {
    async fn take(turn: Option<Self>) -> Option<Taken> {
        let turn = turn?;
        // It is never closed; were it, nobody would have to wait.
        let permit = turn.semaphore.acquire_owned().await.ok()?;
        Some(Taken {
            permit,
            lasts: turn.lasts,
        })
    }
}

impl Taken {
    /// Ends the turn when it has lasted long enough, or when it is dropped, and never returns.
    async fn keep(taken: Option<Self>) -> Infallible {
        if let Some(taken) = taken {
            sleep(taken.lasts).await;
            drop(taken.permit);
        }
        std::future::pending().await
    }
}

/// Everything that a run needs.
struct Run {
    parts: Arc<Parts>,
    serial: u64,
    label: String,
    is_web: bool,
    command: String,
    recipe: Arc<Recipe>,
    tail: Tail,
    told: watch::Receiver<Option<Leave>>,
    program: Arc<OnceLock<Running>>,
    events: mpsc::Sender<Event>,
}

impl Run {
    async fn live(mut self, turn: Option<Turn>) -> Gone {
        let gone = |why, exit_code, was_up| Gone {
            why,
            exit_code,
            was_up,
        };
        let turn = tokio::select! {
            turn = Turn::take(turn) => turn,
            _ = self.told_to_leave() => return gone(Why::Told, None, Duration::ZERO),
        };
        self.say(&format!("Starting process with command `{}`", self.command));
        let launched = self.launch().await;
        let (program, pumps) = match launched {
            Ok(launched) => launched,
            Err(error) => {
                let reason = format!("the process could not be started: {error}");
                self.say(&format!("Error: {reason}"));
                return gone(Why::NotStarted(reason), None, Duration::ZERO);
            }
        };
        let (why, since) = self.until_the_end(&program, turn).await;
        let was_up = since.map_or(Duration::ZERO, |since| since.elapsed());
        let _ = self.events.send(Event::Down(self.serial)).await;
        // Whatever it has left behind goes too. After this its output has no writer any more.
        let ended = self.clear(program.as_ref()).await;
        for pump in pumps {
            let _ = timeout(LAST_WORDS, pump).await;
        }
        self.say_how_it_ended(ended, &why);
        gone(why, Some(ended.code), was_up)
    }

    async fn launch(&self) -> io::Result<(Arc<dyn Program>, [oneshot::Receiver<()>; 2])> {
        let parts = &self.parts;
        let (from_stdout, stdout) = pipe()?;
        let (from_stderr, stderr) = pipe()?;
        let order = Order {
            app: self.recipe.app.clone(),
            name: format!("{}-{}", self.label, self.serial),
            hostname: self.label.clone(),
            place: self.recipe.place.clone(),
            argv: command::of_process(&self.command),
            env: command::environment(&self.recipe, &self.label, parts.settings.port),
            stdout,
            stderr,
        };
        let program = parts.launcher.launch(order).await?;
        let pump = |pipe, stream| {
            let output = Output {
                journal: parts.journal.clone(),
                app: self.recipe.app.clone(),
                process: self.label.clone(),
                stream,
                tail: self.tail.clone(),
            };
            let (done, when_done) = oneshot::channel();
            parts.tasks.spawn("output", async move {
                output.pump(pipe).await;
                let _ = done.send(());
            });
            when_done
        };
        let pumps = [
            pump(from_stdout, Stream::Stdout),
            pump(from_stderr, Stream::Stderr),
        ];
        let upstream = WebProcess::new(
            self.label.clone(),
            Arc::clone(&program),
            parts.settings.port,
        );
        let running = Running {
            program: Arc::clone(&program),
            upstream: Arc::new(upstream),
        };
        // Nobody else sets it.
        let _ = self.program.set(running);
        Ok((program, pumps))
    }

    /// Waits until the process has ended, or sees to it that it does. Also says since when it was up.
    async fn until_the_end(
        &mut self,
        program: &Arc<dyn Program>,
        turn: Option<Taken>,
    ) -> (Why, Option<Instant>) {
        if self.is_web {
            let boot_timeout = self.parts.settings.boot_timeout;
            let port = self.parts.settings.port;
            tokio::select! {
                biased;
                _ = program.ended() => return (Why::Exited, None),
                how = self.told_to_leave() => return (self.see_off(program, how).await, None),
                () = until_it_accepts(program.as_ref(), port) => {}
                never = Taken::keep(turn) => match never {},
                () = sleep(boot_timeout) => {
                    let seconds = boot_timeout.as_secs();
                    self.say(&format!(
                        "Error R10 (Boot timeout) -> Web process did not accept connections on $PORT ({port}) within \
                         {seconds} seconds of its start"
                    ));
                    return (Why::NeverBound, None);
                }
            }
        }
        let since = Instant::now();
        self.say("State changed from starting to up");
        let _ = self.events.send(Event::Up(self.serial)).await;
        tokio::select! {
            biased;
            _ = program.ended() => (Why::Exited, Some(since)),
            how = self.told_to_leave() => (self.see_off(program, how).await, Some(since)),
        }
    }

    /// Lets a process go as it was told to, and kills it when it does not.
    async fn see_off(&mut self, program: &Arc<dyn Program>, how: Leave) -> Why {
        let Leave::Politely { drain, grace } = how else {
            return Why::Told;
        };
        let parts = Arc::clone(&self.parts);
        let app = self.recipe.app.as_str().to_owned();
        let label = [self.label.clone()];
        let politely = async {
            if self.is_web {
                tokio::select! {
                    _ = parts.edge.drained(&app, &label, drain) => {}
                    _ = program.ended() => return,
                }
            }
            say(
                &parts,
                &self.recipe,
                &self.label,
                "Stopping process with SIGTERM",
            );
            // A program that has ended meanwhile needs no signal.
            let _ = program.signal(SIGTERM).await;
            if timeout(grace, program.ended()).await.is_err() {
                let text = format!(
                    "Error R12 (Exit timeout) -> Process did not exit within {} seconds of SIGTERM",
                    grace.as_secs()
                );
                say(&parts, &self.recipe, &self.label, &text);
                say(
                    &parts,
                    &self.recipe,
                    &self.label,
                    "Stopping process with SIGKILL",
                );
            }
        };
        let mut told = self.told.clone();
        tokio::select! {
            () = politely => {}
            // Somebody has lost patience. When nobody can, the other arm decides.
            Ok(_) = told.wait_for(|told| *told == Some(Leave::AtOnce)) => {}
        }
        Why::Told
    }

    /// Kills what is left, and says how the program ended.
    async fn clear(&self, program: &dyn Program) -> Ended {
        let clear = async {
            program.kill().await;
            program.ended().await
        };
        timeout(KILL_PATIENCE, clear).await.unwrap_or_else(|_| {
            tracing::error!(app = %self.recipe.app, process = self.label, "a process cannot be killed");
            Ended {
                code: KILLED,
                out_of_memory: false,
            }
        })
    }

    async fn told_to_leave(&mut self) -> Leave {
        match self.told.wait_for(Option::is_some).await {
            Ok(told) => told.unwrap_or(Leave::AtOnce),
            // The keeper is gone, and with it whoever wants this process.
            Err(_) => Leave::AtOnce,
        }
    }

    fn say_how_it_ended(&self, ended: Ended, why: &Why) {
        if ended.out_of_memory {
            let megabytes = self.recipe.place.memory_bytes >> 20;
            let text = if ended.code == KILLED {
                format!(
                    "Error R15 (Memory quota vastly exceeded) -> Process needed more than its {megabytes} MB and was \
                     killed; give the app a larger size or make it use less"
                )
            } else {
                format!(
                    "Error R14 (Memory quota exceeded) -> A part of the process was killed because it needed more \
                     than its {megabytes} MB; give the app a larger size or make it use less"
                )
            };
            self.say(&text);
        }
        self.say(&format!("Process exited with status {}", ended.code));
        if *why != Why::Told {
            self.say("State changed to crashed");
        }
    }

    fn say(&self, text: &str) {
        say(&self.parts, &self.recipe, &self.label, text);
    }
}

fn say(parts: &Parts, recipe: &Recipe, label: &str, text: &str) {
    parts.journal.say(&recipe.app, label, text);
}

/// Resolves when the program accepts a connection.
async fn until_it_accepts(program: &dyn Program, port: u16) {
    let mut wait = FIRST_KNOCK;
    loop {
        if let Ok(Ok(_)) = timeout(KNOCK_TIMEOUT, program.dial(port)).await {
            return;
        }
        sleep(wait).await;
        wait = (wait * 6 / 5).min(SLOWEST_KNOCK);
    }
}
