//! `bench mar`: the router in front of apps beside nginx and HAProxy, each on one core, in front of the same app.
//!
//! The app answers from a thread of ours, on the core of the load. That core does as much as the router's, so the
//! requests per second are what both together come to; what one core of the router could do is told by the CPU time.

mod app;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::http::load::{self, Outcome, Plan, Refusals};
use crate::install;
use crate::options::Options;
use crate::report::{Better, Metric, Report};
use crate::server::{Ready, Server};
use crate::world::World;
use app::App;

const HOST: &str = "app.localhost";
/// So many keep-alive connections, and so many bytes in each response.
const CASES: [(usize, usize); 4] = [(1, 100), (32, 100), (32, 16 << 10), (256, 100)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Router {
    Pilvi,
    Nginx,
    HaProxy,
}

const ROUTERS: [Router; 3] = [Router::Pilvi, Router::Nginx, Router::HaProxy];

impl Router {
    fn name(self) -> &'static str {
        match self {
            Self::Pilvi => "Pilvi",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    fn program(self, world: &World) -> Result<PathBuf> {
        match self {
            Self::Pilvi => {
                let beside = world.pilvi.with_file_name("examples").join("router");
                beside.is_file().then_some(beside).context(
                    "the router alone is not built: cargo build --release -p pilvi-web --example router",
                )
            }
            Self::Nginx => install::debian("/usr/sbin/nginx", "nginx-light"),
            Self::HaProxy => install::debian("/usr/sbin/haproxy", "haproxy"),
        }
    }

    /// Starts it in front of an app.
    fn start(self, world: &World, app: &App) -> Result<Server> {
        let program = self.program(world)?;
        let folder = world.empty_folder(self.name())?;
        world.start(self.name(), &Ready::Accepts, |address| {
            let upstream = app.address.to_string();
            let configured = |template: &str| {
                let file = folder.join(template);
                let text = fs::read_to_string(install::peer_source().join(template));
                let text = text
                    .unwrap_or_default()
                    .replace("FOLDER", &folder.display().to_string())
                    .replace("ADDRESS", &address.to_string())
                    .replace("UPSTREAM", &upstream)
                    .replace("HOST", HOST);
                // If it cannot be written, the program says so.
                let _ = fs::write(&file, text);
                file
            };
            let mut command = Command::new(&program);
            match self {
                Self::Pilvi => command.args([&address.to_string(), HOST, &upstream]),
                Self::Nginx => command
                    .arg("-c")
                    .arg(configured("router-nginx.conf"))
                    .arg("-p")
                    .arg(&folder),
                Self::HaProxy => command
                    .arg("-db")
                    .arg("-f")
                    .arg(configured("router-haproxy.cfg")),
            };
            command
        })
    }
}

pub(crate) fn run(world: &World, options: &Options) -> Result<Report> {
    let mut report = Report::new("mar: router");
    let program = |router: Router| router.program(world).map(drop);
    let routers = options.available(&mut report, &ROUTERS, Router::name, program);
    report.columns(routers.iter().map(|router| router.name()));
    report.note(
        "keep-alive on both sides, forwarded headers and a request id added by each; the app answers on the core of \
         the load, which is the limit of `requests`: what a core of the router could do is `requests per CPU second`",
    );
    for peer in [Router::Nginx, Router::HaProxy] {
        report.want_times("requests per CPU second", 1.0, peer.name());
        report.want_times("requests", 1.0, peer.name());
        report.want_times("p99", 1.0 / 1.3, peer.name());
    }
    for round in 1..=options.rounds() {
        for (connections, bytes) in CASES {
            let app = App::start(bytes)?;
            for router in &routers {
                let name = router.name();
                let case = format!("{connections} connections, {bytes} B");
                options.progress(&format!("mar: round {round}, {name}, {case}"));
                let outcome = measure(world, *router, &app, connections, options);
                let outcome = outcome.map(|outcome| add(&mut report, name, &case, outcome));
                report.note_failure(name, &case, outcome);
            }
        }
    }
    Ok(report)
}

fn measure(
    world: &World,
    router: Router,
    app: &App,
    connections: usize,
    options: &Options,
) -> Result<Outcome> {
    let server = router.start(world, app)?;
    let (warm_up, length) = match options.quick {
        false => (Duration::from_secs(1), Duration::from_secs(5)),
        true => (Duration::from_millis(300), Duration::from_secs(1)),
    };
    let request = format!(
        "GET /hello?who=world HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\nUser-Agent: bench\r\n\r\n"
    );
    load::run(&mut Plan {
        address: server.address,
        server: vec![server.tree()],
        connections,
        warm_up,
        length,
        refusals: Refusals::End,
        request: &mut |_| request.clone().into_bytes(),
    })
}

fn add(report: &mut Report, peer: &str, case: &str, mut outcome: Outcome) {
    let mut add = |name, unit, better, value| {
        let case = case.to_owned();
        report.add(
            peer,
            Metric {
                case,
                name,
                unit,
                better,
            },
            value,
        );
    };
    let per_cpu_second = outcome.requests as f64 / outcome.cpu.as_secs_f64().max(0.01);
    add("requests", "1/s", Better::High, outcome.per_second());
    add(
        "requests per CPU second",
        "1/s",
        Better::High,
        per_cpu_second,
    );
    for (name, percent) in [("p50", 50.0), ("p99", 99.0)] {
        if let Some(latency) = outcome.latencies.percentile_ms(percent) {
            add(name, "ms", Better::Low, latency);
        }
    }
}
