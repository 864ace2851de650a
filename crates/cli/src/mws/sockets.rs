//! `pilvi mws sockets` and `close`.

use clap::Args;
use serde_json::Value;

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
