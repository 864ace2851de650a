//! `bench mws`: pushing small messages to many sockets.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::options::Options;
use crate::peers::gateways::{Gateway, KINDS, Kind, To};
use crate::report::{Better, Metric, Report};
use crate::samples::Latencies;
use crate::usage::{Memory, kernel_connections_kb, settled_kernel_connections_kb};
use crate::world::World;
use crate::ws::fan::{Fan, PUBLISHERS, Throughput};
use crate::ws::stamp::MESSAGE_BYTES;

/// How many sockets have the tag.
const TAGGED: usize = 10;
/// Messages under way at once while throughput is measured.
const WINDOW: u64 = 8;
/// The larger of the two sizes of messages.
const LARGE_BYTES: usize = 1024;
/// Between two messages to everyone while their ages are taken.
const TRICKLE_PAUSE: Duration = Duration::from_millis(500);
/// The same of messages to the tag.
const TAG_PAUSE: Duration = Duration::from_millis(5);
/// How long a server may tidy up after its sockets were opened before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Figures {
    /// Memory and CPU of sockets that hear nothing; handshakes are always measured
    Idle,
    /// Messages to everyone, as fast as they go
    Deliveries,
    /// How old a message to everyone is on arrival
    Broadcast,
    /// Messages to a tag of ten
    Tag,
    /// Sockets under TLS
    Tls,
    /// Two reactors on the two cores that the load needs, too
    Cores,
}

/// How long everything is measured, and with how many sockets.
pub(crate) struct Extent {
    /// Nothing else, unless there are none.
    figures: Vec<Figures>,
    pub(crate) sockets: Vec<usize>,
    /// The number of sockets with which the time of a broadcast, TLS and both cores are measured.
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
                figures: Vec::new(),
                sockets: vec![1_000, 5_000, 19_000],
                trickle_at: 5_000,
                flood: seconds(4),
                trickle: seconds(10),
                rest: seconds(10),
            },
            true => Self {
                figures: Vec::new(),
                sockets: vec![500],
                trickle_at: 500,
                flood: seconds(1),
                trickle: seconds(2),
                rest: seconds(1),
            },
        }
    }

    fn wants(&self, figures: Figures) -> bool {
        self.figures.is_empty() || self.figures.contains(&figures)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MwsOptions {
    #[command(flatten)]
    pub common: Options,
    /// Open so many sockets [default: 1000,5000,19000; with --quick 500]
    #[arg(long, value_name = "N", value_delimiter = ',')]
    sockets: Vec<usize>,
    /// Flood for so many seconds [default: 4; with --quick 1]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Measure only these [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    figures: Vec<Figures>,
}

/// What is measured of a server besides all the figures of plain sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Plain,
    Tls,
    /// Server and load share both cores.
    BothCores,
}

impl Part {
    const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::BothCores];

    fn case(self, sockets: usize) -> String {
        match self {
            Self::Plain => format!("{sockets} sockets"),
            Self::Tls => format!("{sockets} sockets, TLS"),
            Self::BothCores => format!("{sockets} sockets, both cores"),
        }
    }

    /// Whether it is measured of this server with so many sockets.
    fn applies(self, kind: Kind, sockets: usize, extent: &Extent) -> bool {
        let once = sockets == extent.trickle_at;
        match self {
            Self::Plain => {
                let plain = [
                    Figures::Idle,
                    Figures::Deliveries,
                    Figures::Broadcast,
                    Figures::Tag,
                ];
                plain.into_iter().any(|figures| extent.wants(figures))
            }
            Self::Tls => once && kind.speaks_tls() && extent.wants(Figures::Tls),
            Self::BothCores => once && kind == Kind::Pilvi && extent.wants(Figures::Cores),
        }
    }

    fn measure(
        self,
        world: &World,
        kind: Kind,
        sockets: usize,
        extent: &Extent,
        add: Add<'_>,
    ) -> Result<()> {
        match self {
            Self::Plain => measure(world, kind, sockets, extent, add),
            Self::Tls => measure_tls(world, kind, sockets, extent, add),
            Self::BothCores => {
                measure_on_both_cores(&world.with_shared_cores(), kind, sockets, extent, add)
            }
        }
    }
}

pub(crate) fn run(world: &World, options: &MwsOptions) -> Result<Report> {
    let mut extent = Extent::of(options.common.quick);
    extent.figures.clone_from(&options.figures);
    if !options.sockets.is_empty() {
        extent.sockets.clone_from(&options.sockets);
        // The largest that was asked for, unless it is among them already.
        let largest = options.sockets.iter().max().copied();
        if !options.sockets.contains(&extent.trickle_at) {
            extent.trickle_at = largest.unwrap_or(extent.trickle_at);
        }
    }
    if let Some(seconds) = options.seconds {
        extent.flood = Duration::from_secs(seconds.max(1));
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
    explain(&mut report);
    aim(&mut report);
    for sockets in &extent.sockets {
        for part in Part::ALL {
            // A peer that has failed with so many sockets is not asked again.
            let mut standing: Vec<Kind> = kinds.clone();
            standing.retain(|kind| part.applies(*kind, *sockets, &extent));
            for round in 1..=options.rounds() {
                standing.retain(|kind| {
                    let case = part.case(*sockets);
                    options.progress(&format!("mws: {case}, round {round}, {}", kind.name()));
                    let mut add = |name, unit, better, value| {
                        let metric = Metric {
                            case: case.clone(),
                            name,
                            unit,
                            better,
                        };
                        report.add(kind.name(), metric, value);
                    };
                    let outcome = part.measure(world, *kind, *sockets, &extent, &mut add);
                    report.note_failure(kind.name(), &case, outcome)
                });
            }
        }
    }
    Ok(report)
}

fn explain(report: &mut Report) {
    report.note(format!(
        "messages of 128 bytes where nothing else is said, no compression; {PUBLISHERS} publishers post over HTTP and \
         keep {WINDOW} messages under way"
    ));
    report.note(
        "`bare` is a loop of ours without any checks: joined writes are the limit of this machine",
    );
    report.note("Pilvi checks the security token with every request and redeems a reservation for every socket");
    report.note(
        "the load generator never sleeps while messages are due, so that no server pays for waking it",
    );
    report.note(
        "kernel memory: half of what both ends of a connection take, because both are on this machine",
    );
    report.note("TLS: whole handshakes, no resumption; each server with its own TLS library");
    report.note(
        "both cores: the server has two reactors, and the load generator, which then only counts bytes, runs on the \
         same two cores; what it takes of them is a row of its own",
    );
}

fn aim(report: &mut Report) {
    report.want_times("deliveries", 0.85, Kind::BareJoined.name());
    report.want_times("deliveries", 1.0, Kind::Bun.name());
    report.want_times("deliveries of 1 KB", 0.85, Kind::BareJoined.name());
    report.want_times("deliveries of 1 KB", 1.0, Kind::Bun.name());
    report.want_times("broadcast p99", 1.0 / 1.15, Kind::BareJoined.name());
    report.want_times("CPU per message to a tag of 10", 1.0, Kind::Bun.name());
    report.want_at_most("user memory per idle socket", 1.0);
    report.want_at_most("user memory per idle TLS socket", 10.0);
    report.want_at_most("CPU while idle", 1.0);
    report.want_at_least("handshakes", 10_000.0);
}

/// Takes name, unit and direction of a figure, and its value.
pub(crate) type Add<'a> = &'a mut dyn FnMut(&'static str, &'static str, Better, f64);

/// Everything about plain sockets.
pub(crate) fn measure(
    world: &World,
    kind: Kind,
    sockets: usize,
    extent: &Extent,
    add: Add<'_>,
) -> Result<()> {
    let gateway = kind.start(world, false)?;
    let server = gateway.server();
    let mut fan = Fan::new(server.address, vec![server.tree()])?;
    let kernel_empty = settled_kernel_connections_kb();
    let empty = server.tree().memory()?;
    let targets = gateway.targets(sockets, TAGGED)?;
    let opening = fan.open(&targets)?;
    let handshakes = sockets as f64 / opening.seconds;
    add("handshakes", "1/s", Better::High, handshakes);
    if extent.wants(Figures::Idle) {
        fan.rest(SETTLE)?;
        let memory = per_socket(server.tree().memory()? - empty, sockets);
        add("user memory per idle socket", "KB", Better::Low, memory);
        add_kernel_memory("kernel memory per idle socket", kernel_empty, sockets, add);
        let rest = fan.rest(extent.rest)?;
        let share = 100.0 * rest.as_secs_f64() / extent.rest.as_secs_f64();
        add("CPU while idle", "% of a core", Better::Low, share);
    }
    let everyone = |message: &str| gateway.publish(message, To::Everyone);
    if extent.wants(Figures::Deliveries) {
        fan.flood(&everyone, sockets, WINDOW, extent.flood / 4)?;
        let flood = fan.flood(&everyone, sockets, WINDOW, extent.flood)?;
        add("deliveries", "1/s", Better::High, deliveries(&flood));
        add(
            "CPU per delivery",
            "µs",
            Better::Low,
            cpu_per_delivery(&flood),
        );
        fan.say_bytes(LARGE_BYTES);
        fan.flood(&everyone, sockets, WINDOW, extent.flood / 8)?;
        let flood = fan.flood(&everyone, sockets, WINDOW, extent.flood / 2)?;
        add(
            "deliveries of 1 KB",
            "1/s",
            Better::High,
            deliveries(&flood),
        );
        add(
            "CPU per delivery of 1 KB",
            "µs",
            Better::Low,
            cpu_per_delivery(&flood),
        );
        fan.say_bytes(MESSAGE_BYTES);
    }
    if sockets == extent.trickle_at && extent.wants(Figures::Broadcast) {
        let ages = fan.trickle(&everyone, sockets, TRICKLE_PAUSE, extent.trickle)?;
        add_ages(
            ["broadcast p50", "broadcast p99", "broadcast p99.9"],
            ages,
            add,
        );
    }
    match extent.wants(Figures::Tag) {
        true => tag_of_ten(&gateway, &mut fan, extent, add),
        false => Ok(()),
    }
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
    let ages = fan.trickle(&tagged, TAGGED, TAG_PAUSE, extent.trickle / 2)?;
    add_ages(
        ["tag of 10 p50", "tag of 10 p99", "tag of 10 p99.9"],
        ages,
        add,
    );
    Ok(())
}

/// What is different when sockets speak TLS.
fn measure_tls(
    world: &World,
    kind: Kind,
    sockets: usize,
    extent: &Extent,
    add: Add<'_>,
) -> Result<()> {
    let gateway = kind.start(world, true)?;
    let server = gateway.server();
    let mut fan = Fan::new(server.address, vec![server.tree()])?;
    let kernel_empty = settled_kernel_connections_kb();
    let empty = server.tree().memory()?;
    let targets = gateway.targets(sockets, TAGGED)?;
    let opening = fan.open_secure(gateway.secure()?, &targets)?;
    let handshakes = sockets as f64 / opening.seconds;
    add("TLS handshakes", "1/s", Better::High, handshakes);
    fan.rest(SETTLE)?;
    let memory = per_socket(server.tree().memory()? - empty, sockets);
    add("user memory per idle TLS socket", "KB", Better::Low, memory);
    add_kernel_memory(
        "kernel memory per idle TLS socket",
        kernel_empty,
        sockets,
        add,
    );
    let everyone = |message: &str| gateway.publish(message, To::Everyone);
    fan.flood(&everyone, sockets, WINDOW, extent.flood / 4)?;
    let flood = fan.flood(&everyone, sockets, WINDOW, extent.flood / 2)?;
    add(
        "deliveries under TLS",
        "1/s",
        Better::High,
        deliveries(&flood),
    );
    add(
        "CPU per delivery under TLS",
        "µs",
        Better::Low,
        cpu_per_delivery(&flood),
    );
    Ok(())
}

/// What a second reactor is good for, as far as two cores that are shared with the load can tell.
fn measure_on_both_cores(
    world: &World,
    kind: Kind,
    sockets: usize,
    extent: &Extent,
    add: Add<'_>,
) -> Result<()> {
    let gateway = kind.start(world, false)?;
    let server = gateway.server();
    let mut fan = Fan::new(server.address, vec![server.tree()])?;
    let targets = gateway.targets(sockets, TAGGED)?;
    fan.open(&targets)?;
    fan.share_core();
    // The first pings come later than all this ends, so that whatever is heard are messages.
    fan.only_count();
    let everyone = |message: &str| gateway.publish(message, To::Everyone);
    fan.flood(&everyone, sockets, WINDOW, extent.flood / 4)?;
    let flood = fan.flood(&everyone, sockets, WINDOW, extent.flood)?;
    let load = flood.load_cpu.as_secs_f64() * 1e6 / flood.delivered as f64;
    add(
        "deliveries with two reactors",
        "1/s",
        Better::High,
        deliveries(&flood),
    );
    add(
        "CPU per delivery with two reactors",
        "µs",
        Better::Low,
        cpu_per_delivery(&flood),
    );
    add("of the load generator", "µs", Better::Low, load);
    Ok(())
}

fn deliveries(flood: &Throughput) -> f64 {
    flood.delivered as f64 / flood.seconds
}

fn cpu_per_delivery(flood: &Throughput) -> f64 {
    flood.cpu.as_secs_f64() * 1e6 / flood.delivered as f64
}

fn add_ages(names: [&'static str; 3], mut ages: Latencies, add: Add<'_>) {
    for (name, percent) in names.into_iter().zip([50.0, 99.0, 99.9]) {
        if let Some(age) = ages.percentile_ms(percent) {
            add(name, "ms", Better::Low, age);
        }
    }
}

fn per_socket(memory: Memory, sockets: usize) -> f64 {
    memory.anonymous_kb as f64 / sockets as f64
}

/// Adds nothing where the kernel does not tell.
fn add_kernel_memory(name: &'static str, before: Option<i64>, sockets: usize, add: Add<'_>) {
    if let (Some(before), Some(now)) = (before, kernel_connections_kb()) {
        let ends = 2.0 * sockets as f64;
        add(name, "KB", Better::Low, (now - before) as f64 / ends);
    }
}
