//! From `git push` to the first answer of what was pushed, beside what the build tool takes when somebody runs it by
//! hand. Each app is pushed twice: as it is, and with one line changed.

use std::time::Duration;

use anyhow::Result;

use super::app::{self, App, Pushed};
use super::low;
use super::project::{KINDS, Kind, Project};
use crate::options::Options;
use crate::peers::pilvi::Pilvi;
use crate::report::Report;
use crate::world::World;

const PILVI: &str = "Pilvi";
const BY_HAND: &str = "by hand";
const TURNS: [&str; 2] = ["first push", "second push"];

pub(super) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("mar: push");
    let kinds = options.available(&mut report, &KINDS, Kind::name, Kind::prepare);
    report.columns([PILVI, BY_HAND]);
    report.note(
        "push over HTTP; server, builds, apps and the tool by hand on one core, git's client on the other",
    );
    report.note(
        "at the first push nothing is kept from before, neither by Pilvi nor for the tool by hand; the second push \
         changes one line, and the tool runs again where it ran before",
    );
    report.note(
        "by hand: the build tool, and the start of the app to its first answer; what Pilvi takes above them is without \
         the times by hand of the same round",
    );
    report.want_at_most("above the tool", 1000.0);
    for round in 1..=options.rounds() {
        let pilvi = Pilvi::start(world)?;
        for kind in &kinds {
            options.progress(&format!("mar: round {round}, {}", kind.name()));
            let outcome = measure(world, &pilvi, *kind, &mut report);
            report.note_failure(PILVI, kind.name(), outcome);
        }
    }
    Ok(report)
}

fn measure(world: &World, pilvi: &Pilvi, kind: Kind, report: &mut Report) -> Result<()> {
    let app = App::create(pilvi, "hello")?;
    let mut pushed = app::project(world, kind)?;
    let mut built = Project::copy(kind, &world.empty_folder("by-hand")?)?;
    let kept = world.empty_folder("kept-by-hand")?;
    for turn in TURNS {
        if turn != TURNS[0] {
            pushed.change()?;
            built.change()?;
        }
        let tool = built.build_by_hand(world, &kept)?;
        let start = built.start_by_hand(world)?;
        let case = format!("{}, {turn}", kind.name());
        add(report, &case, &app.push(&pushed)?, tool, start);
    }
    Ok(())
}

fn add(
    report: &mut Report,
    case: &str,
    pushed: &Pushed,
    tool: Option<Duration>,
    start: Option<Duration>,
) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let above = ms(pushed.answered) - tool.map_or(0.0, ms);
    let mut add = |peer, name, value| report.add(peer, low(case, name, "ms"), value);
    add(PILVI, "push to first answer", ms(pushed.answered));
    if let Some(tool) = tool {
        add(BY_HAND, "push to first answer", ms(tool));
    }
    add(PILVI, "above the tool", above);
    if let Some(start) = start {
        add(
            PILVI,
            "above the tool and the app's own start",
            above - ms(start),
        );
        add(BY_HAND, "start of the app", ms(start));
    }
}
