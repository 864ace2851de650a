//! `bench fairness`: what a quiet tenant feels while another one floods the server.
//!
//! The columns are Pilvi as it is and Pilvi that shares nothing out. The quiet tenant has one connection and asks as
//! soon as it has its answer; the flood comes from hundreds of connections of another account's backend or gateway.
//!
//! Both share one core, and a quiet tenant whose thread waits for the flood's would measure the wrong queue. So the
//! thread of the flood steps back, as far as the system lets it, whenever the other one has something to do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::gettid;
use serde_json::json;

use crate::fill::fill;
use crate::http::client::Client;
use crate::http::load::{self, Outcome, Plan, Refusals};
use crate::http::request::{Request, encode};
use crate::options::Options;
use crate::peers::pilvi::{Instance, Pilvi};
use crate::peers::pilvi_store::BackendStore;
use crate::peers::store::object;
use crate::report::{Better, Metric, Report};
use crate::world::World;

const FLOOD: usize = 500;

/// So many steps back goes the thread of the flood.
const STEPS_BACK: i32 = 10;

/// Which Pilvi.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shared,
    Unshared,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Shared => "pilvi",
            Self::Unshared => "nothing shared out",
        }
    }

    fn start(self, world: &World) -> Result<Pilvi> {
        match self {
            Self::Shared => Pilvi::start(world),
            Self::Unshared => Pilvi::start_with(world, &[("PILVI_SHARE_REQUESTS", "0")]),
        }
    }
}

/// What the neighbour does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    Nothing,
    Gets,
    SlowQueries,
    Creates,
    Messages,
}

/// What is measured, under which floods. Creates come last: a backend that grows makes its queries slower still.
const CASES: [(&str, &[Flood]); 4] = [
    (
        "get",
        &[
            Flood::Nothing,
            Flood::Gets,
            Flood::SlowQueries,
            Flood::Messages,
        ],
    ),
    ("message", &[Flood::Nothing, Flood::Messages]),
    (
        "create",
        &[Flood::Nothing, Flood::SlowQueries, Flood::Creates],
    ),
    ("get", &[Flood::Creates]),
];

impl Flood {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nobody else",
            Self::Gets => "a flood of gets",
            Self::SlowQueries => "a flood of slow queries",
            Self::Creates => "a flood of creates",
            Self::Messages => "a flood of messages",
        }
    }
}

struct Extent {
    objects: u64,
    warm_up: Duration,
    length: Duration,
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("fairness");
    let kinds = options.available(
        &mut report,
        &[Kind::Shared, Kind::Unshared],
        |kind| kind.name(),
        |_| Ok(()),
    );
    report.columns(kinds.iter().map(|kind| kind.name()));
    let extent = Extent {
        objects: if options.quick { 1_000 } else { 10_000 },
        warm_up: Duration::from_millis(500),
        length: Duration::from_millis(if options.quick { 1_000 } else { 3_000 }),
    };
    report.note(format!(
        "one connection of the quiet tenant; the flood: {FLOOD} connections to a backend or gateway of another one; \
         {} objects of 1 KB in each backend; slow queries look through all of them",
        extent.objects
    ));
    for round in 1..=options.rounds() {
        for kind in &kinds {
            options.progress(&format!("fairness: round {round}, {}", kind.name()));
            let outcome = measure(world, *kind, &extent, &mut report);
            report.note_failure(kind.name(), "fairness", outcome);
        }
    }
    Ok(report)
}

/// The two tenants.
struct Street {
    cloud: Pilvi,
    quiet: Tenant,
    loud: Tenant,
}

struct Tenant {
    backend: Instance,
    gateway: Instance,
    ids: Vec<String>,
}

impl Street {
    fn build(world: &World, kind: Kind, extent: &Extent) -> Result<Self> {
        let cloud = kind.start(world)?;
        let mut client = Client::connect(cloud.server.address)?;
        let mut tenant = |name: &str| {
            let account = cloud.create_account(&mut client, name)?;
            let backend = cloud.create_in(&mut client, &account, "eds", name)?;
            let gateway = cloud.create_in(&mut client, &account, "mws", name)?;
            let store = BackendStore {
                server: &cloud.server,
                backend: &backend,
            };
            let ids = fill(&store, 0..extent.objects, 500)?;
            Ok::<_, anyhow::Error>(Tenant {
                backend,
                gateway,
                ids,
            })
        };
        let (quiet, loud) = (tenant("quiet")?, tenant("loud")?);
        Ok(Self { cloud, quiet, loud })
    }

    fn address(&self) -> SocketAddr {
        self.cloud.server.address
    }
}

impl Tenant {
    fn get(&self, number: u64) -> Request {
        let place = usize::try_from(number * 7919 % self.ids.len() as u64).unwrap_or(0);
        self.backend.get_object(&self.ids[place])
    }

    /// No index helps.
    fn slow_query(&self) -> Request {
        let filter = encode(&json!({"text": {"$regex": "never.*there"}}).to_string());
        let target = format!("/v1/objects/items?q={filter}");
        self.backend.authorized(Request::get(&target))
    }

    fn create(&self, number: u64) -> Request {
        self.backend.create_object(&object(number, 500))
    }

    fn message(&self) -> Request {
        let path = format!("/v1/gateways/{}/messages", self.gateway.id);
        let message = json!({"data": "x".repeat(128), "receivers": {"sockets": ["*"]}});
        let token = format!("Bearer {}", self.gateway.token);
        Request::post(&path)
            .header("Authorization", &token)
            .json(&message)
    }

    fn request(&self, flood: Flood, number: u64) -> Request {
        match flood {
            Flood::Nothing | Flood::Gets => self.get(number),
            Flood::SlowQueries => self.slow_query(),
            Flood::Creates => self.create(number),
            Flood::Messages => self.message(),
        }
    }
}

fn measure(world: &World, kind: Kind, extent: &Extent, report: &mut Report) -> Result<()> {
    let street = Street::build(world, kind, extent)?;
    for (what, floods) in CASES {
        for flood in floods {
            let measured = under(&street, what, *flood, extent)
                .with_context(|| format!("{what} beside {}", flood.name()))?;
            add(report, kind, &format!("{what}, {}", flood.name()), measured);
        }
    }
    Ok(())
}

fn add(report: &mut Report, kind: Kind, case: &str, measured: Measured) {
    let Measured { mut quiet, loud } = measured;
    let mut add = |name, unit, better, value| {
        let case = case.to_owned();
        let metric = Metric {
            case,
            name,
            unit,
            better,
        };
        report.add(kind.name(), metric, value);
    };
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        if let Some(latency) = quiet.latencies.percentile_ms(percent) {
            add(name, "ms", Better::Low, latency);
        }
    }
    add("requests", "1/s", Better::High, quiet.per_second());
    if let Some(loud) = loud {
        add("of the flood", "1/s", Better::High, loud.per_second());
    }
}

/// What came of both.
struct Measured {
    quiet: Outcome,
    loud: Option<Outcome>,
}

/// This thread gets its core when no other wants it.
fn step_back() -> rustix::io::Result<()> {
    let this = Some(gettid());
    setpriority_process(this, getpriority_process(this)? + STEPS_BACK)
}

/// Measures the quiet tenant while the other one floods.
fn under(street: &Street, what: &str, flood: Flood, extent: &Extent) -> Result<Measured> {
    let quiet = || {
        let mut request = |number| {
            let request = match what {
                "get" => street.quiet.get(number),
                "create" => street.quiet.create(number),
                _ => street.quiet.message(),
            };
            request.into_bytes()
        };
        load::run(&mut Plan {
            address: street.address(),
            server: Vec::new(),
            connections: 1,
            warm_up: extent.warm_up,
            length: extent.length,
            refusals: Refusals::End,
            request: &mut request,
        })
    };
    if flood == Flood::Nothing {
        let quiet = quiet()?;
        return Ok(Measured { quiet, loud: None });
    }
    std::thread::scope(|scope| {
        let loud = scope.spawn(|| {
            step_back().context("could not step back")?;
            let mut request = |number| street.loud.request(flood, number).into_bytes();
            load::run(&mut Plan {
                address: street.address(),
                server: Vec::new(),
                connections: FLOOD,
                warm_up: Duration::ZERO,
                length: extent.warm_up + extent.length + Duration::from_secs(1),
                // Who floods may be told so.
                refusals: Refusals::GoOn,
                request: &mut request,
            })
        });
        let quiet = quiet();
        let loud = match loud.join() {
            Ok(flooded) => flooded.context("the flood did not flow")?,
            Err(_) => bail!("the thread of the flood has panicked"),
        };
        Ok(Measured {
            quiet: quiet?,
            loud: Some(loud),
        })
    })
}
