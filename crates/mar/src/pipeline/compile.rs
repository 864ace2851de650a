//! Runs the buildpack on the project.

use super::Voice;
use super::detect::{Pack, words};
use super::outcome::{Failed, Step};
use super::workshop::{BUILD, CACHE, VARS, Workshop};

pub(super) async fn run(
    workshop: &mut Workshop,
    pack: &Pack,
    voice: &mut Voice,
) -> Result<(), Failed> {
    let program = format!("{}/bin/compile", pack.folder);
    let step = Step::Compile(pack.name.clone());
    workshop
        .run(&step, words(&[&program, BUILD, CACHE, VARS]), voice)
        .await
}
