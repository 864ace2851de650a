//! `pilvi mar show`.

use serde_json::Value;

use super::addresses::Addresses;
use super::size;
use super::target::App;
use crate::failure::Outcome;
use crate::session::{Session, array, results, text};
use crate::table::{Table, elastic, whole};

pub(super) async fn show(session: &mut Session<'_, '_>, app: &App) -> Outcome {
    let facts = app.get(session, "").await?;
    let status = app.get(session, "status").await?;
    if session.screen.wants_json() {
        let mut answer = facts;
        answer["status"] = status;
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let domains = app.get(session, "domains").await?;
    session.screen.facts(&all_facts(&facts, &domains))?;
    session.screen.line("")?;
    let processes = array(&status["processes"]);
    if processes.is_empty() {
        session.screen.line("No process runs.")?;
    } else {
        session.screen.table(&table(processes))?;
    }
    Ok(0)
}

fn all_facts(app: &Value, domains: &Value) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Id", text(app, "id")),
        ("Name", text(app, "name")),
        ("State", text(app, "state")),
        ("Size", size::in_words(&app["size"])),
        ("Stack", text(app, "stack")),
        ("Release", release(app)),
        ("Formation", formation(app)),
    ];
    let addresses = Addresses::of(app, None);
    facts.extend(under("Address", addresses.web));
    let git = [addresses.ssh, addresses.https, addresses.classic];
    facts.extend(under("Git", git.into_iter().flatten().collect()));
    let names = results(domains).iter().map(|domain| text(domain, "name"));
    facts.extend(under("Domains", names.collect()));
    facts.push(("Certificate", certificate(app)));
    let missing = array(&app["layersMissing"]).iter();
    facts.extend(under("Not isolated", missing.map(layer).collect()));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// The name stands before the first of several.
fn under(name: &'static str, values: Vec<String>) -> Vec<(&'static str, String)> {
    let mut name = name;
    let line = |value| (std::mem::take(&mut name), value);
    values.into_iter().map(line).collect()
}

fn release(app: &Value) -> String {
    match &app["release"] {
        Value::Null => "none yet".into(),
        Value::Object(release) => format!("v{}", release.get("number").unwrap_or(&Value::Null)),
        number => format!("v{number}"),
    }
}

/// `web=2 worker=0`.
pub(super) fn formation(app: &Value) -> String {
    let counts = app["structure"].as_object().into_iter().flatten();
    let counts = counts.map(|(process, count)| format!("{process}={count}"));
    counts.collect::<Vec<_>>().join(" ")
}

fn certificate(app: &Value) -> String {
    match &app["sslCertificate"] {
        Value::Null => "the server's own".into(),
        certificate => match certificate["expiresAt"].as_str() {
            Some(moment) => format!("uploaded, valid until {moment}"),
            None => "uploaded".into(),
        },
    }
}

/// A layer of the sandbox that is not there, as a name or as an object with one.
fn layer(layer: &Value) -> String {
    let name = layer.as_str().or_else(|| layer["name"].as_str());
    let why = layer["why"].as_str();
    match (name, why) {
        (Some(name), Some(why)) => format!("{name}: {why}"),
        (Some(name), None) => name.to_owned(),
        _ => layer.to_string(),
    }
}

fn table(processes: &[Value]) -> Table {
    let columns = [
        whole("PROCESS"),
        whole("STATE"),
        elastic("SINCE"),
        whole("MEMORY"),
        whole("EXIT"),
    ];
    let mut table = Table::new(&columns);
    for process in processes {
        let memory = process["memory"].as_u64().map(crate::bytes::in_words);
        table.row([
            text(process, "id"),
            text(process, "state"),
            text(process, "startedAt"),
            memory.unwrap_or_default(),
            text(process, "exitCode"),
        ]);
    }
    table
}
