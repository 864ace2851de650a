//! `pilvi eds webhooks`: who else is told of changes, and whether it worked.

mod deliveries;

use clap::{Args, Subcommand, ValueEnum};
use pilvi_base::Secret;
use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::target::Backend;
use crate::failure::{Code, Failure, Outcome, Result};
use crate::service::{Instance, Kind};
use crate::session::{Session, array, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Webhooks {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// List the webhooks (this is what no verb does, too)
    List,
    /// Create a webhook
    Create(Create),
    /// Show a webhook
    Show {
        /// Its id
        id: String,
    },
    /// Change a webhook; what is not named stays
    Change(Change),
    /// Remove a webhook with what waits to be delivered to it
    Remove {
        /// Its id
        id: String,
    },
    /// List what was delivered, newest first
    Deliveries(deliveries::Deliveries),
    /// Show a delivery with what it says
    Delivery {
        /// Its id
        id: String,
    },
    /// Send a delivery again, or all that failed
    Replay(deliveries::Replay),
    /// Send a webhook a request that tells of nothing, and say whether it was taken
    Ping {
        /// The webhook's id
        id: String,
    },
    /// Make a new secret to sign with; it is shown once
    Secret(deliveries::Rotate),
}

#[derive(Args, Clone, Debug)]
struct Create {
    /// The address that changes are POSTed to
    #[arg(
        value_name = "URL",
        required_unless_present = "to_gateway",
        conflicts_with = "to_gateway"
    )]
    address: Option<String>,
    /// Send to the sockets of this gateway, by its id or its name, who may read what changed
    #[arg(long, value_name = "GATEWAY")]
    to_gateway: Option<String>,
    #[command(flatten)]
    what: What,
}

#[derive(Args, Clone, Debug)]
struct Change {
    /// The webhook's id
    id: String,
    /// Another address
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// Tell it of changes again, and of what waits for it
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Tell it of nothing until it is enabled again
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    what: What,
}

#[derive(Args, Clone, Debug)]
struct What {
    /// Only these events [default: all]
    #[arg(long = "event", value_name = "EVENT", value_enum)]
    events: Vec<Event>,
    /// Only objects of this type; may be repeated [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<Collection>,
    /// Send this header along, such as 'Authorization: Bearer …'; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<Header>,
    /// How the payload is written; receivers of 2014 may want a string
    #[arg(long, value_name = "FORM", value_enum)]
    payload_as: Option<Form>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Event {
    Create,
    Update,
    Delete,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Object,
    String,
}

/// The value may be a secret.
#[derive(Clone, Debug)]
struct Header {
    name: String,
    value: Secret,
}

fn header(text: &str) -> std::result::Result<Header, &'static str> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok(Header {
            name: name.trim().to_owned(),
            value: Secret::new(value.trim()),
        }),
        _ => Err("write NAME: VALUE"),
    }
}

impl Webhooks {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        match &self.verb {
            None | Some(Verb::List) => list(session, backend).await,
            Some(Verb::Create(create)) => create.carry_out(session, backend).await,
            Some(Verb::Show { id }) => {
                let webhook = known(backend.get(&one(id)).await)?;
                print(session, &webhook)
            }
            Some(Verb::Change(change)) => {
                let mut body = change.what.body();
                if let Some(url) = &change.to {
                    body.insert("url".into(), url.as_str().into());
                }
                if change.enable || change.disable {
                    body.insert("enabled".into(), change.enable.into());
                }
                if body.is_empty() {
                    let next =
                        "name --to, --event, --type, --header, --payload-as, --enable or --disable";
                    return Err(Failure::usage("nothing is to be changed", next));
                }
                let answer = backend.put(&one(&change.id), &Value::Object(body)).await;
                let webhook =
                    known(answer).map_err(|failure| change.what.without_values(failure))?;
                print(session, &webhook)
            }
            Some(Verb::Remove { id }) => {
                let answer = known(backend.delete(&one(id)).await)?;
                session.done(&answer, &format!("Removed the webhook {id}."))
            }
            Some(Verb::Deliveries(deliveries)) => deliveries.carry_out(session, backend).await,
            Some(Verb::Delivery { id }) => deliveries::show(session, backend, id).await,
            Some(Verb::Replay(replay)) => replay.carry_out(session, backend).await,
            Some(Verb::Ping { id }) => deliveries::ping(session, backend, id).await,
            Some(Verb::Secret(rotate)) => rotate.carry_out(session, backend).await,
        }
    }
}

fn one(id: &str) -> String {
    format!("webhooks/{}", segment(id))
}

fn known(answer: Result<Value>) -> Result<Value> {
    let next = "see `pilvi eds webhooks` for those that there are";
    answer.map_err(|failure| failure.on(Code::NotFound, next))
}

impl What {
    /// Only what was named.
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if !self.events.is_empty() {
            let events: Vec<&str> = self.events.iter().map(|event| event.as_str()).collect();
            body.insert("events".into(), events.into());
        }
        if !self.types.is_empty() {
            let types: Vec<&str> = self.types.iter().map(|kind| kind.name.as_str()).collect();
            body.insert("objectTypes".into(), types.into());
        }
        if !self.headers.is_empty() {
            let headers = self.headers.iter();
            let headers = headers.map(|header| (header.name.clone(), header.value.expose().into()));
            body.insert("headers".into(), Value::Object(headers.collect()));
        }
        if let Some(form) = self.payload_as {
            body.insert("payloadAs".into(), form.as_str().into());
        }
        body
    }

    /// A server's text may repeat what it does not like.
    fn without_values(&self, failure: Failure) -> Failure {
        let values = self.headers.iter().map(|header| header.value.expose());
        let values = values.filter(|value| !value.is_empty());
        let what = values.fold(failure.what, |what, value| what.replace(value, "[secret]"));
        Failure { what, ..failure }
    }
}

impl Event {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Form {
    fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

impl Create {
    async fn carry_out(&self, session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
        let mut body = self.what.body();
        let mut secret = None;
        match (&self.to_gateway, &self.address) {
            (Some(gateway), _) => {
                let (url, token) = receiver(session, gateway).await?;
                body.insert("url".into(), url.into());
                let headers = body.entry("headers").or_insert_with(|| json!({}));
                headers["Authorization"] = format!("Bearer {}", token.expose()).into();
                secret = Some(token);
            }
            (None, url) => {
                body.insert("url".into(), url.as_deref().into());
            }
        }
        let answer = backend.post("webhooks", &Value::Object(body)).await;
        let webhook = answer.map_err(|failure| {
            let failure = self.what.without_values(failure);
            let hidden = secret.iter().map(Secret::expose);
            let what = hidden.fold(failure.what, |what, token| what.replace(token, "[secret]"));
            Failure { what, ..failure }
        })?;
        let id = text(&webhook, "id");
        let line = format!(
            "Created the webhook {id}. It tells {}.",
            text(&webhook, "url")
        );
        if !session.screen.wants_json() {
            // A gateway of ours asks for its token instead.
            let signing = text(&webhook, "secret");
            if self.to_gateway.is_none() && !signing.is_empty() {
                session.screen.note(&format!(
                    "Its requests are signed with {signing}, which is not shown again."
                ))?;
            }
            let note = format!("See how it goes with: pilvi eds webhooks deliveries {id}");
            session.screen.note(&note)?;
        }
        session.done(&webhook, &line)
    }
}

/// Where a gateway takes webhooks, and the token that it wants to see.
async fn receiver(session: &Session<'_, '_>, gateway: &str) -> Result<(String, Secret)> {
    let instance = Instance::find(session, Kind::Mws, Some(gateway)).await?;
    let base = instance.base(session).await?;
    let token = instance.token(session).await?;
    let url = format!(
        "{base}/gateways/{}/webhook_receivers/enginio",
        segment(&instance.id)
    );
    Ok((url, token))
}

async fn list(session: &mut Session<'_, '_>, backend: &Backend) -> Outcome {
    let answer = backend.get("webhooks").await?;
    let empty = "There are no webhooks yet. Create one with: pilvi eds webhooks create URL";
    let columns = [
        whole("ID"),
        elastic("URL"),
        elastic("EVENTS"),
        elastic("TYPES"),
    ];
    session.show_list(&answer, empty, &columns, |webhook| {
        [
            text(webhook, "id"),
            text(webhook, "url"),
            words(&webhook["events"]),
            types(webhook),
        ]
    })
}

fn print(session: &mut Session<'_, '_>, webhook: &Value) -> Outcome {
    if session.screen.wants_json() {
        session.screen.json(webhook)?;
        return Ok(0);
    }
    let headers = webhook["headers"].as_object();
    let headers: Vec<&str> = headers
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut facts = vec![
        ("Id", text(webhook, "id")),
        ("Url", text(webhook, "url")),
        ("Events", words(&webhook["events"])),
        ("Types", types(webhook)),
        ("Headers", headers.join(", ")),
        ("Payload", format!("as {}", text(webhook, "payloadAs"))),
        (
            "Signed",
            match webhook["signed"].as_bool() {
                Some(true) => "yes".into(),
                Some(false) => "no; make a secret with `pilvi eds webhooks secret`".into(),
                None => String::new(),
            },
        ),
        (
            "Enabled",
            match webhook["enabled"].as_bool() {
                Some(false) => "no".into(),
                _ => String::new(),
            },
        ),
        ("Created", text(webhook, "createdAt")),
        ("Changed", text(webhook, "updatedAt")),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    session.screen.facts(&facts)?;
    Ok(0)
}

fn types(webhook: &Value) -> String {
    match &webhook["objectTypes"] {
        Value::Null => "all".into(),
        types => words(types),
    }
}

fn words(list: &Value) -> String {
    let words = array(list).iter().filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(", ")
}
