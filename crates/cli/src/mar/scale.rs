//! `pilvi mar scale`.

use clap::Args;
use serde_json::{Map, Value};

use super::show::formation;
use super::target::Target;
use crate::failure::{Code, Outcome};
use crate::session::Session;

#[derive(Args, Clone, Debug)]
pub(super) struct Scale {
    /// TYPE=COUNT, such as web=2
    #[arg(required = true, value_name = "TYPE=COUNT", value_parser = quantity)]
    quantities: Vec<(String, u32)>,
}

fn quantity(text: &str) -> Result<(String, u32), &'static str> {
    let parts = text.split_once('=').filter(|(kind, _)| !kind.is_empty());
    let (kind, count) = parts.ok_or("write TYPE=COUNT, such as web=2")?;
    let count = count
        .parse()
        .map_err(|_| "the count must be a whole number")?;
    Ok((kind.to_owned(), count))
}

impl Scale {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        target: &Target,
    ) -> Outcome {
        let app = target.find(session).await?;
        // Counts are texts, as the classic clients send them.
        let wanted = self.quantities.iter();
        let wanted: Map<String, Value> = wanted
            .map(|(kind, count)| (kind.clone(), count.to_string().into()))
            .collect();
        let answer = app
            .post(session, "scale", &wanted.into())
            .await
            .map_err(|failure| {
                let next = "see `pilvi mar show` for the process types; they come from the Procfile of what was pushed";
                failure.on(Code::Refused, next)
            })?;
        if session.screen.wants_json() {
            session.screen.json(&answer)?;
            return Ok(0);
        }
        session
            .screen
            .line(&format!("Wanted now: {}", formation(&answer)))?;
        Ok(0)
    }
}
