//! `bench soak`: many sockets for a long time, most of which stay while others come and go, and numbered messages.
//!
//! It is a test, not a measurement: nothing may be lost, come twice or out of order, nobody may be dropped who reads,
//! and the server's memory must not grow. Half of the sockets hear plain frames, a quarter compressed ones, and a
//! quarter an event stream; the gateway tells an app of every socket, and those that come and go say something to it.

mod app;
mod crowd;
mod inbound;
mod ledger;
mod talk;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use crate::http::client::Client;
use crate::peers::gateways::pilvi;
use crate::peers::pilvi::{Instance, Pilvi};
use crate::world::World;
use crate::ws::stamp::Epoch;
use app::{App, Seen};
use crowd::{Crowd, Outcome, Role};
use talk::{Pace, Reservation, Said, Talk};

/// Of so many sockets one comes and goes.
const VISITORS_SHARE: usize = 5;
/// Sockets that share a tag.
const PER_TAG: usize = 10;
/// Sockets that leave in a second, and as many that come.
const CHURN: f64 = 200.0;
const PACE: Pace = Pace {
    everyone: 5.0,
    tags: 200.0,
    stalled: 40.0,
};
/// The longest time without any progress before an opening, or the last messages, are given up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the server may take to find its usual size, as a part of the whole.
const WARM_UP: f64 = 0.25;
/// What its memory may move by besides a twentieth: what waits for the one that does not read comes and goes.
const MEMORY_PLAY_KB: i64 = 8 << 10;
const REPORT_EVERY: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Args, Clone, Debug)]
pub(crate) struct SoakOptions {
    /// Hold so many sockets
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    sockets: usize,
    /// For so long
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_SOAK_SECONDS",
        default_value_t = 600
    )]
    seconds: u64,
    /// Test this program [default: `pilvi` beside this one]
    #[arg(long, value_name = "FILE")]
    pub pilvi: Option<std::path::PathBuf>,
}

impl SoakOptions {
    /// What the limit of open files must be: a server keeps a few of a hundred for itself.
    fn files_needed(&self) -> u64 {
        let sockets = self.sockets as u64;
        sockets + sockets / 20 + 1_000
    }

    pub(crate) fn check_files(&self, files: u64) -> Result<()> {
        let needed = self.files_needed();
        if files < needed {
            bail!(
                "a soak with {} sockets needs a limit of {needed} open files, and it is {files}; raise it \
                 (ulimit -n), or ask for fewer with --sockets",
                self.sockets
            );
        }
        Ok(())
    }
}

/// A run and what it is made of.
struct Soak<'a> {
    options: &'a SoakOptions,
    cloud: Pilvi,
    gateway: Arc<Instance>,
    crowd: Crowd,
    talk: Talk,
    app: App,
    /// The server's memory since it was warm, in kilobytes.
    memory: Vec<i64>,
}

/// Soaks a server, prints one line about it, and fails if anything was not as it should.
pub(crate) fn run(world: &World, options: &SoakOptions) -> Result<()> {
    let (cloud, gateway) = pilvi(world)?;
    let configure = gateway.of_gateway("PUT", "configuration");
    let app = App::start()?;
    let settings = json!({
        "compression": true,
        "events": {"url": format!("http://{}/", app.address)},
    });
    Client::connect(cloud.server.address)?
        .ask(configure.json(&settings))
        .context("the gateway cannot be set to compress and to tell events")?;
    let (address, gateway) = (cloud.server.address, Arc::new(gateway));
    let epoch = Epoch::now();
    let tags = options.sockets.div_ceil(PER_TAG);
    let mut talk = Talk::start(address, Arc::clone(&gateway), tags, epoch)?;
    let mut crowd = Crowd::new(address, Arc::clone(&talk.said), epoch)?;
    let visitors = options.sockets / VISITORS_SHARE;
    gather(&mut crowd, &talk, options.sockets - visitors, Role::Stays)?;
    gather(&mut crowd, &talk, visitors, Role::Comes)?;
    eprintln!("soak: {} sockets are open", crowd.len());
    talk.begin(address, &gateway, PACE, epoch)?;
    let mut soak = Soak {
        options,
        cloud,
        gateway,
        crowd,
        talk,
        app,
        memory: Vec::new(),
    };
    soak.hold()?;
    soak.judge()
}

/// Opens so many sockets.
fn gather(crowd: &mut Crowd, talk: &Talk, count: usize, role: Role) -> Result<()> {
    let goal = crowd.len() + count;
    let mut progress = (0, Instant::now());
    while crowd.len() < goal || crowd.is_opening() {
        while crowd.len() < goal
            && crowd.may_open()
            && let Ok(reservation) = talk.reservations.try_recv()
        {
            crowd
                .open(&reservation, role)
                .with_context(|| format!("at socket {}", crowd.len() + 1))?;
        }
        crowd.step(Duration::from_millis(1))?;
        if crowd.outcome.opened > progress.0 {
            progress = (crowd.outcome.opened, Instant::now());
        }
        if crowd.outcome.dropped > 0 || progress.1.elapsed() > PATIENCE || talk.has_failed() {
            bail!("the server opens no more than {} sockets", crowd.len());
        }
    }
    Ok(())
}

impl Soak<'_> {
    /// Has sockets come and go for as long as it was asked.
    fn hold(&mut self) -> Result<()> {
        let length = Duration::from_secs(self.options.seconds);
        let start = Instant::now();
        let (mut next_look, mut next_report) = (start, start + REPORT_EVERY);
        let mut left = 0_u64;
        while start.elapsed() < length {
            let elapsed = start.elapsed();
            while (left as f64) < elapsed.as_secs_f64() * CHURN {
                self.crowd.dismiss()?;
                left += 1;
            }
            self.refill()?;
            self.crowd.step(Duration::from_millis(5))?;
            if self.talk.has_failed() {
                // It says why when it is joined.
                break;
            }
            if Instant::now() >= next_look {
                next_look += LOOK_EVERY;
                let kilobytes = self.cloud.server.tree().memory()?.anonymous_kb;
                if elapsed >= length.mul_f64(WARM_UP) {
                    self.memory.push(kilobytes);
                }
                if Instant::now() >= next_report {
                    next_report += REPORT_EVERY;
                    let Outcome { tally, left, .. } = &self.crowd.outcome;
                    eprintln!(
                        "soak: {} s, {} sockets, {left} have left, {} messages heard, {} lost, {} again, {} MB",
                        elapsed.as_secs(),
                        self.crowd.len(),
                        tally.heard,
                        tally.lost,
                        tally.again,
                        kilobytes >> 10
                    );
                }
            }
        }
        Ok(())
    }

    /// Has as many sockets come as have left, and one that does not read.
    fn refill(&mut self) -> Result<()> {
        let with_stalled = self.options.sockets + 1;
        while self.crowd.len() < with_stalled
            && self.crowd.may_open()
            && let Ok(reservation) = self.talk.reservations.try_recv()
        {
            self.crowd.open(&reservation, Role::Comes)?;
        }
        if !self.crowd.has_stalled() {
            let mut client = Client::connect(self.cloud.server.address)?;
            let target = self.gateway.reserve(&mut client, Some(talk::STALLED))?;
            self.crowd
                .open(&Reservation { target, tag: 0 }, Role::Stalls)?;
        }
        Ok(())
    }

    /// Waits for the last messages, and says what came of it all.
    fn judge(self) -> Result<()> {
        let Self {
            options,
            cloud,
            gateway,
            mut crowd,
            talk,
            app,
            memory,
        } = self;
        let said = talk.end()?;
        let mut last = (u64::MAX, Instant::now());
        while crowd.due() > 0 || crowd.is_opening() {
            crowd.step(Duration::from_millis(10))?;
            if crowd.outcome.tally.heard != last.0 {
                last = (crowd.outcome.tally.heard, Instant::now());
            }
            if last.1.elapsed() > PATIENCE {
                break;
            }
        }
        crowd.outcome.tally.lost += crowd.due();
        crowd.disperse();
        let listed = until_nobody_is_listed(&cloud, &gateway)?;
        let seen = until_the_app_knows(&app);
        let faults = faults(&crowd.outcome, &memory, listed, &seen);
        println!(
            "{}",
            summary(options, &mut crowd.outcome, &said, &memory, &seen)
        );
        match faults.is_empty() {
            true => Ok(()),
            false => bail!("the soak has failed: {}", faults.join("; ")),
        }
    }
}

/// Waits until the gateway knows of no socket, and says how many it goes on knowing of.
fn until_nobody_is_listed(cloud: &Pilvi, gateway: &Instance) -> Result<usize> {
    let mut client = Client::connect(cloud.server.address)?;
    let start = Instant::now();
    loop {
        let answer = client.ask(gateway.of_gateway("GET", "sockets"))?;
        let listed = answer["results"].as_array().map(Vec::len);
        let listed = listed.context("the list of sockets holds no `results`")?;
        if listed == 0 || start.elapsed() > PATIENCE {
            return Ok(listed);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the app has heard that every socket is gone, and says what it has heard.
fn until_the_app_knows(app: &App) -> Seen {
    let start = Instant::now();
    loop {
        let seen = app.seen();
        if seen.open() == 0 || start.elapsed() > PATIENCE {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn faults(outcome: &Outcome, memory: &[i64], listed: usize, app: &Seen) -> Vec<String> {
    let Outcome {
        tally,
        dropped,
        foreign,
        deflated,
        events,
        unanswered,
        echoed,
        ..
    } = outcome;
    let counts = [
        (tally.lost, "messages were lost"),
        (tally.again, "messages came twice or out of order"),
        (*foreign, "messages were not for whom they came to"),
        (*dropped, "sockets were dropped that read"),
        (
            listed as u64,
            "sockets are still listed after all have left",
        ),
        (u64::from(tally.heard == 0), "run heard nothing at all"),
        (
            u64::from(*deflated == 0),
            "run heard nothing that was compressed",
        ),
        (u64::from(*events == 0), "run heard nothing as an event"),
        (u64::from(*echoed == 0), "run heard nothing from the app"),
        (*unanswered, "sockets heard nothing from the app"),
        (
            app.faults,
            "events came twice, out of order or from nowhere",
        ),
        (
            app.open() as u64,
            "sockets are still open to the app after all have left",
        ),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let mut faults: Vec<String> = counts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    faults.extend(app.told.iter().cloned());
    if let Some((early, late)) = growth(memory)
        && late > early + early / 20 + MEMORY_PLAY_KB
    {
        faults.push(format!("the memory has grown from {early} to {late} KB"));
    }
    faults
}

/// The largest size in the first and in the last quarter of the time.
fn growth(memory: &[i64]) -> Option<(i64, i64)> {
    let quarter = memory.len().div_ceil(4);
    let early = memory.iter().take(quarter).max()?;
    let late = memory.iter().rev().take(quarter).max()?;
    Some((*early, *late))
}

fn summary(
    options: &SoakOptions,
    outcome: &mut Outcome,
    said: &Said,
    memory: &[i64],
    app: &Seen,
) -> String {
    let Outcome {
        tally,
        opened,
        left,
        slow_readers,
        deflated,
        events,
        asked,
        echoed,
        ages,
        ..
    } = outcome;
    let tags: u64 = said.tags.iter().map(|tag| tag.load(Ordering::SeqCst)).sum();
    let (early, late) = growth(memory).unwrap_or_default();
    let mut age = |percent| ages.percentile_ms(percent).unwrap_or_default();
    format!(
        "soak: {} sockets for {} s; {opened} opened, {left} left; {} messages to all and {tags} to tags, {} heard, \
         {deflated} of them compressed and {events} as events, {} lost, {} twice or out of order; age p50 {:.1}, \
         p99 {:.1}, longest {:.0} ms with one that does not read, of which {slow_readers} were dropped; the app heard \
         {} connects, {} messages and {} ends, and {echoed} of {asked} sockets their echo; memory {:.1} to {:.1} MB",
        options.sockets,
        options.seconds,
        said.everyone.load(Ordering::SeqCst),
        tally.heard,
        tally.lost,
        tally.again,
        age(50.0),
        age(99.0),
        age(100.0),
        app.connects,
        app.messages,
        app.disconnects,
        early as f64 / 1024.0,
        late as f64 / 1024.0,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_compared_by_its_peaks_in_the_first_and_the_last_quarter() {
        assert_eq!(growth(&[]), None);
        assert_eq!(growth(&[7]), Some((7, 7)));
        assert_eq!(growth(&[1, 5, 2, 9, 9, 9, 3, 4]), Some((5, 4)));
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let mut outcome = Outcome::default();
        outcome.tally.heard = 10;
        (outcome.deflated, outcome.events, outcome.echoed) = (1, 1, 1);
        let mut app = Seen::default();
        assert!(faults(&outcome, &[100, 100], 0, &app).is_empty());
        let grown = [10_000, 10_000, 10_000, 10_000 + 500 + MEMORY_PLAY_KB + 1];
        outcome.tally.lost = 1;
        outcome.dropped = 2;
        app.faults = 1;
        let faults = faults(&outcome, &grown, 3, &app);
        assert_eq!(faults.len(), 5, "{faults:?}");
    }

    #[test]
    fn a_low_limit_of_files_is_told_before_anything_is_started() {
        let options = SoakOptions {
            sockets: 10_000,
            seconds: 1,
            pilvi: None,
        };
        assert!(options.check_files(20_000).is_ok());
        let told = options.check_files(10_000).unwrap_err().to_string();
        assert!(told.contains("11500"), "{told}");
    }
}
