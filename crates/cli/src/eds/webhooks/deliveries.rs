//! What was delivered, what was not, and what can be done about it.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Backend, known, one};
use crate::failure::{Code, Failure, Outcome};
use crate::session::{Session, text};
use crate::table::{elastic, whole};
use crate::url::segment;

#[derive(Args, Clone, Debug)]
pub(super) struct Deliveries {
    /// The webhook's id
    id: String,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_enum)]
    state: Option<State>,
    /// Print at most so many
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Leave out so many of the newest
    #[arg(long, default_value_t = 0)]
    offset: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    Pending,
    Delivered,
    Failed,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Replay {
    /// The delivery's id, as `pilvi eds webhooks deliveries` prints it
    #[arg(
        value_name = "DELIVERY",
        required_unless_present = "failed",
        conflicts_with = "failed"
    )]
    delivery: Option<String>,
    /// Send all deliveries of this webhook again that failed, the oldest first
    #[arg(long, value_name = "WEBHOOK")]
    failed: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct Rotate {
    /// The webhook's id
    id: String,
    /// For so many hours requests are signed with the old secret, too [default: 24]
    #[arg(long, value_name = "HOURS")]
    overlap_hours: Option<u16>,
}

impl Deliveries {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let mut resource = format!(
            "{}/deliveries?limit={}&offset={}",
            one(&self.id),
            self.limit,
            self.offset
        );
        if let Some(state) = self.state {
            resource.push_str("&state=");
            resource.push_str(state.as_str());
        }
        let answer = known(backend.get(&resource).await)?;
        let columns = [
            whole("ID"),
            whole("CREATED"),
            whole("EVENT"),
            elastic("OBJECT"),
            whole("STATE"),
            whole("TRIES"),
            whole("STATUS"),
            elastic("ERROR"),
        ];
        let empty = "There are no deliveries to be shown.";
        session.show_list(&answer, empty, &columns, |delivery| {
            [
                text(delivery, "id"),
                text(delivery, "createdAt"),
                text(delivery, "event"),
                object(delivery),
                text(delivery, "state"),
                text(delivery, "attempts"),
                text(delivery, "lastStatus"),
                text(delivery, "lastError"),
            ]
        })
    }
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

fn object(delivery: &Value) -> String {
    [text(delivery, "objectType"), text(delivery, "objectId")].join(" ")
}

/// Where a delivery is found: its id begins with that of its webhook.
fn place(delivery: &str) -> Result<String, Failure> {
    let next = "name one as `pilvi eds webhooks deliveries WEBHOOK` prints it";
    match delivery.rsplit_once('-') {
        Some((webhook, _)) if !webhook.is_empty() => {
            Ok(format!("{}/deliveries/{}", one(webhook), segment(delivery)))
        }
        _ => Err(Failure::usage(
            format!("{delivery} is not the id of a delivery"),
            next,
        )),
    }
}

fn kept(failure: Failure) -> Failure {
    let next = "see `pilvi eds webhooks deliveries WEBHOOK` for those that there are";
    failure.on(Code::NotFound, next)
}

pub(super) async fn show(
    session: &mut Session<'_, '_>,
    backend: &Backend,
    delivery: &str,
) -> Outcome {
    let answer = backend.get(&place(delivery)?).await.map_err(kept)?;
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(0);
    }
    let mut facts = vec![
        ("Id", text(&answer, "id")),
        ("Event", text(&answer, "event")),
        ("Object", object(&answer)),
        ("State", text(&answer, "state")),
        ("Tries", text(&answer, "attempts")),
        ("Status", text(&answer, "lastStatus")),
        ("Error", text(&answer, "lastError")),
        ("Answer", text(&answer, "lastAnswer")),
        ("Took", milliseconds(&answer)),
        ("Request", text(&answer, "requestId")),
        ("Created", text(&answer, "createdAt")),
        ("Tried", text(&answer, "lastAttemptAt")),
        ("Next", text(&answer, "nextAttemptAt")),
        ("Payload", answer["payload"].to_string()),
    ];
    if answer["payload"].is_null() {
        facts.pop();
    }
    facts.retain(|(_, value)| !value.is_empty());
    session.screen.facts(&facts)?;
    Ok(0)
}

fn milliseconds(answer: &Value) -> String {
    let took = answer["durationMs"].as_u64();
    took.map(|took| format!("{took} ms")).unwrap_or_default()
}

impl Replay {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let nothing = json!({});
        if let Some(delivery) = &self.delivery {
            let resource = format!("{}/replay", place(delivery)?);
            let answer = backend.post(&resource, &nothing).await.map_err(kept)?;
            return session.done(&answer, &format!("Sending {delivery} again."));
        }
        let webhook = self.failed.as_deref().unwrap_or_default();
        let resource = format!("{}/replay", one(webhook));
        let answer = known(backend.post(&resource, &nothing).await)?;
        let line = match (answer["replayed"].as_u64(), answer["left"].as_u64()) {
            (Some(0), _) => "Nothing failed that could be sent again.".to_owned(),
            (count, Some(0) | None) => {
                format!("Sending {} deliveries again.", count.unwrap_or_default())
            }
            (count, Some(left)) => format!(
                "Sending {} deliveries again; {left} are left for another call.",
                count.unwrap_or_default()
            ),
        };
        session.done(&answer, &line)
    }
}

/// Whether it was heard is the exit code, too.
pub(super) async fn ping(session: &mut Session<'_, '_>, backend: &Backend, id: &str) -> Outcome {
    let answer = known(backend.post(&format!("{}/ping", one(id)), &json!({})).await)?;
    let took = milliseconds(&answer);
    if answer["delivered"] == true {
        let line = format!("The target answered {} in {took}.", text(&answer, "status"));
        return session.done(&answer, &line);
    }
    if session.screen.wants_json() {
        session.screen.json(&answer)?;
        return Ok(1);
    }
    Err(Failure::failed(
        format!("nobody took the ping: {}", text(&answer, "error")),
        "see that the target runs, can be reached from the server, and answers 2xx to a POST",
    ))
}

impl Rotate {
    pub(super) async fn carry_out(
        &self,
        session: &mut Session<'_, '_>,
        backend: &Backend,
    ) -> Outcome {
        let body = json!({"overlapHours": self.overlap_hours});
        let answer = known(
            backend
                .post(&format!("{}/secret", one(&self.id)), &body)
                .await,
        )?;
        if !session.screen.wants_json() {
            let note = match text(&answer, "previousUntil").as_str() {
                "" => "Requests are signed with this secret from now on. It is not shown again."
                    .into(),
                until => format!(
                    "Requests are signed with this secret from now on, and with the old one, too, until {until}. It \
                     is not shown again."
                ),
            };
            session.screen.note(&note)?;
        }
        session.done(&answer, &text(&answer, "secret"))
    }
}
