//! Files. Shape only, as everywhere in the routes.

use axum::extract::{FromRequest, Request, State};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use pilvi_model::query::Include;
use pilvi_model::{Error, ObjectType};
use pilvi_web::{Body, Inflow, Params, Refusal, Reply};

use super::{Answer, Target, query};
use crate::caller::Caller;
use crate::files::multipart::{Detected, Multipart};
use crate::files::{NOTE_BYTES_MAX, of_the_body};
use crate::{Eds, wire};

const NOTE_TOO_LARGE: &str =
    "what is said of a file has at most 64 KiB; send its bytes as a form, or in pieces";

pub(crate) async fn list(State(eds): State<Eds>, caller: Caller, params: Params) -> Answer {
    let query = query(&params)?;
    let echo = query.echo();
    let files = ObjectType::files();
    if params.has("count") {
        let count = eds.count_objects(&caller, files, query).await?;
        return Ok(wire::count(&echo, count));
    }
    let mut listed = eds.list_objects(&caller, files, query).await?;
    listed.results = eds.shown_files(&caller, listed.results).await?;
    Ok(wire::list(&echo, &listed))
}

/// A file that comes along, or one whose pieces will follow: the content type says which, or the first bytes.
pub(crate) async fn create(State(eds): State<Eds>, caller: Caller, request: Request) -> Answer {
    let kind = request.headers().get(CONTENT_TYPE).cloned();
    let mut inflow = Inflow::from_request(request, &eds).await?;
    let kind = kind.filter(|kind| Multipart::is_meant(kind.as_bytes()));
    let (multipart, start) = match kind {
        Some(kind) => {
            let multipart = Multipart::new(kind.as_bytes()).map_err(of_the_body)?;
            (Some(multipart), Bytes::new())
        }
        None => look_at_start(&mut inflow).await?,
    };
    let written = match multipart {
        Some(mut multipart) => {
            multipart.feed(start);
            eds.take_file(&caller, multipart, inflow).await?
        }
        None => {
            let Some(room) = NOTE_BYTES_MAX.checked_sub(start.len()) else {
                return Err(Error::too_large(NOTE_TOO_LARGE).into());
            };
            // What was read before counts, too, so the bound is not the one that is left.
            let rest = inflow.read_all(room).await.map_err(|refusal| {
                match refusal.status == StatusCode::PAYLOAD_TOO_LARGE {
                    true => Error::too_large(NOTE_TOO_LARGE).into(),
                    false => refusal,
                }
            })?;
            let note = Body::parse(&[start, rest].concat())?.required()?;
            eds.announce_file(&caller, &note).await?
        }
    };
    let text = eds.shown_file(&caller, written.object.text).await?;
    Ok(Reply::raw(StatusCode::CREATED, text))
}

/// Whether the body is a form although its request does not say so; with what was read to tell.
async fn look_at_start(inflow: &mut Inflow) -> Result<(Option<Multipart>, Bytes), Refusal> {
    let mut start = BytesMut::new();
    loop {
        match Multipart::detect(&start) {
            Detected::Form(multipart) => return Ok((Some(multipart), start.freeze())),
            Detected::Other => return Ok((None, start.freeze())),
            Detected::Unclear => {}
        }
        match inflow.next().await? {
            Some(piece) => start.extend_from_slice(&piece),
            None => return Ok((None, start.freeze())),
        }
    }
}

pub(crate) async fn get(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    params: Params,
) -> Answer {
    let include = match params.given("include") {
        Some(text) => Include::parse(text)?,
        None => Include::default(),
    };
    let file = eds
        .get_object(&caller, target.object_type, target.id)
        .await?;
    let text = eds.with_included(&caller, &include, file.text).await?;
    show(&eds, &caller, text).await
}

pub(crate) async fn update(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    let written = eds
        .update_file(&caller, target.id, body.required()?)
        .await?;
    show(&eds, &caller, written.object.text).await
}

pub(crate) async fn put_chunk(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    request: Request,
) -> Answer {
    let headers = request.headers().clone();
    let inflow = Inflow::from_request(request, &eds).await?;
    let text = eds.take_chunk(&caller, target.id, &headers, inflow).await?;
    show(&eds, &caller, text).await
}

async fn show(eds: &Eds, caller: &Caller, text: String) -> Result<Reply, Refusal> {
    let text = eds.shown_file(caller, text).await?;
    Ok(Reply::raw(StatusCode::OK, text))
}
