//! `pilvi clouds log`.

use clap::Args;
use serde_json::Value;

use super::below;
use crate::failure::{Code, Outcome, Result};
use crate::session::{Session, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Log {
    /// Show so many of the newest entries
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Only what is older than the entry with this number
    #[arg(long, value_name = "ID")]
    before: Option<u64>,
    /// Only entries of this event, such as instance.create
    #[arg(long)]
    event: Option<String>,
    /// Only what this person did: a member's e-mail address, or an id
    #[arg(long)]
    person: Option<String>,
    /// The log of the whole server, which only its operators may read
    #[arg(long)]
    server: bool,
}

impl Log {
    fn is_narrowed(&self) -> bool {
        self.before.is_some() || self.event.is_some() || self.person.is_some()
    }

    pub(super) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let answer = self.read(session).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
            return Ok(0);
        }
        let entries = results(&answer);
        if entries.is_empty() {
            session.screen.note(match self.is_narrowed() {
                true => "Nothing of that kind has happened.",
                false => "Nothing has happened yet.",
            })?;
            return Ok(0);
        }
        let columns = [
            whole("ID"),
            whole("TIME"),
            elastic("WHO"),
            whole("EVENT"),
            elastic("SUBJECT"),
            elastic("DETAIL"),
        ];
        let mut table = Table::new(&columns);
        // The server gives the newest first; on a terminal the newest belongs at the bottom.
        for entry in entries.iter().rev() {
            table.row([
                text(entry, "id"),
                text(entry, "time"),
                who(entry),
                text(entry, "event"),
                text(entry, "subject"),
                detail(&entry["detail"]),
            ]);
        }
        session.screen.table(&table)?;
        Ok(0)
    }

    async fn read(&self, session: &Session<'_, '_>) -> Result<Value> {
        let person = match self.person.as_deref() {
            Some(address) if address.contains('@') && !self.server => {
                let (_, member) = super::members::find(session, address).await?;
                Some(text(&member, "id"))
            }
            person => person.map(str::to_owned),
        };
        let query = self.query(person.as_deref());
        if self.server {
            let resource = format!("server/{query}");
            let next = "without --server, this is the log of your cloud";
            let answer = session.client.get(&session.platform, &resource).await;
            return answer.map_err(|failure| failure.on(Code::Forbidden, next));
        }
        Ok(below(session, &query).await?.1)
    }

    fn query(&self, person: Option<&str>) -> String {
        let mut query = format!("log?limit={}", self.limit);
        let before = self.before.map(|before| before.to_string());
        for (name, value) in [
            ("before", before.as_deref()),
            ("event", self.event.as_deref()),
            ("person", person),
        ] {
            if let Some(value) = value {
                query += &format!("&{name}={}", segment(value));
            }
        }
        query
    }
}

/// The person, or what else acted: the cloud's own token, an instance, the server.
fn who(entry: &Value) -> String {
    let user = &entry["user"];
    let named = [
        user["email"].as_str(),
        user["name"].as_str(),
        user["id"].as_str(),
        entry["instanceId"].as_str(),
        entry["by"].as_str(),
    ];
    named
        .into_iter()
        .flatten()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// `name=echo role=viewer`.
fn detail(detail: &Value) -> String {
    let fields = detail.as_object().into_iter().flatten();
    let fields = fields.map(|(name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={value}")
    });
    fields.collect::<Vec<_>>().join(" ")
}
