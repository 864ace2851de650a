//! Exports and imports of the whole backend.

use axum::extract::{FromRequest, Path, Request, State};
use axum::response::Response;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use pilvi_model::Error;
use pilvi_web::{Body, Inflow, Refusal, Reply};

use super::Answer;
use crate::audit::Deed;
use crate::caller::Caller;
use crate::{Eds, audit, wire};

pub(crate) async fn export(
    State(eds): State<Eds>,
    caller: Caller,
    request: Request,
) -> Result<Response, Refusal> {
    let deed = Deed::of(&request, "backend.export");
    let act = audit::act(&eds, deed).await?;
    let (name, body) = eds.export(&caller, act).await?;
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    let name = format!("attachment; filename=\"{name}\"");
    let name = HeaderValue::from_str(&name).map_err(Error::internal)?;
    headers.insert(CONTENT_DISPOSITION, name);
    Ok(response)
}

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(wire::imports(&eds.list_imports(&caller)?))
}

pub(crate) async fn announce(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let (import, is_new) = eds.announce_import(&caller, &body.required()?).await?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok(Reply::json(status, &wire::import(&import)))
}

pub(crate) async fn get(State(eds): State<Eds>, caller: Caller, Path(id): Path<String>) -> Answer {
    let import = eds.find_import(&caller, &id)?.shown();
    Ok(Reply::ok(&wire::import(&import)))
}

pub(crate) async fn put_chunk(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let headers = request.headers().clone();
    let inflow = Inflow::from_request(request, &eds).await?;
    let import = eds
        .take_import_chunk(&caller, &id, &headers, inflow)
        .await?;
    Ok(Reply::ok(&wire::import(&import)))
}

pub(crate) async fn start(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let import = eds.start_import(&caller, &id, &body.or_empty()).await?;
    Ok(Reply::ok(&wire::import(&import)))
}

pub(crate) async fn remove(
    State(eds): State<Eds>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    eds.remove_import(&caller, &id).await?;
    Ok(Reply::empty())
}
