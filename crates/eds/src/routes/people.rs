//! Users, the members of usergroups, and signing in. Shape only, as everywhere in the routes.

use axum::extract::{FromRequest, Request, State};
use http::{HeaderMap, StatusCode};
use pilvi_web::form::Form;
use pilvi_web::{Body, Params, RawBody, Refusal, Reply};

use super::{Answer, Target, query};
use crate::Eds;
use crate::caller::{Caller, Tenant, session_token};
use crate::{users, wire};

pub(crate) async fn create_user(State(eds): State<Eds>, caller: Caller, body: Body) -> Answer {
    let user = eds.create_user(&caller, body.required()?).await?;
    Ok(Reply::raw(StatusCode::CREATED, user.text))
}

pub(crate) async fn update_user(
    State(eds): State<Eds>,
    caller: Caller,
    target: Target,
    body: Body,
) -> Answer {
    let user = eds
        .update_user(&caller, target.id, body.required()?)
        .await?;
    Ok(Reply::raw(StatusCode::OK, user.text))
}

pub(crate) async fn current_user(State(eds): State<Eds>, caller: Caller) -> Answer {
    Ok(Reply::ok(&eds.current_user(&caller).await?))
}

pub(crate) async fn list_members(
    State(eds): State<Eds>,
    caller: Caller,
    group: Target,
    params: Params,
) -> Answer {
    let query = query(&params)?;
    let echo = query.echo();
    if params.has("count") {
        let count = eds.count_members(&caller, group.id, query).await?;
        return Ok(wire::count(&echo, count));
    }
    let results = eds.list_members(&caller, group.id, &query).await?;
    Ok(wire::list(&echo, &results))
}

pub(crate) async fn add_member(
    State(eds): State<Eds>,
    caller: Caller,
    group: Target,
    body: Body,
) -> Answer {
    let user = eds.add_member(&caller, group.id, body.0.as_ref()).await?;
    Ok(Reply::raw(StatusCode::CREATED, user))
}

pub(crate) async fn remove_member(
    State(eds): State<Eds>,
    caller: Caller,
    group: Target,
    body: Body,
) -> Answer {
    eds.remove_member(&caller, group.id, body.0.as_ref())
        .await?;
    Ok(Reply::empty())
}

/// The parameters of a token request, wherever they stand in it.
pub(crate) struct Sent(Form);

impl FromRequest<Eds> for Sent {
    type Rejection = Refusal;

    async fn from_request(request: Request, eds: &Eds) -> Result<Self, Refusal> {
        let query = request.uri().query().map(str::to_owned);
        let RawBody(body) = RawBody::from_request(request, eds).await?;
        Ok(Self(Form::read(&body, query.as_deref())?))
    }
}

pub(crate) async fn grant(State(eds): State<Eds>, tenant: Tenant, Sent(form): Sent) -> Answer {
    eds.grant(&tenant, &form).await
}

pub(crate) async fn revoke(State(eds): State<Eds>, tenant: Tenant, Sent(form): Sent) -> Answer {
    eds.revoke(&tenant, &form).await
}

pub(crate) async fn identify(State(eds): State<Eds>, tenant: Tenant, Sent(form): Sent) -> Answer {
    eds.identify(&tenant, &form).await
}

pub(crate) async fn show_session(
    State(eds): State<Eds>,
    tenant: Tenant,
    headers: HeaderMap,
) -> Answer {
    eds.show_session(&tenant, session_token(&headers)).await
}

pub(crate) async fn end_session(
    State(eds): State<Eds>,
    tenant: Tenant,
    headers: HeaderMap,
) -> Answer {
    eds.end_session(&tenant, session_token(&headers)).await
}

pub(crate) async fn request_password_reset(
    State(eds): State<Eds>,
    tenant: Tenant,
    body: Body,
) -> Answer {
    eds.request_password_reset(&tenant, &body.required()?).await
}

pub(crate) async fn reset_password(State(eds): State<Eds>, tenant: Tenant, body: Body) -> Answer {
    eds.reset_password(&tenant, &body.required()?).await
}

pub(crate) async fn request_email_verification(
    State(eds): State<Eds>,
    tenant: Tenant,
    caller: Caller,
) -> Answer {
    let user = users::signed_in_user(&caller)?;
    eds.request_email_verification(&tenant, user).await
}

pub(crate) async fn confirm_email(State(eds): State<Eds>, tenant: Tenant, body: Body) -> Answer {
    eds.confirm_email(&tenant, &body.required()?).await
}
