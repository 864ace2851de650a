//! The secret of a gateway's events, and trying out where they go.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use pilvi_core::signing::overlap_hours;
use pilvi_web::{Body, Reply};
use serde_json::json;

use super::callers::{Admin, Who};
use super::{Result, object};
use crate::mws::Mws;

/// The one answer that shows the secret.
pub(super) async fn renew_secret(
    State(mws): State<Arc<Mws>>,
    Admin(gateway, _in_flight): Admin,
    who: Who,
    body: Body,
) -> Result {
    let overlap = overlap_hours(&object(body)?.into())?;
    let act = who.act("gateway.events.secret", &gateway);
    let audit = mws.audit.clone();
    let renewed = audit.carry_out(async move {
        let fresh = mws.renew_events_secret(&gateway, overlap).await?;
        mws.audit.note(act).await;
        Ok(Reply::ok(&json!({
            "secret": fresh.secret.expose(),
            "previousUntil": fresh.previous_until.map(|until| until.to_millis_text()),
        })))
    });
    Ok(renewed.await?)
}

pub(super) async fn test(State(mws): State<Arc<Mws>>, Admin(gateway, _in_flight): Admin) -> Result {
    let attempt = mws.test_events(&gateway).await?;
    Ok(Reply::ok(&json!({
        "delivered": attempt.error.is_none(),
        "status": attempt.status,
        "answer": attempt.answer,
        "error": attempt.error,
        "signed": attempt.signed,
        "durationMs": millis(attempt.took),
    })))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
