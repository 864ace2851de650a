//! `bench access`: what access lists cost. The operations of `bench eds`, by callers who may see everything, what is
//! their own, or what a group may see; the first column is the security token, which no list stops.

mod parse;
mod pilvi;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::eds::{self, Extent};
use crate::http::load::Outcome;
use crate::http::request::Request;
use crate::options::Options;
use crate::peers::store::{self, ROWS, object, value};
use crate::report::Report;
use crate::usage::Tree;
use crate::world::World;

/// Objects that belong to the one who owns few.
const OWNED: u64 = 100;
/// Values that only these objects have.
const OWNED_VALUES: u64 = OWNED / ROWS as u64;

/// Who asks: the columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The security token of an open backend.
    Token,
    /// Nobody in particular, in an open backend.
    Anonymous,
    /// A user of a private backend who owns few of its objects and may see no others.
    Owner,
    /// A user of a private backend who owns nothing and sees everything through a usergroup.
    Member,
    ParseOwner,
    ParseMember,
}

const COLUMNS: [Who; 6] = [
    Who::Token,
    Who::Anonymous,
    Who::Owner,
    Who::Member,
    Who::ParseOwner,
    Who::ParseMember,
];

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "security token",
            Self::Anonymous => "anonymous",
            Self::Owner => "owner of 100",
            Self::Member => "group member",
            Self::ParseOwner => "parse server: owner of 100",
            Self::ParseMember => "parse server: role",
        }
    }

    fn is_parse(self) -> bool {
        matches!(self, Self::ParseOwner | Self::ParseMember)
    }

    fn prepare(self) -> Result<()> {
        match self.is_parse() {
            true => store::Kind::Parse.prepare(),
            false => Ok(()),
        }
    }
}

/// A running server with its objects, and everybody who asks it.
trait Scene {
    fn address(&self) -> SocketAddr;
    fn trees(&self) -> Vec<Tree>;
    fn create(&self, who: Who, object: &Value) -> Request;
    fn get(&self, who: Who, id: &str) -> Request;
    fn query(&self, who: Who, value: &str) -> Request;
    /// Asks how many objects there are for the caller.
    fn count(&self, who: Who) -> Result<u64>;
    /// Gives the private objects, but those of the owner of few, to so many other users.
    fn scatter(&self, owners: u64) -> Result<()>;
    /// The ids of the objects that the owner of few owns, or of the same objects where nobody owns them.
    fn owned(&self, who: Who) -> &[String];
}

/// How much there is: the objects, and how many users own those that the owner of few does not.
struct Crowd {
    objects: u64,
    owners: u64,
    distinct: u64,
    /// How many own them once they have been scattered.
    owners_then: u64,
}

impl Crowd {
    fn of(options: &Options) -> Self {
        let (objects, owners, owners_then) = if options.quick {
            (5_000, 4, 500)
        } else {
            (100_000, 100, 10_000)
        };
        Self {
            objects,
            owners,
            distinct: objects / ROWS as u64,
            owners_then,
        }
    }

    fn object(&self, number: u64) -> Value {
        object(number, self.distinct)
    }

    /// Who of the crowd owns an object; `None`: the owner of few.
    fn owner_of(&self, number: u64) -> Option<u64> {
        let (value, lap) = (number % self.distinct, number / self.distinct);
        (value >= OWNED_VALUES).then_some((value + lap) % self.owners)
    }
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("access");
    let columns = options.available(&mut report, &COLUMNS, Who::name, Who::prepare);
    report.columns(columns.iter().map(|who| who.name()));
    let crowd = Crowd::of(options);
    report.note(format!(
        "{} objects of 1 KB in one type; a query finds {ROWS} of them by an indexed property, newest first; the \
         objects that are read are the same {OWNED} for all columns",
        crowd.objects
    ));
    report.note(format!(
        "security token and anonymous: an open backend, lists of `*`; owner and member: bearer tokens of a private \
         backend in which {} other users own the rest and one usergroup may read all; the owner creates objects that \
         only their creator may do anything with",
        crowd.owners
    ));
    report.note(
        "Parse Server: the same lists as ACLs and a role, filled by SQL, asked with session tokens",
    );
    let (parse, pilvi): (Vec<Who>, Vec<Who>) = columns.iter().partition(|who| who.is_parse());
    for round in 1..=options.rounds() {
        for columns in [&pilvi, &parse] {
            let Some(first) = columns.first() else {
                continue;
            };
            options.progress(&format!("access: round {round}, {}", first.name()));
            let outcome = measure(world, options, &crowd, columns, &mut report);
            report.note_failure(first.name(), "access", outcome);
        }
    }
    Ok(report)
}

fn measure(
    world: &World,
    options: &Options,
    crowd: &Crowd,
    columns: &[Who],
    report: &mut Report,
) -> Result<()> {
    let scene: Box<dyn Scene> = match columns.iter().any(|who| who.is_parse()) {
        true => Box::new(parse::ParseScene::start(world, crowd)?),
        false => Box::new(pilvi::PilviScene::start(world, crowd)?),
    };
    let scene = &*scene;
    let seconds = if options.quick { 1 } else { 5 };
    let extent = Extent {
        objects: crowd.objects,
        distinct: crowd.distinct,
        warm_up: Duration::from_secs(if options.quick { 1 } else { 2 }),
        length: Duration::from_secs(seconds),
    };
    for who in columns {
        check(scene, *who, crowd)?;
    }
    // Creates come last: they add objects.
    for (case, load) in [
        ("get", gets as Load),
        ("query", queries),
        ("create", creates),
    ] {
        for who in columns {
            let outcome = load(scene, *who, &extent)?;
            eds::add_outcome(report, who.name(), case, outcome);
        }
    }
    scene.scatter(crowd.owners_then)?;
    let case = format!("query, {} owners", crowd.owners_then);
    for who in columns {
        let outcome = queries(scene, *who, &extent)?;
        eds::add_outcome(report, who.name(), &case, outcome);
    }
    Ok(())
}

/// Rights that do not hold, or hold for nobody, would make a fast server.
fn check(scene: &dyn Scene, who: Who, crowd: &Crowd) -> Result<()> {
    let visible = match who {
        Who::Owner | Who::ParseOwner => OWNED,
        _ => crowd.objects,
    };
    let counted = scene.count(who)?;
    if counted != visible {
        bail!("{} sees {counted} objects instead of {visible}", who.name());
    }
    eds::check_rows(scene.address(), scene.query(who, &value(3)), 3, "/results")
}

type Load = fn(&dyn Scene, Who, &Extent) -> Result<Outcome>;

fn creates(scene: &dyn Scene, who: Who, extent: &Extent) -> Result<Outcome> {
    let mut request = |number| {
        let mut object = object(number, extent.distinct);
        object["value"] = format!("new-{number}").into();
        scene.create(who, &object).into_bytes()
    };
    eds::load(scene.address(), scene.trees(), extent, &mut request)
}

fn gets(scene: &dyn Scene, who: Who, extent: &Extent) -> Result<Outcome> {
    let ids = scene.owned(who);
    let mut request = |number| {
        let place = usize::try_from(eds::scattered(number, ids.len() as u64)).unwrap_or(0);
        scene.get(who, &ids[place]).into_bytes()
    };
    eds::load(scene.address(), scene.trees(), extent, &mut request)
}

fn queries(scene: &dyn Scene, who: Who, extent: &Extent) -> Result<Outcome> {
    let mut request = |number| {
        let value = value(eds::scattered(number, OWNED_VALUES));
        scene.query(who, &value).into_bytes()
    };
    eds::load(scene.address(), scene.trees(), extent, &mut request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_few_owns_as_many_as_the_column_says_and_the_crowd_the_rest() {
        for (objects, owners) in [(5_000, 4), (100_000, 100)] {
            let crowd = Crowd {
                objects,
                owners,
                distinct: objects / ROWS as u64,
                owners_then: 0,
            };
            let mut few = 0;
            let mut others = vec![0_u64; usize::try_from(owners).unwrap()];
            for number in 0..objects {
                match crowd.owner_of(number) {
                    None => few += 1,
                    Some(other) => others[usize::try_from(other).unwrap()] += 1,
                }
            }
            assert_eq!(few, OWNED);
            assert!(others.iter().all(|owned| *owned > 0), "{others:?}");
        }
    }
}
