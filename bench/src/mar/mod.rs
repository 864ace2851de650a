//! `bench mar`: pushing apps and running them. Each part has a file: [`sandbox`] is the start of a sandbox beside
//! bubblewrap, [`push`] a push beside the build tool run by hand, [`redeploy`] new releases while visitors come,
//! [`idle`]
//! what an idle app costs and how soon it is back after a restart. The part about the router is in `mar_router`.

mod app;
mod idle;
mod project;
mod push;
mod redeploy;
mod sandbox;
mod visitors;

use anyhow::Result;

use crate::mar_router;
use crate::options::Options;
use crate::report::{Better, Metric, Report};
use crate::world::World;

/// Measures the parts that are wanted.
pub(crate) fn run(world: &World, options: &Options) -> Result<Vec<Report>> {
    type Part = fn(&World, &Options) -> Result<Report>;
    let parts: [(&str, Part); 5] = [
        ("sandbox", sandbox::run),
        ("push", push::run),
        ("redeploy", redeploy::run),
        ("idle", idle::run),
        ("router", mar_router::run),
    ];
    // What was chosen are parts; within them nothing is left out.
    let all = options.with_everything();
    let wanted = parts.into_iter().filter(|(name, _)| options.wants(name));
    wanted.map(|(_, part)| part(world, &all)).collect()
}

/// A figure of which less is better.
fn low(case: &str, name: &'static str, unit: &'static str) -> Metric {
    Metric {
        case: case.to_owned(),
        name,
        unit,
        better: Better::Low,
    }
}
