//! `pilvi doctor`: looks over the machine, the settings, the data and the developer's tools.
//!
//! Every check is a function from [`Circumstances`] to findings: what is there, and where something is not as it should
//! be, what that costs and what mends it. Checks change nothing that outlives them. They run beside one another, and
//! one that does not come to its end in time is a finding too, so that the whole never hangs.

mod data;
mod developer;
mod machine;
mod names;
mod ports;
mod programs;
mod report;
mod sandbox;
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::arguments::ServeOptions;
use crate::config::{self, Faults, Places, Refused};

pub(crate) use report::{Look, Report};

/// How long one check may take.
const CHECKED_WITHIN: Duration = Duration::from_secs(8);

/// What can be said to `pilvi doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Doctor {
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// What checks look at.
#[derive(Debug)]
pub(crate) struct Circumstances {
    /// The settings of the server, or what is wrong with them; checks go on with the defaults then.
    pub(crate) file: Option<PathBuf>,
    pub(crate) faults: Option<Faults>,
    pub(crate) options: ServeOptions,
    pub(crate) data: PathBuf,
    pub(crate) is_root: bool,
    /// A server has this data folder open.
    pub(crate) is_running: bool,
}

/// How good what was found is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Fine,
    /// Nothing is wrong, and there is something to know.
    Note,
    /// It works without, and worse.
    Warning,
    /// It does not work.
    Fault,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// Such as `git`.
    pub(crate) name: String,
    pub(crate) state: State,
    /// What is there, in a few words.
    pub(crate) found: String,
    /// What does not work, or works worse, as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) costs: String,
    /// What to do or to type.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) mend: String,
}

impl Finding {
    pub(crate) fn fine(name: &str, found: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            state: State::Fine,
            found: found.into(),
            costs: String::new(),
            mend: String::new(),
        }
    }

    pub(crate) fn of(
        state: State,
        name: &str,
        found: impl Into<String>,
        costs: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        Self {
            state,
            costs: costs.into(),
            mend: mend.into(),
            ..Self::fine(name, found)
        }
    }
}

/// A group of checks, as the report shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Area {
    Machine,
    Sandbox,
    Server,
    Developer,
}

type Check = fn(&Circumstances) -> Vec<Finding>;

/// All checks, in the order of the report.
const CHECKS: [(Area, &str, Check); 18] = [
    (Area::Machine, "system", machine::system),
    (Area::Machine, "user", machine::user),
    (Area::Machine, "clock", machine::clock),
    (Area::Machine, "memory", machine::memory),
    (Area::Machine, "open files", machine::open_files),
    (Area::Machine, "git", programs::git),
    (Area::Machine, "*.localhost", names::localhost),
    (Area::Sandbox, "sandbox", sandbox::layers),
    (Area::Sandbox, "stacks", sandbox::stacks),
    (Area::Server, "settings", server::settings),
    (Area::Server, "data folder", data::folder),
    (Area::Server, "disk", data::disk),
    (Area::Server, "ports", ports::ports),
    (Area::Server, "names", names::own),
    (Area::Server, "files", server::files),
    (Area::Server, "mail", server::mail),
    (Area::Server, "answers", server::answers),
    (Area::Developer, "sign-in", developer::session),
];

/// Runs all checks.
pub(crate) fn look(named: Option<PathBuf>, data: Option<PathBuf>, places: &Places) -> Report {
    let circumstances = Arc::new(Circumstances::find(named, data, places));
    let (sender, results) = sync_channel(CHECKS.len());
    for (number, (_, _, check)) in CHECKS.into_iter().enumerate() {
        let (sender, circumstances) = (sender.clone(), Arc::clone(&circumstances));
        // Nobody waits for a thread that hangs: the process ends without it.
        std::thread::spawn(move || {
            let _ = sender.send((number, check(&circumstances)));
        });
    }
    drop(sender);
    let deadline = Instant::now() + CHECKED_WITHIN;
    let mut found: Vec<Option<Vec<Finding>>> = vec![None; CHECKS.len()];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match results.recv_timeout(left) {
            Ok((number, findings)) => found[number] = Some(findings),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let findings = CHECKS
        .into_iter()
        .zip(found)
        .flat_map(|((area, name, _), found)| {
            let found = found.unwrap_or_else(|| vec![unfinished(name)]);
            found.into_iter().map(move |finding| (area, finding))
        });
    Report::new(&circumstances, findings.collect())
}

fn unfinished(name: &str) -> Finding {
    Finding::of(
        State::Warning,
        name,
        "the check did not come to its end",
        "Nobody knows how this is; something that it asks does not answer.",
        "Look whether a name server or a network file system hangs, and run this again.",
    )
}

impl Circumstances {
    fn find(named: Option<PathBuf>, data: Option<PathBuf>, places: &Places) -> Self {
        let file = named.or_else(|| places.find());
        let (options, found_data, faults) = match config::find(file.as_deref()) {
            Ok(found) => (found.options, found.data, None),
            Err(refused) => {
                let faults = faults_of(refused);
                let (options, data) = config::defaults();
                (options, data, Some(faults))
            }
        };
        let data = data.unwrap_or(found_data);
        Self {
            is_running: data::is_open(&data),
            is_root: rustix::process::geteuid().is_root(),
            file,
            faults,
            options,
            data,
        }
    }
}

fn faults_of(refused: Refused) -> Faults {
    match refused {
        Refused::File(faults) => faults,
        Refused::Line(error) => Faults {
            path: PathBuf::from("the environment"),
            faults: vec![config::Fault {
                line: None,
                says: error.to_string().trim().to_owned(),
            }],
        },
    }
}
