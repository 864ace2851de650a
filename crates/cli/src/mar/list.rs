//! `pilvi mar list`.

use clap::Args;
use serde_json::{Value, json};

use super::size;
use crate::failure::Outcome;
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct List {}

impl List {
    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let accounts = session.accounts().await?;
        let mut apps: Vec<(String, Value)> = Vec::new();
        for account in &accounts {
            let resource = format!("accounts/{}/instances?provider=mar", segment(&account.id));
            let answer = session.client.get(&session.platform, &resource).await?;
            let found = results(&answer).iter().cloned();
            apps.extend(found.map(|app| (account.name.clone(), app)));
        }
        if session.screen.wants_json() {
            let results: Vec<Value> = apps.into_iter().map(|(_, app)| app).collect();
            session.screen.json(&json!({ "results": results }))?;
            return Ok(0);
        }
        if apps.is_empty() {
            session
                .screen
                .note("There are no apps yet. Create one with: pilvi mar create NAME")?;
            return Ok(0);
        }
        session.screen.table(&table(&apps, accounts.len() > 1))?;
        Ok(0)
    }
}

/// The account is told only where there are several.
fn table(apps: &[(String, Value)], several: bool) -> Table {
    let columns = [whole("ID"), elastic("NAME"), whole("SIZE"), elastic("TAGS")];
    let mut table = if several {
        Table::new(&[&columns[..], &[elastic("CLOUD")]].concat())
    } else {
        Table::new(&columns)
    };
    for (account, app) in apps {
        let cells = [
            text(app, "id"),
            text(app, "name"),
            size::in_words(&app["config"]["runtimeSize"]),
            tags(app),
        ];
        if several {
            let [id, name, size, tags] = cells;
            table.row([id, name, size, tags, account.clone()]);
        } else {
            table.row(cells);
        }
    }
    table
}

fn tags(app: &Value) -> String {
    let tags = app["tags"].as_array().into_iter().flatten();
    let tags: Vec<&str> = tags.filter_map(Value::as_str).collect();
    tags.join(", ")
}
