//! Feeds a target: the files first, then what chance makes of them.

use std::any::Any;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::coverage::Coverage;
use crate::mutation::mutate;
use crate::watch::Watch;
use crate::{Random, Target, files};

/// No input may keep the processor busy for longer, also in unoptimised code.
const BUSY_MAX: Duration = Duration::from_secs(4);

/// An input that has not come back by then never will: the program ends.
const HANG: Duration = Duration::from_secs(60);

/// How many inputs are kept for having reached new code.
const POOL_MAX: usize = 20_000;

/// How many of the inputs kept last are preferred.
const RECENT: usize = 50;

/// Larger inputs are tried, but not kept.
const KEPT_BYTES_MAX: usize = 8 << 10;

/// How long to go on, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The same seed gives the same inputs, as long as neither the files nor the code change.
    pub seed: u64,
    /// At most so many inputs besides the files.
    pub runs: u64,
    /// At most so long.
    pub time: Duration,
}

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// How many inputs were tried, the files counted.
    pub runs: u64,
    pub time: Duration,
    /// How many inputs were kept, the files counted.
    pub kept: usize,
    /// How many edges of code were reached; `None` in a program that does not count.
    pub edges: Option<usize>,
    /// The longest that one input kept the processor busy.
    pub busiest: Duration,
}

/// An input that breaks a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    pub input: Vec<u8>,
    /// Which promise.
    pub message: String,
}

/// Runs a target. The outer error is about the files, the inner about the target.
pub fn run(target: &Target, plan: Plan) -> io::Result<Result<Report, Failure>> {
    let mut run = Run::start(target)?;
    Ok(run.go(plan))
}

struct Run<'a> {
    target: &'a Target,
    words: Vec<Vec<u8>>,
    /// What mutation starts from.
    pool: Vec<Vec<u8>>,
    coverage: Option<Coverage>,
    runs: u64,
    busiest: Duration,
    watch: Watch,
}

impl<'a> Run<'a> {
    fn start(target: &'a Target) -> io::Result<Self> {
        let mut pool = files::regressions(target)?;
        pool.extend(files::corpus(target)?);
        Ok(Self {
            target,
            words: files::words(target)?,
            pool,
            coverage: Coverage::open(),
            runs: 0,
            busiest: Duration::ZERO,
            watch: Watch::start(HANG, end_program),
        })
    }

    fn go(&mut self, plan: Plan) -> Result<Report, Failure> {
        let began = Instant::now();
        for input in self.pool.clone() {
            self.try_one(&input)?;
        }
        let mut random = Random::new(plan.seed);
        for _ in 0..plan.runs {
            if began.elapsed() >= plan.time {
                break;
            }
            let input = self.next_input(&mut random);
            let new = self.try_one(&input)?;
            if new && input.len() <= KEPT_BYTES_MAX && self.pool.len() < POOL_MAX {
                self.pool.push(input);
            }
        }
        Ok(Report {
            runs: self.runs,
            time: began.elapsed(),
            kept: self.pool.len(),
            edges: self.coverage.as_ref().map(Coverage::edges),
            busiest: self.busiest,
        })
    }

    /// What the generator makes, a mutation of that, or a mutation of what is in the pool.
    fn next_input(&self, random: &mut Random) -> Vec<u8> {
        let make = self.target.make;
        if self.pool.is_empty() || random.one_in(6) {
            return make(random);
        }
        let other = random.pick(&self.pool);
        if random.one_in(4) {
            let base = make(random);
            return mutate(random, &base, other, &self.words);
        }
        // What was found last leads on most often.
        let recent = if random.one_in(2) {
            RECENT
        } else {
            self.pool.len()
        };
        let base: &Vec<u8> = random.pick(&self.pool[self.pool.len().saturating_sub(recent)..]);
        mutate(random, base, other, &self.words)
    }

    /// Says whether the input reached new code.
    fn try_one(&mut self, input: &[u8]) -> Result<bool, Failure> {
        self.runs += 1;
        if let Some(coverage) = &self.coverage {
            coverage.restart();
        }
        self.watch.begin(input);
        let busy = check(self.target, input);
        self.watch.end();
        let busy = busy?;
        self.busiest = self.busiest.max(busy);
        Ok(self.coverage.as_mut().is_some_and(Coverage::add))
    }
}

/// Tries one input and says how long it kept the processor busy.
pub fn check(target: &Target, input: &[u8]) -> Result<Duration, Failure> {
    let failure = |message| Failure {
        input: input.to_vec(),
        message,
    };
    let before = busy_time();
    catch_unwind(AssertUnwindSafe(|| (target.check)(input)))
        .map_err(|panic| failure(message_of(&*panic)))?;
    let busy = busy_time().saturating_sub(before);
    if busy > BUSY_MAX {
        return Err(failure(format!("took {busy:?} of the processor's time")));
    }
    Ok(busy)
}

/// Nothing else stops code that runs in a circle.
fn end_program(input: &[u8]) {
    let _ = writeln!(
        io::stderr(),
        "this input does not come back: \"{}\"",
        input.escape_ascii()
    );
    std::process::abort();
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

/// How long this thread has kept a processor busy; what else the machine does is not counted.
fn busy_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        seed: 1,
        runs: 2000,
        time: Duration::from_secs(60),
    };

    fn target(check: fn(&[u8])) -> Target {
        Target {
            name: "content_range",
            check,
            make: |random| vec![random.number() as u8],
            short_runs: 1,
        }
    }

    #[test]
    fn a_broken_promise_comes_back_with_its_input() {
        let target = target(|input| assert!(!input.starts_with(b"7"), "seven"));
        let failure = run(&target, PLAN).unwrap().unwrap_err();
        assert_eq!(failure.input[0], b'7');
        assert!(failure.message.contains("seven"));
    }

    #[test]
    fn a_run_tries_the_files_and_as_many_inputs_as_it_was_told() {
        let target = target(|_| {});
        let report = run(&target, PLAN).unwrap().unwrap();
        let files =
            files::corpus(&target).unwrap().len() + files::regressions(&target).unwrap().len();
        assert_eq!(report.runs, 2000 + files as u64);
    }

    #[test]
    fn a_run_ends_in_time() {
        let plan = Plan {
            runs: u64::MAX,
            time: Duration::from_millis(20),
            ..PLAN
        };
        let report = run(&target(|_| {}), plan).unwrap().unwrap();
        assert!(report.time >= plan.time);
    }
}
