//! The platform's routes: typed in, typed out, no rules.

use axum::Router;
use axum::extract::{FromRequestParts, Path, State};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{delete, get};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use pilvi_model::{AccountId, Error, Instance, Provider, Result as ModelResult};
use pilvi_store::platform::Holder;
use pilvi_web::{Arrival, Body, Params, Refusal, Reply, Scheme, bearer};

use crate::ssh_keys::no_such_ssh_key;
use crate::wire::{self, Authorization, List};
use crate::{Caller, Platform};

type Answer = Result<Reply, Refusal>;

/// All routes. "Reader" marks those that an account token is enough for; the others need a personal access token,
/// except `ping`.
pub(crate) fn router(platform: Platform) -> Router {
    Router::new()
        // The person.
        .route("/v1/user", get(get_user))
        .route("/v1/user/accounts", get(list_accounts))
        .route(
            "/v1/authorizations",
            get(list_person_tokens).post(create_person_token),
        )
        .route("/v1/authorizations/{token}", delete(remove_person_token))
        .route("/v1/user/ssh_keys", get(list_ssh_keys).post(create_ssh_key))
        .route("/v1/user/ssh_keys/{key}", delete(remove_ssh_key))
        // Accounts; reader: GET.
        .route("/v1/accounts", axum::routing::post(create_account))
        .route("/v1/accounts/{id}", get(get_account).delete(remove_account))
        .route(
            "/v1/accounts/{id}/authorizations",
            get(list_account_tokens).post(create_account_token),
        )
        .route(
            "/v1/accounts/{id}/authorizations/{token}",
            delete(remove_account_token),
        )
        // Instances; reader: GET.
        .route(
            "/v1/accounts/{id}/instances",
            get(list_instances).post(create_instance),
        )
        .route(
            "/v1/instances/{id}",
            get(get_instance)
                .put(change_instance)
                .delete(remove_instance),
        )
        .route(
            "/v1/instances/{id}/authorizations",
            get(list_instance_tokens).post(create_instance_token),
        )
        .route(
            "/v1/instances/{id}/authorizations/{token}",
            delete(remove_instance_token),
        )
        // The server; reader: GET.
        .route("/v1/datacenters", get(list_datacenters))
        .route("/v1/ping", get(ping))
        .layer(map_response(forbid_storing))
        .with_state(platform)
}

/// Many of these replies hold tokens, and none gains from being kept.
async fn forbid_storing(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn get_user(State(platform): State<Platform>, caller: Caller) -> Answer {
    let person = platform.store.find_person(caller.person()?).await?;
    let person = person.ok_or_else(|| Error::not_found("there is no such person"))?;
    Ok(Reply::ok(&wire::Person::from(person)))
}

async fn list_accounts(State(platform): State<Platform>, caller: Caller) -> Answer {
    let accounts = platform.store.list_accounts(caller.person()?).await?;
    let accounts = accounts
        .into_iter()
        .map(|account| show_account(&platform, account));
    Ok(Reply::ok(&List::from_iter(accounts)))
}

async fn list_person_tokens(State(platform): State<Platform>, caller: Caller) -> Answer {
    let holder = Holder::Person(caller.person()?);
    let tokens = platform.store.list_tokens(holder).await?;
    Ok(Reply::ok(&List::from_iter(
        tokens.into_iter().map(Authorization::hidden),
    )))
}

async fn create_person_token(
    State(platform): State<Platform>,
    caller: Caller,
    body: Body,
) -> Answer {
    let name = wire::token_name(body.or_empty())?;
    let token = platform.create_person_token(caller.person()?, name).await?;
    Ok(Reply::created(&Authorization::shown(token)))
}

async fn remove_person_token(
    State(platform): State<Platform>,
    caller: Caller,
    Path(token): Path<String>,
) -> Answer {
    let person = caller.person()?;
    platform
        .remove_person_token(person, token_id(&token)?)
        .await?;
    Ok(Reply::empty())
}

async fn list_ssh_keys(State(platform): State<Platform>, caller: Caller) -> Answer {
    let keys = platform.store.list_ssh_keys(caller.person()?).await?;
    Ok(Reply::ok(&List::from_iter(
        keys.into_iter().map(wire::SshKey::from),
    )))
}

async fn create_ssh_key(State(platform): State<Platform>, caller: Caller, body: Body) -> Answer {
    let person = caller.person()?;
    let draft = wire::ssh_key_draft(body.or_empty())?;
    let key = platform.create_ssh_key(person, draft).await?;
    Ok(Reply::created(&wire::SshKey::from(key)))
}

async fn remove_ssh_key(
    State(platform): State<Platform>,
    caller: Caller,
    Path(key): Path<String>,
) -> Answer {
    let person = caller.person()?;
    let key = key.parse().map_err(|_| no_such_ssh_key())?;
    platform.remove_ssh_key(person, key).await?;
    Ok(Reply::empty())
}

async fn create_account(State(platform): State<Platform>, caller: Caller, body: Body) -> Answer {
    let owner = caller.person()?;
    let draft = wire::account_draft(body.or_empty())?;
    let account = platform.create_account(owner, draft).await?;
    Ok(Reply::created(&show_account(&platform, account)))
}

async fn get_account(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let account = platform.get_account(&caller, id.parse()?).await?;
    Ok(Reply::ok(&show_account(&platform, account)))
}

async fn remove_account(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    platform.remove_account(&caller, id.parse()?).await?;
    Ok(Reply::empty())
}

async fn list_account_tokens(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let token = platform.find_account_token(&caller, id.parse()?).await?;
    Ok(Reply::ok(&List::from_iter(token.map(Authorization::shown))))
}

async fn create_account_token(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let (token, new) = platform.create_account_token(&caller, id.parse()?).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(Reply::json(status, &Authorization::shown(token)))
}

async fn remove_account_token(
    State(platform): State<Platform>,
    caller: Caller,
    Path((id, token)): Path<(String, String)>,
) -> Answer {
    let (account, token): (AccountId, _) = (id.parse()?, token_id(&token)?);
    platform
        .remove_account_token(&caller, account, token)
        .await?;
    Ok(Reply::empty())
}

async fn list_instances(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let account = platform.get_account(&caller, id.parse()?).await?;
    let provider = match params.given("provider") {
        None => None,
        Some(asked) => match asked.to_ascii_lowercase().parse::<Provider>() {
            Ok(provider) => Some(provider),
            // Nobody has an instance of a provider that does not exist.
            Err(_) => return Ok(Reply::ok(&List::<()>::from_iter([]))),
        },
    };
    let instances = platform.store.list_instances(account.id, provider).await?;
    Ok(Reply::ok(&List::from_iter(
        instances
            .iter()
            .map(|instance| show_instance(&platform, instance)),
    )))
}

async fn create_instance(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let draft = wire::instance_draft(body.or_empty())?;
    let instance = platform
        .create_instance(&caller, id.parse()?, draft)
        .await?;
    Ok(Reply::created(&show_instance(&platform, &instance)))
}

async fn get_instance(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let instance = platform.get_instance(&caller, &id).await?;
    Ok(Reply::ok(&show_instance(&platform, &instance)))
}

async fn change_instance(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let (name, tags) = wire::instance_change(body.or_empty())?;
    let instance = platform.change_instance(&caller, &id, name, tags).await?;
    Ok(Reply::ok(&show_instance(&platform, &instance)))
}

async fn remove_instance(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    platform.remove_instance(&caller, &id).await?;
    Ok(Reply::empty())
}

async fn list_instance_tokens(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let tokens = platform.list_instance_tokens(&caller, &id).await?;
    Ok(Reply::ok(&List::from_iter(
        tokens.into_iter().map(Authorization::shown),
    )))
}

async fn create_instance_token(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let token = platform.create_instance_token(&caller, &id).await?;
    Ok(Reply::created(&Authorization::shown(token)))
}

async fn remove_instance_token(
    State(platform): State<Platform>,
    caller: Caller,
    Path((id, token)): Path<(String, String)>,
) -> Answer {
    platform
        .remove_instance_token(&caller, &id, token_id(&token)?)
        .await?;
    Ok(Reply::empty())
}

/// The service discovery of the command line. It lists what this server runs: who finds `mar` here takes it for
/// running.
async fn list_datacenters(State(platform): State<Platform>, _: Caller, arrival: Arrival) -> Answer {
    let services: Vec<_> = platform
        .providers()
        .map(|provider| wire::ServiceAddress {
            id: provider.as_str(),
            url: arrival.base("http"),
        })
        .collect();
    let datacenters = platform
        .settings
        .datacenters()
        .map(|known| wire::DatacenterWithServices {
            id: known.id(),
            description: &known.description,
            services: &services,
        });
    Ok(Reply::ok(&List::from_iter(datacenters)))
}

async fn ping() -> Reply {
    Reply::empty()
}

fn show_account(platform: &Platform, account: pilvi_store::platform::Account) -> wire::Account<'_> {
    let datacenter = platform
        .settings
        .datacenters()
        .find(|known| known.id() == account.datacenter);
    wire::Account::new(account, datacenter)
}

fn show_instance<'a>(platform: &Platform, instance: &'a Instance) -> wire::Instance<'a> {
    wire::Instance::new(instance, platform.shown_config(instance))
}

fn token_id(text: &str) -> ModelResult<i64> {
    text.parse()
        .map_err(|_| Error::not_found("there is no such token"))
}

impl FromRequestParts<Platform> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, platform: &Platform) -> Result<Self, Refusal> {
        Ok(platform
            .caller(bearer(&parts.headers, Scheme::AnyCase))
            .await?)
    }
}
