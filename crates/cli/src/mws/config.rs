//! `pilvi mws config`: who may send and listen, and what a gateway does beside.

mod additions;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use super::target::Gateway;
use crate::failure::{Failure, Outcome, Result};
use crate::service::{Instance, Kind};
use crate::session::{Session, array, text};
use additions::Additions;

#[derive(Args, Clone, Debug)]
pub(super) struct Config {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Show the configuration (this is what no verb does, too)
    Show,
    /// Change it; what is not named stays
    Set(Box<Set>),
}

#[derive(Args, Clone, Debug)]
struct Set {
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// Who may send and listen
    #[arg(long, value_enum)]
    access: Option<Mode>,
    /// Let the users of this data backend in, by its id or its name
    #[arg(long, value_name = "BACKEND")]
    users_of: Option<String>,
    /// Which of the users may listen, such as everyone or users.ID,usergroups.ID
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    read: Option<Vec<String>>,
    /// Which of the users may send
    #[arg(long, value_name = "SUBJECTS", value_delimiter = ',')]
    write: Option<Vec<String>>,
    #[command(flatten)]
    additions: Additions,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    /// Everybody who knows the gateway's id
    Open,
    /// Users of a data backend
    Users,
    /// Only who has the security token
    Private,
}

impl Mode {
    /// As the gateway calls it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Open => "none",
            Self::Users => "eds",
            Self::Private => "custom",
        }
    }
}

impl Config {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        gateway: &Gateway,
    ) -> Outcome {
        let config = match &self.verb {
            None | Some(Verb::Show) => gateway.get("configuration").await?,
            Some(Verb::Set(set)) => {
                let body = set.body(session, gateway).await?;
                gateway.put("configuration", &Value::Object(body)).await?
            }
        };
        print(session, &config)?;
        Ok(0)
    }
}

impl Set {
    async fn body(
        &self,
        session: &Session<'_, '_>,
        gateway: &Gateway,
    ) -> Result<Map<String, Value>> {
        let mut body = Map::new();
        if let Some(name) = &self.name {
            body.insert("name".into(), name.as_str().into());
        }
        if let Some(mode) = self.access {
            body.insert("accessControl".into(), mode.as_str().into());
        }
        if let Some(backend) = &self.users_of {
            let backend = Instance::find(session, Kind::Eds, Some(backend)).await?;
            let provider = json!({"type": "eds", "backendId": backend.id});
            body.insert("identityProvider".into(), provider);
        }
        if self.read.is_some() || self.write.is_some() {
            let permissions = self.permissions(gateway).await?;
            body.insert("permissions".into(), permissions);
        }
        self.additions.add_to(&mut body, gateway).await?;
        match body.is_empty() {
            true => Err(Failure::usage(
                "nothing is to be changed",
                "name one of the options that `pilvi mws config set --help` shows",
            )),
            false => Ok(body),
        }
    }

    /// The gateway replaces both lists together, so the one that was not named is sent as it is. Where there were no
    /// lists yet, every user was on both.
    async fn permissions(&self, gateway: &Gateway) -> Result<Value> {
        let present = gateway.get("configuration").await?;
        let mut permissions = match &present["permissions"] {
            Value::Null => json!({"read": ["*"], "write": ["*"]}),
            permissions => permissions.clone(),
        };
        for (name, subjects) in [("read", &self.read), ("write", &self.write)] {
            if let Some(subjects) = subjects {
                permissions[name] = subjects.iter().map(|subject| spelled(subject)).collect();
            }
        }
        Ok(permissions)
    }
}

fn spelled(subject: &str) -> Value {
    match subject {
        "everyone" => "*".into(),
        other => other.into(),
    }
}

fn print(session: &mut Session<'_, '_>, config: &Value) -> Result<()> {
    if session.screen.wants_json() {
        return Ok(session.screen.json(config)?);
    }
    let mode = text(config, "accessControl");
    let access = match &*mode {
        "none" => "open: everybody who knows its id may send and listen".to_owned(),
        "eds" => {
            let backend = text(&config["identityProvider"], "backendId");
            format!("users of the data backend {backend}, and the security token")
        }
        _ => "private: only with its security token".to_owned(),
    };
    let mut facts = vec![("Name", text(config, "name")), ("Access", access)];
    if mode == "eds" {
        let permissions = &config["permissions"];
        facts.push(("Listening", subjects(permissions, "read")));
        facts.push(("Sending", subjects(permissions, "write")));
    }
    facts.extend(additions::facts(config));
    Ok(session.screen.facts(&facts)?)
}

fn subjects(permissions: &Value, list: &str) -> String {
    if permissions.is_null() {
        return "every user".into();
    }
    let words = array(&permissions[list]).iter().filter_map(Value::as_str);
    let words: Vec<&str> = words
        .map(|word| if word == "*" { "every user" } else { word })
        .collect();
    match words.as_slice() {
        [] => "no user".into(),
        words => words.join(", "),
    }
}
