//! `pilvi mws presence`: who is there.

use clap::Args;

use super::target::Gateway;
use crate::failure::Outcome;
use crate::session::{Session, results, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Presence {
    /// Who is there with this tag [default: all tags, with how many are there]
    tag: Option<String>,
    /// Print at most so many
    #[arg(long, short = 'n', default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Leave out so many of the first
    #[arg(long, default_value_t = 0)]
    offset: u64,
}

impl Presence {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let mut resource = format!("presence?limit={}&offset={}", self.limit, self.offset);
        if let Some(tag) = &self.tag {
            resource.push_str(&format!("&tag={}", segment(tag)));
        }
        let answer = gateway.get(&resource).await?;
        let count = results(&answer).len();
        match &self.tag {
            None => session.show_list(
                &answer,
                "Nobody is there with a tag whose presence is kept.",
                &[elastic("TAG"), whole("COUNT")],
                |tag| [text(tag, "tag"), text(tag, "count")],
            )?,
            Some(tag) => session.show_list(
                &answer,
                &format!("Nobody is there with the tag {tag}."),
                &[
                    whole("MEMBER"),
                    whole("SINCE"),
                    whole("USER"),
                    whole("SOCKET"),
                ],
                |member| ["id", "since", "user", "socket"].map(|name| text(member, name)),
            )?,
        };
        if count == usize::from(self.limit) && !session.screen.wants_json() {
            let note = "There may be more: --limit and --offset choose others.";
            session.screen.note(note)?;
        }
        Ok(0)
    }
}
