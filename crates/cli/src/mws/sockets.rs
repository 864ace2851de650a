//! `pilvi mws sockets`, `retag` and `close`.

use clap::Args;
use serde_json::{Value, json};

use super::target::Gateway;
use crate::failure::{Code, Failure, Outcome};
use crate::session::{Session, array, results, text};
use crate::table::{Table, elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Sockets {
    /// Print at most so many
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Leave out so many of the first
    #[arg(long, default_value_t = 0)]
    offset: u64,
}

impl Sockets {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let resource = format!("sockets?limit={}&offset={}", self.limit, self.offset);
        let answer = gateway.get(&resource).await?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
            return Ok(0);
        }
        let sockets = results(&answer);
        if sockets.is_empty() {
            session
                .screen
                .note("Nobody listens. Open a socket with: pilvi mws listen")?;
            return Ok(0);
        }
        let mut table = Table::new(&[whole("SOCKET"), whole("CONNECTED"), elastic("TAGS")]);
        for socket in sockets {
            let tags = array(&socket["tags"]).iter().filter_map(Value::as_str);
            table.row([
                text(socket, "id"),
                text(socket, "connectedAt"),
                tags.collect::<Vec<_>>().join(", "),
            ]);
        }
        session.screen.table(&table)?;
        if sockets.len() == usize::from(self.limit) {
            let note = "There may be more: --limit and --offset choose others.";
            session.screen.note(note)?;
        }
        Ok(0)
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct Retag {
    /// The socket's id, which `sockets` shows
    #[arg(value_name = "ID")]
    id: String,
    /// A tag that it has from now on; may be repeated. Those that are not named go
    #[arg(
        long = "tag",
        value_name = "TAG",
        required_unless_present = "none",
        conflicts_with = "none"
    )]
    tags: Vec<String>,
    /// Leave it without any
    #[arg(long)]
    none: bool,
}

impl Retag {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let resource = format!("sockets/{}", segment(&self.id));
        let body = json!({"tags": self.tags});
        let answer = gateway.put(&resource, &body).await.map_err(|failure| {
            let next = "see `pilvi mws sockets` for those that are open";
            failure.on(Code::NotFound, next)
        })?;
        let line = match self.tags.as_slice() {
            [] => format!("{} has no tags now.", self.id),
            [tag] => format!("{} has the tag {tag} now.", self.id),
            tags => format!("{} has the tags {} now.", self.id, tags.join(", ")),
        };
        session.done(&answer, &line)
    }
}

#[derive(Args, Clone, Debug)]
pub(super) struct Close {
    /// The sockets' ids, which `sockets` shows
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

impl Close {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let mut answer = Value::Null;
        for (closed, id) in self.ids.iter().enumerate() {
            let resource = format!("sockets/{}", segment(id));
            answer = gateway.delete(&resource).await.map_err(|failure| {
                let next = "see `pilvi mws sockets` for those that are open";
                let failure = failure.on(Code::NotFound, next);
                let before = match closed {
                    0 => String::new(),
                    closed => format!(" ({closed} before it were)"),
                };
                Failure {
                    what: format!("{id} was not closed{before}: {}", failure.what),
                    ..failure
                }
            })?;
        }
        let line = match self.ids.as_slice() {
            [id] => format!("Closed {id}."),
            several => format!("Closed {} sockets.", several.len()),
        };
        session.done(&answer, &line)
    }
}
