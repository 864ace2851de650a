//! `pilvi eds watch`: what is created and changed, as it happens.
//!
//! Changes are found by asking again and again for what has a newer `updatedAt`. Writes become visible a moment after
//! they got theirs, and not in that order, so every question goes back a little, and what was printed is remembered
//! for as long. What is deleted cannot be found so.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use pilvi_model::Timestamp;
use serde_json::{Value, json};

use super::collection::Collection;
use super::fields::Filter;
use super::target::Backend;
use crate::failure::{Outcome, Result};
use crate::screen::readable;
use crate::service::{Patience, interrupted, pause_or_stop};
use crate::session::{Session, results, text};
use crate::url::segment;

/// How long a write may take from its `updatedAt` until others see it.
const OVERLAP: Duration = Duration::from_secs(3);
/// What is remembered of what was printed. Where more is written within the overlap, some of it may be printed twice.
const REMEMBERED_MAX: usize = 100_000;
const PAGE: u32 = 500;

#[derive(Args, Clone, Debug)]
pub(super) struct Watch {
    /// The object type, such as todos, users or usergroups
    #[arg(value_name = "TYPE")]
    collection: Collection,
    #[command(flatten)]
    filter: Filter,
    /// Print what was created or changed since then first, such as 2015-05-13T10:00:00.000Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Ask so often, in seconds
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    interval: Duration,
    /// End after so many
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

fn moment(text: &str) -> std::result::Result<Timestamp, &'static str> {
    Timestamp::from_millis_text(text).ok_or("write a time such as 2015-05-13T10:00:00.000Z")
}

fn seconds(text: &str) -> std::result::Result<Duration, &'static str> {
    let seconds = text.parse::<f64>().ok();
    let seconds = seconds.filter(|seconds| (0.2..=3600.0).contains(seconds));
    let seconds = seconds.ok_or("write a number of seconds from 0.2 to 3600")?;
    Ok(Duration::from_secs_f64(seconds))
}

impl Watch {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut stop = Box::pin(interrupted());
        let mut seen = tokio::select! {
            seen = self.start(backend) => seen?,
            stopped = &mut stop => return stopped.map(|()| 0),
        };
        let kind = self.collection.short();
        session.screen.note(&format!(
            "Watching {kind}, until Ctrl-C. What is deleted is not shown."
        ))?;
        let mut left = self.count.unwrap_or(u64::MAX);
        let mut patience = Patience::new();
        while left > 0 {
            let found = tokio::select! {
                found = self.look(session, backend, &mut seen, &mut left) => found,
                stopped = &mut stop => return stopped.map(|()| 0),
            };
            let pause = match found {
                Ok(()) => {
                    patience = Patience::new();
                    self.interval
                }
                Err(failure) => patience.after(session, failure)?,
            };
            if left > 0 && !pause_or_stop(pause, &mut stop).await? {
                break;
            }
        }
        Ok(0)
    }

    /// Everything up to here has been seen, unless the user wants to see some of it.
    async fn start(&self, backend: &Backend) -> Result<Seen> {
        if let Some(since) = self.since {
            return Ok(Seen::since(since));
        }
        let newest = json!([{"sortBy": "updatedAt", "direction": "desc"}]);
        let resource = format!(
            "{}?limit=1&sort={}",
            self.collection.path,
            segment(&newest.to_string())
        );
        let answer = backend.get(&resource).await?;
        let newest = results(&answer).first();
        let newest = newest.map(|object| text(object, "updatedAt"));
        let newest = newest.and_then(|at| Timestamp::from_millis_text(&at));
        let mut seen = Seen::since(Timestamp::from_millis(0));
        if let Some(newest) = newest {
            seen.reach(newest);
            let mut after = None;
            loop {
                let answer = backend.get(&self.resource(&seen, after.as_deref())).await?;
                for object in results(&answer) {
                    // What is newer came since the first question, so it is news.
                    if text(object, "updatedAt") <= newest.to_millis_text() {
                        seen.is_new(object);
                    }
                }
                after = answer["next"].as_str().map(str::to_owned);
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(seen)
    }

    /// Prints what is new.
    async fn look(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
        seen: &mut Seen,
        left: &mut u64,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let answer = backend.get(&self.resource(seen, after.as_deref())).await?;
            for object in results(&answer) {
                if *left == 0 {
                    return Ok(());
                }
                if seen.is_new(object) {
                    *left -= 1;
                    print(session, object)?;
                }
            }
            after = answer["next"].as_str().map(str::to_owned);
            if after.is_none() {
                break;
            }
        }
        seen.forget();
        Ok(())
    }

    fn resource(&self, seen: &Seen, after: Option<&str>) -> String {
        let newer = json!({"updatedAt": {"$gte": seen.floor.to_millis_text()}});
        let filter = self.filter.to_object();
        let filter = match filter.is_empty() {
            true => newer,
            false => json!({"$and": [filter, newer]}),
        };
        let oldest = json!([{"sortBy": "updatedAt", "direction": "asc"}]);
        let after = after.map(|after| format!("&after={}", segment(after)));
        format!(
            "{}?limit={PAGE}&q={}&sort={}{}",
            self.collection.path,
            segment(&filter.to_string()),
            segment(&oldest.to_string()),
            after.unwrap_or_default()
        )
    }
}

/// What was printed of late.
#[derive(Debug)]
struct Seen {
    /// Where the next question begins.
    floor: Timestamp,
    /// The newest that was seen.
    reached: Timestamp,
    /// `updatedAt` and id of everything that was printed from the floor on.
    objects: BTreeSet<(String, String)>,
}

impl Seen {
    fn since(floor: Timestamp) -> Self {
        Self {
            floor,
            reached: floor,
            objects: BTreeSet::new(),
        }
    }

    fn reach(&mut self, newest: Timestamp) {
        self.reached = self.reached.max(newest);
        let overlap = u64::try_from(OVERLAP.as_millis()).unwrap_or(u64::MAX);
        let floor = self.reached.as_millis().saturating_sub(overlap);
        self.floor = self.floor.max(Timestamp::from_millis(floor));
    }

    /// Whether this state of the object was not seen before. From now on it was.
    fn is_new(&mut self, object: &Value) -> bool {
        let at = text(object, "updatedAt");
        if let Some(at) = Timestamp::from_millis_text(&at) {
            self.reached = self.reached.max(at);
        }
        self.objects.insert((at, text(object, "id")))
    }

    /// Lets go of what no further question finds. Not before a question's last page: its pages share one beginning.
    fn forget(&mut self) {
        self.reach(self.reached);
        let floor = (self.floor.to_millis_text(), String::new());
        self.objects = self.objects.split_off(&floor);
        while self.objects.len() > REMEMBERED_MAX {
            self.objects.pop_first();
        }
    }
}

/// With `--json` in the shape of the messages of the notification stream (`eds.md` §12.4).
fn print(session: &mut Session<'_, '_>, object: &Value) -> Result<()> {
    let is_created = object["createdAt"] == object["updatedAt"];
    let line = if session.screen.wants_json() {
        let event = if is_created { "create" } else { "update" };
        json!({"event": event, "data": object}).to_string()
    } else {
        let event = if is_created { "created" } else { "changed" };
        let (at, id) = (text(object, "updatedAt"), text(object, "id"));
        readable(&format!("{at}  {event}  {id}  {}", own(object)))
    };
    Ok(session.screen.raw(&(line + "\n"))?)
}

/// What users put into it.
fn own(object: &Value) -> Value {
    let mut own = object.clone();
    if let Some(members) = own.as_object_mut() {
        for name in super::collection::SYSTEM {
            members.shift_remove(name);
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(id: &str, at: u64) -> Value {
        json!({"id": id, "updatedAt": Timestamp::from_millis(at).to_millis_text()})
    }

    #[test]
    fn every_state_is_new_once() {
        let mut seen = Seen::since(Timestamp::from_millis(0));
        assert!(seen.is_new(&object("a", 10_000)));
        assert!(!seen.is_new(&object("a", 10_000)));
        assert!(seen.is_new(&object("a", 10_001)));
        assert!(seen.is_new(&object("b", 10_001)));
    }

    #[test]
    fn the_next_question_goes_back_a_little_and_finds_what_came_late() {
        let mut seen = Seen::since(Timestamp::from_millis(0));
        assert!(seen.is_new(&object("a", 10_000)));
        seen.forget();
        assert_eq!(seen.floor, Timestamp::from_millis(7_000));
        assert!(!seen.is_new(&object("a", 10_000)));
        // Stamped before the other, and visible after it.
        assert!(seen.is_new(&object("b", 9_999)));
        seen.forget();
        assert_eq!(seen.floor, Timestamp::from_millis(7_000));
    }

    #[test]
    fn no_more_is_remembered_than_is_needed() {
        let mut seen = Seen::since(Timestamp::from_millis(0));
        for at in 0..20 {
            assert!(seen.is_new(&object("a", at * 1000)));
        }
        seen.forget();
        assert_eq!(seen.floor, Timestamp::from_millis(16_000));
        assert_eq!(seen.objects.len(), 4);
    }

    #[test]
    fn an_interval_is_not_too_short_for_the_server() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "0.1", "-1", "NaN", "1e9", "s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
