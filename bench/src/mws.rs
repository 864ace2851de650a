//! `bench mws`: pushing small messages to many sockets.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::options::Options;
use crate::peers::gateways::{Gateway, KINDS, Kind, To};
use crate::report::{Better, Metric, Report};
use crate::usage::Memory;
use crate::world::World;
use crate::ws::fan::{Fan, PUBLISHERS};

/// How many sockets have the tag.
const TAGGED: usize = 10;
/// Messages under way at once while throughput is measured.
const WINDOW: u64 = 8;
const TRICKLE_PAUSE: Duration = Duration::from_millis(500);
/// How long a server may tidy up after its sockets were opened before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// How long everything is measured, and with how many sockets.
pub(crate) struct Extent {
    pub(crate) sockets: Vec<usize>,
    /// The number of sockets with which the time of a broadcast is measured.
    pub(crate) trickle_at: usize,
    flood: Duration,
    trickle: Duration,
    rest: Duration,
}

impl Extent {
    pub(crate) fn of(quick: bool) -> Self {
        let seconds = Duration::from_secs;
        match quick {
            false => Self {
                sockets: vec![1_000, 5_000, 19_000],
                trickle_at: 5_000,
                flood: seconds(4),
                trickle: seconds(10),
                rest: seconds(10),
            },
            true => Self {
                sockets: vec![500],
                trickle_at: 500,
                flood: seconds(1),
                trickle: seconds(2),
                rest: seconds(1),
            },
        }
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MwsOptions {
    #[command(flatten)]
    pub common: Options,
    /// Open so many sockets [default: 1000,5000,19000; with --quick 500]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    sockets: Vec<usize>,
}

pub(crate) fn run(world: &World, options: &MwsOptions) -> Result<Report> {
    let mut extent = Extent::of(options.common.quick);
    if !options.sockets.is_empty() {
        extent.sockets.clone_from(&options.sockets);
    }
    let options = &options.common;
    let mut report = Report::new("mws");
    let kinds = options.available(
        &mut report,
        &KINDS,
        |kind| kind.name(),
        |kind| kind.prepare(),
    );
    report.columns(kinds.iter().map(|kind| kind.name()));
    report.note(format!(
        "messages of 128 bytes, no TLS, no compression; {PUBLISHERS} publishers post over HTTP and keep {WINDOW} \
         messages under way"
    ));
    report.note(
        "`bare` is a loop of ours without any checks: joined writes are the limit of this machine",
    );
    report.note("Pilvi checks the security token with every request and redeems a reservation for every socket");
    report.want_times("deliveries", 0.85, Kind::BareJoined.name());
    report.want_times("deliveries", 1.0, Kind::Bun.name());
    report.want_times("broadcast p99", 1.0 / 1.15, Kind::BareJoined.name());
    report.want_at_most("user memory per idle socket", 1.0);
    report.want_at_most("CPU while idle", 1.0);
    report.want_at_least("handshakes", 10_000.0);
    for sockets in &extent.sockets {
        // A peer that has failed with so many sockets is not asked again.
        let mut standing = kinds.clone();
        for round in 1..=options.rounds() {
            standing.retain(|kind| {
                options.progress(&format!(
                    "mws: {sockets} sockets, round {round}, {}",
                    kind.name()
                ));
                let outcome = measure(
                    world,
                    *kind,
                    *sockets,
                    &extent,
                    &mut |name, unit, better, value| {
                        let case = format!("{sockets} sockets");
                        report.add(
                            kind.name(),
                            Metric {
                                case,
                                name,
                                unit,
                                better,
                            },
                            value,
                        );
                    },
                );
                report.note_failure(kind.name(), &format!("{sockets} sockets"), outcome)
            });
        }
    }
    Ok(report)
}

/// Takes name, unit and direction of a figure, and its value.
pub(crate) type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, Better, f64);

pub(crate) fn measure(
    world: &World,
    kind: Kind,
    sockets: usize,
    extent: &Extent,
    add: Add<'_>,
) -> Result<()> {
    let gateway = kind.start(world)?;
    let server = gateway.server();
    let mut fan = Fan::new(server.address, vec![server.tree()])?;
    let empty = server.tree().memory()?;
    let targets = gateway.targets(sockets, TAGGED)?;
    let opening = fan.open(&targets)?;
    add(
        "handshakes",
        "1/s",
        Better::High,
        sockets as f64 / opening.seconds,
    );
    fan.rest(SETTLE)?;
    let memory = per_socket(server.tree().memory()? - empty, sockets);
    add("user memory per idle socket", "KB", Better::Low, memory);
    let rest = fan.rest(extent.rest)?;
    let share = 100.0 * rest.as_secs_f64() / extent.rest.as_secs_f64();
    add("CPU while idle", "% of a core", Better::Low, share);

    let everyone = |message: &str| gateway.publish(message, To::Everyone);
    fan.flood(&everyone, sockets, WINDOW, extent.flood / 4)?;
    let flood = fan.flood(&everyone, sockets, WINDOW, extent.flood)?;
    add(
        "deliveries",
        "1/s",
        Better::High,
        flood.delivered as f64 / flood.seconds,
    );
    add(
        "CPU per delivery",
        "µs",
        Better::Low,
        flood.cpu.as_secs_f64() * 1e6 / flood.delivered as f64,
    );
    if sockets == extent.trickle_at {
        let mut ages = fan.trickle(&everyone, sockets, TRICKLE_PAUSE, extent.trickle)?;
        for (name, percent) in [("broadcast p50", 50.0), ("broadcast p99", 99.0)] {
            if let Some(age) = ages.percentile_ms(percent) {
                add(name, "ms", Better::Low, age);
            }
        }
    }
    tag_of_ten(&gateway, &mut fan, extent, add)
}

fn tag_of_ten(gateway: &Gateway, fan: &mut Fan, extent: &Extent, add: Add<'_>) -> Result<()> {
    let tagged = |message: &str| gateway.publish(message, To::Tag);
    let flood = fan.flood(&tagged, TAGGED, WINDOW, extent.flood / 2)?;
    add(
        "messages to a tag of 10",
        "1/s",
        Better::High,
        flood.published as f64 / flood.seconds,
    );
    add(
        "CPU per message to a tag of 10",
        "µs",
        Better::Low,
        flood.cpu.as_secs_f64() * 1e6 / flood.published as f64,
    );
    Ok(())
}

fn per_socket(memory: Memory, sockets: usize) -> f64 {
    memory.anonymous_kb as f64 / sockets as f64
}
