//! `list` and `show` of a service.

use serde_json::{Value, json};

use super::{Instance, Kind, all};
use crate::failure::Outcome;
use crate::session::{Session, array, text};
use crate::table::{Table, elastic, whole};

pub(crate) async fn list(session: &mut Session<'_, '_>, kind: Kind) -> Outcome {
    let accounts = session.accounts().await?;
    let found = all(session, kind, &accounts).await?;
    if session.screen.wants_json() {
        let results: Vec<Value> = found.into_iter().map(|(_, instance)| instance).collect();
        session.screen.json(&json!({ "results": results }))?;
        return Ok(0);
    }
    if found.is_empty() {
        let note = format!(
            "There are no {}s yet. Create one with: pilvi {} create NAME",
            kind.noun(),
            kind.id()
        );
        session.screen.note(&note)?;
        return Ok(0);
    }
    let table = table(kind, &found, accounts.len() > 1);
    session.screen.table(&table)?;
    if found.iter().any(|(_, instance)| kind.is_open(instance)) {
        let note = "Whoever knows the id of an open one may use it.";
        session.screen.note(note)?;
    }
    Ok(0)
}

/// The account is told only where there are several.
fn table(kind: Kind, found: &[(String, Value)], several: bool) -> Table {
    let columns = [
        whole("ID"),
        elastic("NAME"),
        whole("ACCESS"),
        elastic("TAGS"),
    ];
    let more = several.then(|| elastic("CLOUD"));
    let columns: Vec<_> = columns.into_iter().chain(more).collect();
    let mut table = Table::new(&columns);
    for (account, instance) in found {
        let cells = [
            text(instance, "id"),
            text(instance, "name"),
            access(kind, instance).into(),
            tags(instance),
        ];
        table.row_of(cells.into_iter().chain(several.then(|| account.clone())));
    }
    table
}

fn access(kind: Kind, instance: &Value) -> &'static str {
    match kind.is_open(instance) {
        true => "open",
        false if instance["config"]["accessControl"] == "eds" => "users",
        false => "private",
    }
}

fn tags(instance: &Value) -> String {
    let tags = array(&instance["tags"]).iter().filter_map(Value::as_str);
    tags.collect::<Vec<_>>().join(", ")
}

impl Instance {
    /// What is known of it, with the address that programs call.
    pub(crate) async fn show(&self, session: &mut Session<'_, '_>) -> Outcome {
        if session.screen.wants_json() {
            session.screen.json(&self.facts)?;
            return Ok(0);
        }
        let base = self.base(session).await?;
        let address = match self.kind {
            Kind::Eds => base.to_string(),
            Kind::Mws => format!("{base}/gateways/{}", self.id),
        };
        let mut facts = vec![
            ("Id", self.id.clone()),
            ("Name", text(&self.facts, "name")),
            ("Access", self.kind.access_in_words(&self.facts)),
            ("Address", address),
            ("Datacenter", text(&self.facts, "datacenterId")),
            ("Cloud", text(&self.facts, "accountId")),
            ("Tags", tags(&self.facts)),
            ("Created", text(&self.facts, "createdAt")),
        ];
        facts.retain(|(_, value)| !value.is_empty());
        session.screen.facts(&facts)?;
        Ok(0)
    }
}
