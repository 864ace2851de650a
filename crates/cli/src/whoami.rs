//! `pilvi whoami`.

use clap::Args;

use crate::connection::{Connection, Origin};
use crate::failure::{Code, Outcome};
use crate::session::{Session, text};

#[derive(Args, Clone, Debug)]
pub struct Whoami {
    #[command(flatten)]
    pub(crate) connection: Connection,
}

impl Whoami {
    pub(crate) async fn carry_out(&self, session: &mut Session<'_, '_>) -> Outcome {
        let user = session.client.get(&session.platform, "user").await;
        let user = user.map_err(|failure| {
            let next = "this is the token of a cloud or of an instance; sign in as yourself with `pilvi login`";
            failure.on(Code::Forbidden, next)
        })?;
        if session.screen.wants_json() {
            session.screen.json(&user)?;
            return Ok(0);
        }
        let operator = match user["operator"] == true {
            true => "yes".to_owned(),
            false => String::new(),
        };
        let token = match session.token_from {
            Origin::CommandLine => "from the command line",
            Origin::Environment => "from PILVI_TOKEN",
            Origin::Context | Origin::Default => "from `pilvi login`",
        };
        let facts = [
            ("Name", text(&user, "name")),
            ("E-mail", text(&user, "email")),
            ("Id", text(&user, "id")),
            ("Operator", operator),
            ("Server", session.platform.to_string()),
            ("Context", session.context.clone().unwrap_or_default()),
            ("Cloud", session.account.clone().unwrap_or_default()),
            ("Token", token.to_owned()),
        ];
        let facts: Vec<_> = facts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .collect();
        session.screen.facts(&facts)?;
        Ok(0)
    }
}
