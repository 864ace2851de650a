//! Who did what: the log of an account for its members, and the log of the server for its operators.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use pilvi_model::{AccountId, Error, Result};
use pilvi_store::platform::{Event, Log, LogPage};
use pilvi_web::{Params, Reply};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::routes::Answer;
use crate::wire::{self, List};
use crate::{Caller, Platform};

/// Events of a page when nobody says how many.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/accounts/{id}/log", get(get_account_log))
        .route("/v1/server/log", get(get_server_log))
}

impl Platform {
    /// A page of an account's log, newest first.
    pub async fn list_events(
        &self,
        caller: &Caller,
        account: AccountId,
        page: LogPage,
    ) -> Result<Vec<Event>> {
        let account = self.get_account(caller, account).await?;
        self.store.list_events(Log::Account(account.id), page).await
    }

    /// A page of everything that was written down on this server, newest first.
    pub async fn list_all_events(&self, caller: &Caller, page: LogPage) -> Result<Vec<Event>> {
        self.check_operator(caller).await?;
        self.store.list_events(Log::Server, page).await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownEvent {
    id: i64,
    time: String,
    event: String,
    subject: String,
    /// Whether a person, an account token, an instance, the server or nobody known did it.
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<ShownPerson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    detail: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Serialize)]
struct ShownPerson {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl From<Event> for ShownEvent {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            time: wire::text(event.at),
            event: event.event,
            subject: event.subject,
            by: event.actor,
            user: event.person.map(|person| ShownPerson {
                id: person.id.to_string(),
                email: person.email,
                name: person.name,
            }),
            instance_id: event.instance,
            account_id: event.account.map(|account| account.to_string()),
            detail: event.detail,
            request_id: event.request,
            address: event.peer,
        }
    }
}

async fn get_account_log(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let account: AccountId = id.parse()?;
    // Whoever may not know of the account learns nothing from its parameters either.
    platform.get_account(&caller, account).await?;
    let events = platform
        .list_events(&caller, account, page(&params)?)
        .await?;
    Ok(show(events))
}

async fn get_server_log(
    State(platform): State<Platform>,
    caller: Caller,
    params: Params,
) -> Answer {
    platform.check_operator(&caller).await?;
    let events = platform.list_all_events(&caller, page(&params)?).await?;
    Ok(show(events))
}

fn show(events: Vec<Event>) -> Reply {
    Reply::ok(&List::from_iter(events.into_iter().map(ShownEvent::from)))
}

/// Reads `limit`, `before`, `event` and `person`.
fn page(params: &Params) -> Result<LogPage> {
    let limit = match params.given("limit") {
        None => LIMIT,
        Some(text) => match text.parse() {
            Ok(limit @ 1..=LIMIT_MAX) => limit,
            _ => {
                let message = format!("must be a number from 1 to {LIMIT_MAX}");
                return Err(Error::invalid("limit", message));
            }
        },
    };
    let before = params.given("before").map(|text| {
        text.parse()
            .map_err(|_| Error::invalid("before", "must be the id of an event"))
    });
    let person = params.given("person").map(|text| {
        text.parse()
            .map_err(|_| Error::invalid("person", "must be the id of a person"))
    });
    Ok(LogPage {
        before: before.transpose()?,
        event: params.given("event").map(str::to_owned),
        person: person.transpose()?,
        limit,
    })
}
