//! `bench live`: what it costs to change objects while many follow them by live queries, and how soon they hear of it.
//!
//! The peer is Parse Server with its LiveQuery server in the same process, as its documentation begins. Both are asked
//! by callers who may read and change everything, and each write is an update of an object of a kilobyte, so that a
//! server has to look at what it was and at what it is.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::http::client::{Client, text};
use crate::http::request::Request;
use crate::options::Options;
use crate::peers::parse::LiveParse;
use crate::peers::pilvi_store::PilviStore;
use crate::peers::store::{self, Store as _, object, value};
use crate::report::{Better, Metric, Report};
use crate::server::Server;
use crate::usage::Tree;
use crate::world::World;
use crate::ws::fan::Fan;

/// Objects that are changed in turn.
const OBJECTS: u64 = 1_000;
/// Writes under way, or not yet heard of by everybody, while throughput is measured.
const WINDOW: u64 = 8;

/// Who is measured: the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pilvi,
    Parse,
}

const KINDS: [Kind; 2] = [Kind::Pilvi, Kind::Parse];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Pilvi => "pilvi",
            Self::Parse => "parse server livequery",
        }
    }

    fn prepare(self) -> Result<()> {
        match self {
            Self::Pilvi => Ok(()),
            Self::Parse => store::Kind::Parse.prepare(),
        }
    }

    fn start(self, world: &World) -> Result<Peer> {
        Ok(match self {
            Self::Pilvi => Peer::Pilvi(PilviStore::start(world)?),
            Self::Parse => Peer::Parse(LiveParse::start(world)?),
        })
    }
}

/// What the followers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// All the same, which everything passes.
    Same,
    /// Each something else, which everything passes.
    Different,
    /// Each for another object.
    OneEach,
}

/// How many follow, and what.
#[derive(Clone, Copy, Debug)]
struct Case {
    followers: usize,
    asking: Asking,
}

impl Case {
    fn name(self) -> String {
        match (self.followers, self.asking) {
            (0, _) => "no followers".to_owned(),
            (1, _) => "1 follower".to_owned(),
            (many, Asking::Same) => format!("{many}, same filter"),
            (many, Asking::Different) => format!("{many}, different filters, all pass"),
            (many, Asking::OneEach) => format!("{many}, different filters, one passes"),
        }
    }

    /// What the follower of this number asks for.
    fn filter(self, number: usize) -> Value {
        match self.asking {
            Asking::Same => json!({"number": {"$gte": 0}}),
            Asking::Different => json!({"number": {"$gte": -json_number(number)}}),
            Asking::OneEach => json!({"value": value(number as u64)}),
        }
    }

    /// How many hear of a write.
    fn receivers(self) -> usize {
        match self.asking {
            Asking::OneEach => 1,
            _ => self.followers,
        }
    }

    /// The object of the write of this number: one that somebody follows.
    fn object(self, number: u64) -> u64 {
        match self.asking {
            Asking::OneEach => number % self.followers as u64,
            _ => number % OBJECTS,
        }
    }
}

fn json_number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// How long everything is measured.
struct Extent {
    cases: Vec<Case>,
    flood: Duration,
    trickle: Duration,
    pause: Duration,
}

impl Extent {
    fn of(quick: bool, followers: &[usize]) -> Self {
        let followers: &[usize] = match (followers, quick) {
            ([], true) => &[0, 1, 100],
            ([], false) => &[0, 1, 100, 1_000],
            (followers, _) => followers,
        };
        let (few, many): (Vec<usize>, Vec<usize>) =
            followers.iter().partition(|followers| **followers < 2);
        let of = |followers: &[usize], asking| {
            let cases = followers.iter().map(|followers| Case {
                followers: *followers,
                asking,
            });
            cases.collect::<Vec<_>>()
        };
        Self {
            cases: [
                of(&few, Asking::Same),
                of(&many, Asking::Same),
                of(&many, Asking::Different),
                of(&many, Asking::OneEach),
            ]
            .concat(),
            flood: Duration::from_secs(if quick { 1 } else { 5 }),
            trickle: Duration::from_secs(if quick { 1 } else { 8 }),
            pause: Duration::from_millis(100),
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct LiveOptions {
    #[command(flatten)]
    pub common: Options,
    /// Have so many followers [default: 0,1,100,1000; with --quick 0,1,100]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    followers: Vec<usize>,
}

pub(crate) fn run(world: &World, options: &LiveOptions) -> Result<Report> {
    let followers = options.followers.as_slice();
    let options = &options.common;
    let mut report = Report::new("live");
    let kinds = options.available(&mut report, &KINDS, Kind::name, Kind::prepare);
    report.columns(kinds.iter().map(|kind| kind.name()));
    let extent = Extent::of(options.quick, followers);
    report.note(format!(
        "updates of {OBJECTS} objects of 1 KB over HTTP, {WINDOW} at a time that not all have heard of; every \
         follower has a web socket, and the whole object is sent to it"
    ));
    report.note(format!(
        "from write to event: one write every {} ms, from before it is sent until it is read",
        extent.pause.as_millis()
    ));
    report.note(
        "Parse Server: LiveQuery in the same process, objects that everybody may read and change",
    );
    for round in 1..=options.rounds() {
        for kind in &kinds {
            options.progress(&format!("live: round {round}, {}", kind.name()));
            let outcome = measure(world, *kind, &extent, &mut report, options);
            report.note_failure(kind.name(), "start", outcome);
        }
    }
    Ok(report)
}

fn measure(
    world: &World,
    kind: Kind,
    extent: &Extent,
    report: &mut Report,
    options: &Options,
) -> Result<()> {
    let peer = kind.start(world)?;
    let ids = peer.fill()?;
    for case in &extent.cases {
        options.progress(&format!("live: {}, {}", kind.name(), case.name()));
        let mut add = |name, unit, better, value| {
            let case = case.name();
            let metric = Metric {
                case,
                name,
                unit,
                better,
            };
            report.add(kind.name(), metric, value);
        };
        let outcome = follow(&peer, &ids, *case, extent, &mut add);
        report.note_failure(kind.name(), &case.name(), outcome);
    }
    Ok(())
}

/// Takes name, unit and direction of a figure, and its value.
type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, Better, f64);

fn follow(peer: &Peer, ids: &[String], case: Case, extent: &Extent, add: Add<'_>) -> Result<()> {
    let mut fan = Fan::new(peer.server().address, peer.trees())?;
    peer.open(&mut fan, case)?;
    fan.hear_objects();
    let number = Cell::new(0);
    let publish = |stamp: &str| {
        let place = usize::try_from(case.object(number.get())).unwrap_or(0);
        number.set(number.get() + 1);
        let change = json!({ "stamp": stamp });
        peer.update(&ids[place], &change).into_bytes()
    };
    let receivers = case.receivers();
    fan.flood(&publish, receivers, WINDOW, extent.flood / 4)?;
    let flood = fan.flood(&publish, receivers, WINDOW, extent.flood)?;
    let micros = flood.cpu.as_secs_f64() * 1e6;
    let published = flood.published as f64;
    add("writes", "1/s", Better::High, published / flood.seconds);
    add("CPU per write", "µs", Better::Low, micros / published);
    if receivers > 1 {
        let delivered = flood.delivered as f64;
        add("deliveries", "1/s", Better::High, delivered / flood.seconds);
        add("CPU per delivery", "µs", Better::Low, micros / delivered);
    }
    if receivers > 0 {
        let mut ages = fan.trickle(&publish, receivers, extent.pause, extent.trickle)?;
        for (name, percent) in [("write to event p50", 50.0), ("write to event p99", 99.0)] {
            if let Some(age) = ages.percentile_ms(percent) {
                add(name, "ms", Better::Low, age);
            }
        }
    }
    Ok(())
}

/// A running server with its objects.
enum Peer {
    Pilvi(PilviStore),
    Parse(LiveParse),
}

impl Peer {
    fn server(&self) -> &Server {
        match self {
            Self::Pilvi(pilvi) => pilvi.server(),
            Self::Parse(parse) => &parse.server,
        }
    }

    fn trees(&self) -> Vec<Tree> {
        match self {
            Self::Pilvi(pilvi) => pilvi.trees(),
            Self::Parse(parse) => parse.trees(),
        }
    }

    /// Stores the objects; their ids, in order of their numbers.
    fn fill(&self) -> Result<Vec<String>> {
        let mut client = Client::connect(self.server().address)?;
        let mut ids = Vec::new();
        for number in 0..OBJECTS {
            let object = object(number, OBJECTS);
            let (request, pointer) = match self {
                Self::Pilvi(pilvi) => (pilvi.create(&object), "/id"),
                Self::Parse(_) => (LiveParse::create(&object), "/objectId"),
            };
            let made = client.ask(request).context("an object is not stored")?;
            ids.push(text(&made, pointer)?);
        }
        Ok(ids)
    }

    fn update(&self, id: &str, change: &Value) -> Request {
        match self {
            Self::Pilvi(pilvi) => pilvi.backend.update_object(id, change),
            Self::Parse(_) => LiveParse::update(id, change),
        }
    }

    /// Opens the sockets of all followers and waits until they follow.
    fn open(&self, fan: &mut Fan, case: Case) -> Result<()> {
        match self {
            Self::Pilvi(pilvi) => {
                let mut client = Client::connect(self.server().address)?;
                let mut targets = Vec::new();
                for number in 0..case.followers {
                    let urls = client.ask(pilvi.backend.live_url(&case.filter(number)))?;
                    targets.push(target(&text(&urls, "/webSocketUrl")?)?);
                }
                fan.open(&targets)?;
                // Each hears that it has caught up, at the latest now.
                fan.settle(case.followers as u64)
            }
            Self::Parse(_) => {
                fan.open(&vec!["/".to_owned(); case.followers])?;
                fan.begin(&|_| LiveParse::connect().to_string())?;
                fan.begin(&|number| LiveParse::subscribe(&case.filter(number)).to_string())
            }
        }
    }
}

/// Path and query of an address.
fn target(url: &str) -> Result<String> {
    let target = url.splitn(4, '/').nth(3);
    let target = target.with_context(|| format!("{url} has no path"))?;
    Ok(format!("/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_reaches_those_who_follow_it() {
        for extent in [Extent::of(true, &[]), Extent::of(false, &[])] {
            for case in extent.cases {
                for write in [0, 7, OBJECTS + 3] {
                    let object = case.object(write);
                    let passes = |number: &usize| match case.filter(*number) {
                        filter if filter["number"].is_object() => true,
                        filter => filter["value"] == value(object),
                    };
                    let reached = (0..case.followers).filter(passes).count();
                    assert_eq!(reached, case.receivers(), "{}", case.name());
                }
            }
        }
    }

    #[test]
    fn different_filters_are_different() {
        let case = Case {
            followers: 100,
            asking: Asking::Different,
        };
        assert_ne!(case.filter(1), case.filter(2));
    }

    #[test]
    fn a_target_is_what_stands_behind_the_host() {
        assert_eq!(
            target("ws://a:1/v1/live?ticket=x/y").unwrap(),
            "/v1/live?ticket=x/y"
        );
        assert!(target("ws://a:1").is_err());
    }
}
