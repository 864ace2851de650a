//! How a build ends when it does not end well, in words for the pusher.

use std::fmt;
use std::io;
use std::time::Duration;

use pilvi_runtime::{Ending, Exit, Failure};

use super::disk::DEPTH_MAX;
use super::slug::human_size;

/// A build that failed: at which step, and why.
#[derive(Debug)]
pub struct Failed {
    pub step: Step,
    pub cause: Cause,
}

/// The steps of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Begin,
    Unpack,
    Fetch,
    Detect,
    /// With the name that detection gave.
    Compile(String),
    Release,
    Pack,
}

/// Why a step failed.
#[derive(Debug)]
pub enum Cause {
    /// Its program ended with something else than 0.
    Exit(Exit),
    /// The kernel killed something, because the build wanted more memory than this.
    OutOfMemory(u64),
    /// No buildpack knows the project.
    NoBuildpack,
    /// What a file of the project or a buildpack says cannot be used; a whole sentence.
    Unusable(String),
    /// The slug is that large, and may be that large.
    SlugTooLarge {
        bytes: u64,
        max: u64,
    },
    OutOfTime(Duration),
    OutOfDisk(u64),
    /// The disk of the server has too little room left for everybody else.
    DiskNearlyFull,
    TooManyFiles(u64),
    TooMuchOutput(u64),
    /// The pusher hung up, or the server is stopping.
    Abandoned,
    Sandbox(Failure),
    /// A fault of the machine.
    Machine(io::Error),
}

/// Whether the kernel killed something in the sandbox of the build because its memory was used up, and what that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutOfMemory(pub(super) bool, pub(super) u64);

impl Failed {
    /// The same, when it is known how the sandbox ended: a program whose child was killed may end with any code, and
    /// the kernel may have chosen the one that the sandbox lives by.
    pub(super) fn knowing(mut self, out_of_memory: OutOfMemory) -> Self {
        if out_of_memory.0 && matches!(self.cause, Cause::Exit(..) | Cause::Sandbox(_)) {
            self.cause = Cause::OutOfMemory(out_of_memory.1);
        }
        self
    }

    pub(super) fn new(step: Step, cause: Cause) -> Self {
        Self { step, cause }
    }

    pub(super) fn machine(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(step, Cause::Machine(error))
    }

    pub(super) fn sandbox(step: Step) -> impl FnOnce(Failure) -> Self {
        move |failure| Self::new(step, Cause::Sandbox(failure))
    }

    /// A build that came to its end when nobody waited for it any more.
    pub(crate) fn abandoned() -> Self {
        Self::new(Step::Pack, Cause::Abandoned)
    }

    /// Whether the fault is the server's, so that its operator should hear of it.
    pub fn is_ours(&self) -> bool {
        matches!(
            self.cause,
            Cause::Sandbox(_) | Cause::Machine(_) | Cause::DiskNearlyFull
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begin => f.write_str("starting the build"),
            Self::Unpack => f.write_str("unpacking the pushed files"),
            Self::Fetch => f.write_str("fetching the buildpack"),
            Self::Detect => f.write_str("selecting a buildpack"),
            Self::Compile(name) => write!(f, "compiling with the {name} buildpack"),
            Self::Release => f.write_str("reading the buildpack's release data"),
            Self::Pack => f.write_str("packing the slug"),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = &self.step;
        match &self.cause {
            Cause::OutOfMemory(limit) => write!(
                f,
                "The build failed at {step}: it needed more than the {} of memory that a build may use.",
                human_size(*limit)
            ),
            Cause::Exit(exit) => match exit.ending {
                Ending::Code(code) => write!(f, "The build failed at {step}, with exit code {code}."),
                Ending::Signal(signal) => {
                    write!(f, "The build failed at {step}, ended by signal {signal}.")
                }
            },
            Cause::NoBuildpack => f.write_str(
                "No buildpack knows this project. Add the file that names its packages (package.json, \
                 requirements.txt, a .pro file, CMakeLists.txt), or a Procfile, or set BUILDPACK_URL.",
            ),
            Cause::Unusable(sentence) => f.write_str(sentence),
            Cause::SlugTooLarge { bytes, max } => write!(
                f,
                "The slug has {}, and {} is the limit. Name what the app does not need at run time in .slugignore.",
                human_size(*bytes),
                human_size(*max)
            ),
            Cause::OutOfTime(limit) => write!(
                f,
                "The build failed at {step}: it was not finished after {}, the limit.",
                human_time(*limit)
            ),
            Cause::OutOfDisk(limit) => write!(
                f,
                "The build failed at {step}: it wrote more than {}, the limit for all files of a build. \
                 Folders that lie more than {DEPTH_MAX} deep count as more.",
                human_size(*limit)
            ),
            Cause::DiskNearlyFull => write!(
                f,
                "The build failed at {step}: the disk of the server is nearly full. Tell its operator, and push again \
                 when there is room."
            ),
            Cause::TooManyFiles(limit) => write!(
                f,
                "The build failed at {step}: it made more than {limit} files, the limit of a build."
            ),
            Cause::TooMuchOutput(limit) => write!(
                f,
                "The build failed at {step}: it wrote more than {} of output, the limit of a build.",
                human_size(*limit)
            ),
            // Whoever still reads this has not gone away.
            Cause::Abandoned => f.write_str(
                "The build was ended, since the server is stopping or nobody waits for it any more. \
                 Push again in a moment.",
            ),
            Cause::Sandbox(failure) => write!(f, "The build failed at {step}. {}", failure.sentence()),
            Cause::Machine(_) => write!(
                f,
                "The build failed at {step}, by a fault of the server. Push again; if it stays, tell its operator."
            ),
        }
    }
}

/// In minutes, or in seconds where that would be less than two of them.
fn human_time(time: Duration) -> String {
    match time.as_secs() {
        1 => "1 second".to_owned(),
        seconds @ ..120 => format!("{seconds} seconds"),
        seconds => format!("{} minutes", seconds.div_ceil(60)),
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            Cause::Sandbox(failure) => Some(failure),
            Cause::Machine(error) => Some(error),
            _ => None,
        }
    }
}
