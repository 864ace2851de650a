//! Quotas: how much an account may have. Its members see them, and operators set them.

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use pilvi_core::Resource;
use pilvi_core::quotas::Limits;
use pilvi_model::{AccountId, Error, Result};
use pilvi_store::platform::{Counted, QuotaChange};
use pilvi_web::{Body, Reply};
use serde_json::{Map, Value, json};

use crate::access::no_such_account;
use crate::drafts::Faults;
use crate::routes::{Answer, Asked};
use crate::{Caller, Platform};

pub(crate) fn routes() -> Router<Platform> {
    Router::new().route("/v1/accounts/{id}/quotas", get(get_quotas).put(set_quotas))
}

/// What an account may have and has.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub resource: Resource,
    pub limit: u64,
    pub used: u64,
    /// Nobody set it for this account.
    pub is_default: bool,
}

impl Platform {
    /// What an account may have, and has as far as that was measured.
    pub async fn list_quotas(&self, caller: &Caller, account: AccountId) -> Result<Vec<Quota>> {
        // Operators set quotas of accounts that they are no members of, and see what they set.
        if self.check_operator(caller).await.is_err() {
            self.get_account(caller, account).await?;
        } else if self.store.find_account(account).await?.is_none() {
            return Err(no_such_account());
        }
        self.quotas_of(account).await
    }

    /// Changes what an account may have; what is not named stays. What it has already, it keeps.
    pub async fn set_quotas(
        &self,
        caller: &Caller,
        account: AccountId,
        changes: Vec<QuotaChange>,
    ) -> Result<Vec<Quota>> {
        if let Err(refused) = self.check_operator(caller).await {
            // Whoever does not see the account does not learn that it is there.
            self.get_account(caller, account).await?;
            return Err(refused);
        }
        if !self.quotas.set(account, changes).await? {
            return Err(no_such_account());
        }
        // A smaller quota of storage is felt by the next write.
        self.measure_account(account).await?;
        self.quotas_of(account).await
    }

    async fn quotas_of(&self, account: AccountId) -> Result<Vec<Quota>> {
        let limits = self.quotas.limits(account).await?;
        let counted = self.store.count_rows_of(account).await?;
        let quota = |resource| Quota {
            resource,
            limit: limits.most(resource),
            used: self.used(account, resource, &counted),
            is_default: is_default(&limits, self.quotas.defaults(), resource),
        };
        Ok(Resource::ALL.map(quota).into())
    }

    fn used(&self, account: AccountId, resource: Resource, counted: &Counted) -> u64 {
        match resource {
            Resource::Instances => counted.instances,
            Resource::Members => counted.members,
            Resource::AppMemoryBytes => counted.app_memory_bytes,
            measured => self.quotas.measured(account).of(measured).unwrap_or(0),
        }
    }
}

fn is_default(limits: &Limits, defaults: &Limits, resource: Resource) -> bool {
    limits.most(resource) == defaults.most(resource)
}

async fn get_quotas(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let quotas = platform.list_quotas(&caller, id.parse()?).await?;
    Ok(Reply::ok(&shown(&quotas)))
}

async fn set_quotas(
    State(platform): State<Platform>,
    asked: Asked,
    Path(id): Path<String>,
    body: Body,
) -> Answer {
    let account: AccountId = id.parse()?;
    let changes = changes(&body.or_empty());
    let quotas = match changes {
        Ok(changes) => {
            let mut act = asked.act("account.quotas", account);
            for (resource, most) in &changes {
                act = act.with(resource.as_str(), most.map_or(Value::Null, Value::from));
            }
            let quotas = platform.set_quotas(&asked.caller, account, changes).await?;
            platform.audit.note(act.in_account(account)).await;
            quotas
        }
        Err(fault) => {
            // Whether they may comes first.
            platform
                .set_quotas(&asked.caller, account, Vec::new())
                .await?;
            return Err(fault.into());
        }
    };
    Ok(Reply::ok(&shown(&quotas)))
}

/// `{"instances": {"limit": 200, "used": 3, "default": true}, …}`
fn shown(quotas: &[Quota]) -> Map<String, Value> {
    let shown = quotas.iter().map(|quota| {
        let value = json!({"limit": quota.limit, "used": quota.used, "default": quota.is_default});
        (quota.resource.as_str().to_owned(), value)
    });
    shown.collect()
}

/// `{"instances": 50, "sockets": null}`: numbers are set, and `null` is the server's default again.
fn changes(body: &Value) -> Result<Vec<QuotaChange>> {
    let asked = body
        .as_object()
        .ok_or_else(|| Error::bad_request("the body is a JSON object of quotas"))?;
    let (mut changes, mut faults) = (Vec::new(), Faults::default());
    for (name, value) in asked {
        match (Resource::named(name), value) {
            (None, _) => {
                let known = Resource::ALL.map(Resource::as_str).join(", ");
                faults.add(name, format!("is no quota; there are {known}"));
            }
            (Some(resource), Value::Null) => changes.push((resource, None)),
            (Some(resource), value) => match value.as_u64().filter(|most| *most <= MOST) {
                Some(most) => changes.push((resource, Some(most))),
                None => faults.add(
                    name,
                    "must be a whole number from 0, or null for the server's default",
                ),
            },
        }
    }
    faults.finish()?;
    Ok(changes)
}

/// What all clients can read as a whole number.
const MOST: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_are_whole_numbers_or_the_default() {
        let read = changes(&json!({"sockets": 5, "instances": null, "members": 0})).unwrap();
        assert_eq!(
            read,
            [
                (Resource::Sockets, Some(5)),
                (Resource::Instances, None),
                (Resource::Members, Some(0))
            ]
        );
        assert!(changes(&json!({})).unwrap().is_empty());
        for wrong in [
            json!({"sockets": -1}),
            json!({"sockets": 1.5}),
            json!({"sockets": "5"}),
            json!({"sockets": 1e30}),
            json!({"sockets": true}),
            json!({"socks": 5}),
        ] {
            assert_eq!(changes(&wrong).unwrap_err().fields.len(), 1, "{wrong}");
        }
        assert!(changes(&json!([])).is_err());
    }
}
