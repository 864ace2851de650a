//! What administrators do to a backend, for the audit log of its account. What users do is the app's own business.

use std::net::IpAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use http::HeaderMap;
use pilvi_base::Secret;
use pilvi_core::{Act, Actor};
use pilvi_model::{Provider, RequestId, Result};
use pilvi_web::{Arrival, Refusal};
use serde_json::Value;

use crate::Eds;
use crate::caller::admin_token;
use crate::routes::{Route, Verb};

/// Longer replies tell nothing about what was made.
const REPLY_MAX: usize = 1 << 20;

/// The events of the calls that are administrative acts when an administrator makes them.
const EVENTS: &[(Verb, &str, &str)] = &[
    (Verb::Post, "/v1/object_types", "collection.change"),
    (Verb::Put, "/v1/object_types/{id}", "collection.change"),
    (Verb::Delete, "/v1/object_types/{id}", "collection.remove"),
    (Verb::Post, "/v1/schema", "schema.import"),
    (Verb::Delete, "/v1/index_advice", "index.forget_advice"),
    (Verb::Post, "/v1/files/collect", "files.collect"),
    (Verb::Post, "/v1/indexes", "index.create"),
    (Verb::Delete, "/v1/indexes/{id}", "index.remove"),
    (Verb::Post, "/v1/webhooks", "webhook.create"),
    (Verb::Put, "/v1/webhooks/{id}", "webhook.change"),
    (Verb::Delete, "/v1/webhooks/{id}", "webhook.remove"),
    (
        Verb::Post,
        "/v1/webhooks/{id}/deliveries/{delivery}/replay",
        "webhook.replay",
    ),
    (Verb::Post, "/v1/webhooks/{id}/replay", "webhook.replay"),
    (Verb::Post, "/v1/webhooks/{id}/ping", "webhook.ping"),
    (Verb::Post, "/v1/webhooks/{id}/secret", "webhook.secret"),
    (Verb::Post, "/v1/imports", "import.create"),
    (Verb::Post, "/v1/imports/{id}/start", "import.start"),
    (Verb::Delete, "/v1/imports/{id}", "import.remove"),
    (Verb::Post, "/v1/users", "user.create"),
    (Verb::Put, "/v1/users/{id}", "user.change"),
    (Verb::Patch, "/v1/users/{id}", "user.change"),
    (Verb::Delete, "/v1/users/{id}", "user.remove"),
];

/// The handler of a call, watched where it may be an administrative act.
pub(crate) fn watched(eds: &Eds, route: &Route, handler: MethodRouter<Eds>) -> MethodRouter<Eds> {
    let mut events = EVENTS.iter();
    match events.find(|(verb, path, _)| (*verb, *path) == (route.verb, route.path)) {
        Some((_, _, event)) => handler.layer(from_fn_with_state((eds.clone(), *event), watch)),
        None => handler,
    }
}

async fn watch(
    State((eds, event)): State<(Eds, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(deed) = Deed::of(&request, event) else {
        return next.run(request).await;
    };
    let audit = eds.0.audit.clone();
    let done = audit.carry_out(async move {
        let response = next.run(request).await;
        Ok(match response.status().is_success() {
            true => deed.note(&eds, response).await,
            false => response,
        })
    });
    done.await
        .unwrap_or_else(|error| Refusal::from(error).into_response())
}

/// What is to be written down once something is done that takes longer than its reply.
pub(crate) async fn act(eds: &Eds, deed: Option<Deed>) -> Result<Option<Act>> {
    match deed {
        Some(deed) => deed.act(eds, deed.backend.clone()).await,
        None => Ok(None),
    }
}

/// What somebody with a token that may be an administrator's is about to do.
pub(crate) struct Deed {
    event: &'static str,
    backend: String,
    token: Secret,
    /// The last part of the path, when it is an id.
    named: Option<String>,
    request: RequestId,
    peer: IpAddr,
}

impl Deed {
    pub(crate) fn of(request: &Request, event: &'static str) -> Option<Self> {
        let headers: &HeaderMap = request.headers();
        let backend = headers.get("enginio-backend-id")?.to_str().ok()?;
        let arrival = request.extensions().get::<Arrival>()?;
        let mut parts = request.uri().path().trim_matches('/').split('/').skip(2);
        Some(Self {
            event,
            backend: backend.trim().to_owned(),
            token: admin_token(headers)?,
            named: parts.next().map(str::to_owned),
            request: arrival.request_id.clone(),
            peer: arrival.peer.ip(),
        })
    }

    /// Writes it down, if it was an administrator's. Gives the reply back as it was.
    async fn note(self, eds: &Eds, response: Response) -> Response {
        let (head, body) = response.into_parts();
        let body = match to_bytes(body, REPLY_MAX).await {
            Ok(bytes) => bytes,
            Err(error) => {
                return Refusal::from(pilvi_model::Error::internal(error)).into_response();
            }
        };
        let made = || {
            let reply: Value = serde_json::from_slice(&body).ok()?;
            Some(reply.get("id")?.as_str()?.to_owned())
        };
        let subject = self.named.clone().or_else(made);
        let subject = subject.unwrap_or_else(|| self.backend.clone());
        match self.act(eds, subject).await {
            Ok(Some(act)) => eds.0.audit.note(act).await,
            Ok(None) => {}
            Err(error) => tracing::error!(
                event = self.event,
                error = &error as &dyn std::error::Error,
                "who did this could not be found out for the audit log"
            ),
        }
        Response::from_parts(head, Body::from(body))
    }

    async fn act(&self, eds: &Eds, subject: String) -> Result<Option<Act>> {
        let parts = &eds.0;
        let found = parts.directory.find(Provider::Eds, &self.backend).await?;
        let Some(instance) = found else {
            return Ok(None);
        };
        if !parts.identity.administers(&self.token, &instance).await? {
            return Ok(None);
        }
        let who = parts.identity.authenticate(&self.token).await?;
        let actor = who.as_ref().map_or(Actor::Nobody, Actor::from);
        let act = Act::new(actor, self.event, subject)
            .in_account(instance.account)
            .asked_by(&self.request, Some(self.peer))
            .with("backend", instance.id.as_str());
        Ok(Some(act))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ROUTES;

    #[test]
    fn every_event_is_that_of_a_call() {
        for &(verb, path, event) in EVENTS {
            let is_there = ROUTES
                .iter()
                .any(|route| (route.verb, route.path) == (verb, path));
            assert!(is_there, "{event}");
        }
    }

    #[test]
    fn every_change_that_only_administrators_may_make_is_an_event() {
        for route in ROUTES {
            // A piece of an archive changes nothing yet.
            let is_piece = route.path == "/v1/imports/{id}/chunk";
            let changes = route.verb != Verb::Get && route.who == crate::Who::Admin && !is_piece;
            let mut events = EVENTS.iter();
            let is_event = events.any(|(verb, path, _)| (*verb, *path) == (route.verb, route.path));
            assert!(!changes || is_event, "{route:?}");
        }
    }
}
