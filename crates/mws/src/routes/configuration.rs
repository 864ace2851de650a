//! How a gateway is set up.

use std::sync::Arc;

use axum::extract::State;
use pilvi_web::{Body, Reply};

use super::callers::{Admin, Who};
use super::{Result, object};
use crate::mws::Mws;
use crate::settings::Change;

pub(super) async fn show(Admin(gateway, _in_flight): Admin) -> Result {
    Ok(Reply::ok(&gateway.settings()))
}

pub(super) async fn configure(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    who: Who,
    body: Body,
) -> Result {
    let change = Change::read(object(body)?)?;
    let changed = change.keys();
    let act = who
        .act("gateway.configure", &gateway)
        .with("changed", changed);
    let audit = mws.audit.clone();
    let configured = audit.carry_out(async move {
        let settings = mws.configure(&gateway, change).await?;
        mws.audit.note(act).await;
        Ok(Reply::ok(&settings))
    });
    Ok(configured.await?)
}
