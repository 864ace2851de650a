//! `pilvi clouds quotas` and `usage`: what a cloud may have, and what it has.

use clap::Args;
use serde_json::{Map, Value};

use super::below;
use crate::bytes;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{Column, Table, whole};

#[derive(Args, Clone, Debug)]
pub(super) struct Quotas {
    /// Set these, such as instances=20 edsStorageBytes=10GB sockets=default; only operators of the server may
    #[arg(value_name = "NAME=NUMBER")]
    changes: Vec<String>,
}

impl Quotas {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let quotas = match self.changes.as_slice() {
            [] => below(session, "quotas").await?.1,
            changes => change(session, changes).await?,
        };
        if session.screen.wants_json() {
            session.screen.json(&quotas)?;
            return Ok(0);
        }
        let mut table = Table::new(&["QUOTA", "LIMIT", "USED", "SET"].map(whole));
        for (name, quota) in quotas.as_object().into_iter().flatten() {
            let number = |field: &str| in_words(name, &quota[field]);
            let set = match quota["default"].as_bool() {
                Some(false) => "for this cloud",
                _ => "by default",
            };
            table.row([
                name.clone(),
                number("limit"),
                number("used"),
                set.to_owned(),
            ]);
        }
        session.screen.table(&table)?;
        Ok(0)
    }
}

async fn change(session: &Session<'_, '_>, changes: &[String]) -> Result<Value> {
    let changes: Result<Map<String, Value>> = changes.iter().map(|text| read(text)).collect();
    let body = Value::Object(changes?);
    let resource = super::resource(session, "quotas").await?;
    let answer = session
        .client
        .put(&session.platform, &resource, &body)
        .await;
    answer.map_err(|failure| {
        let next = "see `pilvi clouds quotas` for what the cloud may use now";
        failure.on(Code::Forbidden, next)
    })
}

fn read(text: &str) -> Result<(String, Value)> {
    let change = text.split_once('=').and_then(|(name, number)| {
        let value = match number {
            "default" => Value::Null,
            number => bytes::read(number)?.into(),
        };
        (!name.is_empty()).then(|| (name.to_owned(), value))
    });
    change.ok_or_else(|| {
        Failure::usage(
            format!("{text} is no NAME=NUMBER"),
            "give a name that `pilvi clouds quotas` shows, and a whole number such as 20 or 10GB, or `default`",
        )
    })
}

fn in_words(name: &str, value: &Value) -> String {
    match value.as_u64() {
        None => String::new(),
        Some(number) if name.ends_with("Bytes") => bytes::in_words(number),
        Some(number) => number.to_string(),
    }
}

/// What is measured, and under which title.
const FIGURES: [(&str, &str); 5] = [
    ("storageBytes", "STORAGE"),
    ("memoryBytes", "MEMORY"),
    ("diskBytes", "DISK"),
    ("processes", "PROCESSES"),
    ("sockets", "SOCKETS"),
];

pub(super) async fn usage(session: &mut Session<'_, '_>) -> Outcome {
    let (_, answer) = below(session, "usage").await?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    if results(&answer).is_empty() {
        session
            .screen
            .note("There are no instances yet, so nothing is used.")?;
        return Ok(0);
    }
    let ids = ["INSTANCE", "SERVICE"].map(whole).into_iter();
    let figures = FIGURES.map(|(_, title)| whole(title));
    let mut table = Table::new(&ids.chain(figures).collect::<Vec<Column>>());
    for instance in results(&answer) {
        let ids = ["instanceId", "serviceProviderId"].map(|field| text(instance, field));
        table.row_of(ids.into_iter().chain(figures_of(instance)));
    }
    let ids = ["all".to_owned(), String::new()].into_iter();
    table.row_of(ids.chain(figures_of(&answer)));
    session.screen.table(&table)?;
    Ok(0)
}

fn figures_of(usage: &Value) -> impl Iterator<Item = String> {
    FIGURES
        .map(|(field, _)| in_words(field, &usage[field]))
        .into_iter()
}

/// Of an instance.
pub(crate) fn show_usage(session: &mut Session<'_, '_>, answer: &Value) -> Outcome {
    if session.screen.wants_json() {
        session.screen.json(answer)?;
        return Ok(0);
    }
    let names = ["Storage", "Memory", "Disk", "Processes", "Sockets"];
    let figures = names.into_iter().zip(figures_of(answer));
    let mut facts: Vec<_> = [("Instance", text(answer, "instanceId"))]
        .into_iter()
        .chain(figures)
        .collect();
    facts.push(("Measured", text(answer, "measuredAt")));
    facts.retain(|(_, value)| !value.is_empty());
    session.screen.facts(&facts)?;
    Ok(0)
}
