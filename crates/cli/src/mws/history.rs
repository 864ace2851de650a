//! `pilvi mws history`: what was sent to a tag.

use clap::Args;
use serde_json::Value;

use super::target::Gateway;
use crate::failure::Outcome;
use crate::session::{Session, results, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct History {
    /// The tag that messages were sent to
    tag: String,
    /// Only what came after the message with this id
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Print at most so many
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

impl History {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let mut resource = format!("history?tag={}&limit={}", segment(&self.tag), self.limit);
        if let Some(after) = &self.after {
            resource.push_str(&format!("&after={}", segment(after)));
        }
        let answer = gateway.get(&resource).await?;
        session.show_list(
            &answer,
            "No messages to this tag are kept.",
            &[whole("ID"), whole("SENT"), elastic("MESSAGE")],
            |message| {
                let data = text(message, "data");
                let data = match message["encoding"].as_str() {
                    Some(encoding) => format!("{encoding}:{data}"),
                    None => data,
                };
                [text(message, "id"), text(message, "at"), data]
            },
        )?;
        if let Some(note) = self.note(&answer)
            && !session.screen.wants_json()
        {
            session.screen.note(&note)?;
        }
        Ok(0)
    }

    /// What the list does not show.
    fn note(&self, answer: &Value) -> Option<String> {
        let is_full = results(answer).len() == usize::from(self.limit);
        let is_cut = answer["complete"] == false;
        match (&self.after, is_cut, is_full) {
            (None, true, true) => Some("These are the latest: --limit shows more.".into()),
            (Some(_), true, _) => {
                Some("Some of what was sent in between is no longer kept.".into())
            }
            (Some(_), false, true) => {
                let last = results(answer).last()?;
                let id = text(last, "id");
                Some(format!("There may be more: go on with --after {id}"))
            }
            _ => None,
        }
    }
}
