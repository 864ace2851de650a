//! `pilvi mar releases` and `rollback`.

use clap::Args;
use serde_json::{Value, json};

use super::target::App;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::progress::Progress;
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};

/// What is enough to know a slug by.
const TAG_CHARS: usize = 12;

pub(super) async fn list(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let answer = app.get(session, "releases").await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let releases = results(&answer);
    if releases.is_empty() {
        session
            .screen
            .note("There are no releases yet. The first push makes one.")?;
        return Ok(0);
    }
    let mut table = Table::new(&[
        whole("RELEASE"),
        whole("STATE"),
        elastic("SLUG"),
        elastic("REASON"),
        elastic("BY"),
        whole("CREATED"),
    ]);
    for release in releases {
        let slug: String = text(release, "tag").chars().take(TAG_CHARS).collect();
        table.row([
            format!("v{}", text(release, "number")),
            text(release, "state"),
            slug,
            text(release, "reason"),
            text(release, "author"),
            text(release, "createdAt"),
        ]);
    }
    session.screen.table(&table)?;
    Ok(0)
}

#[derive(Args, Clone, Debug)]
pub(super) struct Rollback {
    /// The release to go back to, such as v3 [default: the one that ran before the current]
    #[arg(value_parser = release)]
    release: Option<u64>,
}

fn release(text: &str) -> std::result::Result<u64, &'static str> {
    let number = text.strip_prefix('v').unwrap_or(text);
    number.parse().map_err(|_| "write a release such as v3")
}

impl Rollback {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>, app: &App) -> Outcome {
        let number = match self.release {
            Some(number) => number,
            None => one_before(session, app).await?,
        };
        let resource = format!("releases/{number}/rollback");
        let waiting = Progress::of_waiting(session.screen, "Deploying");
        let answer = app.post(session, &resource, &json!({})).await;
        drop(waiting);
        let answer = answer.map_err(|failure| {
            let next = "see `pilvi mar releases` for those that there are";
            failure.on(Code::NotFound, next).on(Code::Refused, next)
        })?;
        session.done(&answer, &deployed(&format!("what v{number} ran"), &answer))
    }
}

/// The newest release below the current one that ran. What failed is nothing to go back to.
async fn one_before(session: &Session<'_, '_>, app: &App) -> Result<u64> {
    let answer = app.get(session, "releases").await?;
    let releases = results(&answer);
    let number = |release: &Value| release["number"].as_u64();
    let current = releases
        .iter()
        .find(|release| release["state"] == "current");
    let current = current.and_then(number);
    let earlier = releases
        .iter()
        .filter(|release| release["state"] == "old")
        .filter_map(number)
        .filter(|number| current.is_none_or(|current| *number < current));
    earlier.max().ok_or_else(|| {
        let next = "see `pilvi mar releases` for those that there are";
        Failure::new(
            Code::NotFound,
            "there is no earlier release to go back to",
            next,
        )
    })
}

/// How a deploy went: `what` is what was deployed.
pub(super) fn deployed(what: &str, answer: &Value) -> String {
    match answer["release"].as_u64() {
        Some(number) => format!("The app runs {what}, as v{number}."),
        None => {
            format!("The app is going to run {what}. See how it goes with: pilvi mar logs --follow")
        }
    }
}
