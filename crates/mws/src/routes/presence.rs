//! Who is there, and what was said.

use std::sync::Arc;

use axum::extract::State;
use pilvi_model::Error;
use pilvi_web::{Params, Reply};

use super::callers::Observer;
use super::{Result, number, tag};
use crate::mws::Mws;
use crate::wire;

/// How many of the first tags can be left out. Further on one goes by names, which costs nothing.
const OFFSET_MAX: usize = 10_000;

/// The members of a tag, or all tags that have some.
pub(super) async fn show(
    State(mws): State<Arc<Mws>>,
    observer: Observer,
    params: Params,
) -> Result {
    let max = mws.limits.page_max;
    let limit = number(&params, "limit")?.map_or(max, |limit| limit.min(max));
    let offset = number(&params, "offset")?.unwrap_or(0);
    let gateway = &observer.gateway;
    let Some(tag) = params.given("tag") else {
        if !observer.sight.is_everything() {
            return Err(
                Error::forbidden("only the gateway's owner sees all tags; name one").into(),
            );
        }
        if offset > OFFSET_MAX {
            let text = format!("isn't a number up to {OFFSET_MAX}; use after=<the last tag>");
            return Err(Error::invalid("offset", text).into());
        }
        let after = params.given("after").map(Arc::from);
        let tags = mws.hub.watched(gateway.id, after, offset + limit).await?;
        let page = tags.get(offset..).unwrap_or_default();
        return Ok(Reply::ok(&wire::PresentTags::from(page)));
    };
    observer.sight.check(tag)?;
    let plan = gateway.plan(&mws.plans);
    if !plan.presence.as_ref().is_some_and(|plan| plan.matches(tag)) {
        let text =
            "the gateway does not say who is there with this tag; its owner can, with presence";
        return Err(Error::not_found(text).into());
    }
    let tag: Arc<str> = Arc::from(tag);
    let members = mws.hub.members(gateway.id, &tag, offset, limit).await?;
    let shows_sockets = observer.sight.is_everything();
    let shown = wire::Present::new(&tag, &members, shows_sockets);
    Ok(Reply::ok(&shown))
}

/// The messages to a tag that are kept.
pub(super) async fn history(
    State(mws): State<Arc<Mws>>,
    observer: Observer,
    params: Params,
) -> Result {
    let max = mws.limits.page_max;
    let limit = number(&params, "limit")?.map_or(max, |limit| limit.min(max));
    let tag = tag(&params)?;
    let after = wire::read_message_id(params.given("after"))?;
    observer.sight.check(tag)?;
    let gateway = &observer.gateway;
    let plan = gateway.plan(&mws.plans);
    let rule = plan.history.as_ref().and_then(|plan| plan.rule_for(tag));
    let Some(rule) = rule else {
        let text =
            "the gateway keeps no messages to this tag; its owner can have them kept, with history";
        return Err(Error::not_found(text).into());
    };
    let part = mws.hub.read_history(gateway.id, tag, rule, after, limit);
    Ok(Reply::ok(&wire::History::from(&part)))
}
