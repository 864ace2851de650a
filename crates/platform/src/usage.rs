//! Usage: what instances take, of which accounts get the sum.
//!
//! Every minute all instances are asked, one after the other and none for long, so that a look at the figures costs
//! nothing and quotas of what must be measured can be kept. Whoever looks between two rounds sees figures that are no
//! older than some seconds.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use pilvi_core::{Resource, Usage};
use pilvi_model::{AccountId, BackendId, Error, Instance, Provider, Result, Timestamp};
use pilvi_web::Reply;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::routes::Answer;
use crate::{Caller, Platform};

/// So often all instances are measured.
const EVERY: Duration = Duration::from_secs(60);
/// A figure that is no older is not measured again for somebody who looks.
const FRESH: Duration = Duration::from_secs(5);
/// So long one instance may take to say; then the figure of before stays.
const PATIENCE: Duration = Duration::from_secs(20);
/// Instances that are measured at the same time.
const AT_ONCE: usize = 2;
/// Accounts that are read at once.
const PAGE: u32 = 100;

pub(crate) fn routes() -> Router<Platform> {
    Router::new()
        .route("/v1/instances/{id}/usage", get(get_instance_usage))
        .route("/v1/accounts/{id}/usage", get(get_account_usage))
}

/// What was measured. Cloning gives another handle.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    /// A plain mutex: held for a look-up.
    figures: Arc<Mutex<HashMap<String, Figure>>>,
    turns: Arc<Semaphore>,
}

/// What one instance took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) usage: Usage,
    pub(crate) at: Timestamp,
    taken: Instant,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            figures: Arc::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Meter {
    fn figures(&self) -> MutexGuard<'_, HashMap<String, Figure>> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str, no_older: Duration) -> Option<Figure> {
        let found = self.figures().get(id).copied();
        found.filter(|figure| figure.taken.elapsed() <= no_older)
    }
}

/// What an account takes.
#[derive(Clone, Debug)]
pub(crate) struct AccountUsage {
    pub(crate) sum: Usage,
    pub(crate) instances: Vec<(Instance, Figure)>,
}

impl Platform {
    /// Measures from now on, until the tasks are told to stop.
    pub fn keep_measuring(&self) {
        let platform = self.clone();
        self.tasks.spawn("usage", async move {
            loop {
                if let Err(error) = platform.measure_all().await {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "what accounts take could not be measured; it is tried again in a minute"
                    );
                }
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = platform.tasks.stopping() => return,
                }
            }
        });
    }

    /// One round over all accounts.
    pub(crate) async fn measure_all(&self) -> Result<()> {
        let (mut accounts, mut instances) = (HashSet::new(), HashSet::new());
        let mut after = None;
        loop {
            let page = self.store.page_accounts(after, PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(*last);
            for account in page {
                if self.tasks.is_stopping() {
                    return Ok(());
                }
                let usage = self.measure(account, EVERY / 2).await?;
                accounts.insert(account);
                instances.extend(usage.instances.into_iter().map(|(instance, _)| instance.id));
            }
        }
        self.quotas.retain(|account| accounts.contains(account));
        self.meter.figures().retain(|id, _| instances.contains(id));
        Ok(())
    }

    /// What an account takes, measured anew where the last figures are not fresh.
    pub(crate) async fn measure_account(&self, account: AccountId) -> Result<AccountUsage> {
        self.measure(account, FRESH).await
    }

    async fn measure(&self, account: AccountId, no_older: Duration) -> Result<AccountUsage> {
        let mut usage = AccountUsage {
            sum: Usage::default(),
            instances: Vec::new(),
        };
        for instance in self.store.list_instances(account, None).await? {
            let figure = self.measure_instance(&instance, no_older).await?;
            usage.sum = usage.sum.plus(figure.usage);
            usage.instances.push((instance, figure));
        }
        self.quotas.note(account, usage.sum);
        self.limit_backends(account, &usage).await?;
        Ok(usage)
    }

    async fn measure_instance(&self, instance: &Instance, no_older: Duration) -> Result<Figure> {
        if let Some(figure) = self.meter.find(&instance.id, no_older) {
            return Ok(figure);
        }
        let _turn = self.meter.turns.acquire().await.map_err(Error::internal)?;
        // Somebody else may have asked meanwhile.
        if let Some(figure) = self.meter.find(&instance.id, no_older) {
            return Ok(figure);
        }
        let measured = match self.provisioner(instance.provider) {
            Some(provisioner) => tokio::time::timeout(PATIENCE, provisioner.usage(instance)).await,
            None => Ok(Ok(Usage::default())),
        };
        let before = || self.meter.find(&instance.id, Duration::MAX);
        let usage = match measured {
            Ok(Ok(usage)) => usage,
            Ok(Err(error)) => {
                tracing::warn!(
                    instance = instance.id,
                    error = &error as &dyn std::error::Error,
                    "what an instance takes could not be measured"
                );
                before().map(|figure| figure.usage).unwrap_or_default()
            }
            Err(_) => before().map(|figure| figure.usage).unwrap_or_default(),
        };
        let figure = Figure {
            usage,
            at: self.now(),
            taken: Instant::now(),
        };
        self.meter.figures().insert(instance.id.clone(), figure);
        Ok(figure)
    }

    /// Tells each backend how far it may grow: by as much as its account may still get.
    async fn limit_backends(&self, account: AccountId, usage: &AccountUsage) -> Result<()> {
        let most = self.quotas.most(account, Resource::EdsStorageBytes).await?;
        let left = most.saturating_sub(usage.sum.storage_bytes.unwrap_or(0));
        let backends = usage.instances.iter();
        for (instance, figure) in
            backends.filter(|(instance, _)| instance.provider == Provider::Eds)
        {
            if let (Ok(id), Some(own)) =
                (instance.id.parse::<BackendId>(), figure.usage.storage_bytes)
            {
                self.store.limit_backend(id, Some(own.saturating_add(left)));
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_provider_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sockets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<Shown<'a>>>,
}

impl<'a> Shown<'a> {
    fn of(usage: &Usage) -> Self {
        Self {
            account_id: None,
            instance_id: None,
            service_provider_id: None,
            measured_at: None,
            storage_bytes: usage.storage_bytes,
            memory_bytes: usage.memory_bytes,
            disk_bytes: usage.disk_bytes,
            processes: usage.processes,
            sockets: usage.sockets,
            results: None,
        }
    }

    fn instance(instance: &'a Instance, figure: &Figure) -> Self {
        Self {
            instance_id: Some(&instance.id),
            service_provider_id: Some(instance.provider.as_str()),
            measured_at: Some(figure.at.to_string()),
            ..Self::of(&figure.usage)
        }
    }
}

async fn get_instance_usage(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let instance = platform.get_instance(&caller, &id).await?;
    let figure = platform.measure_instance(&instance, FRESH).await?;
    Ok(Reply::ok(&Shown::instance(&instance, &figure)))
}

async fn get_account_usage(
    State(platform): State<Platform>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    let account = platform.get_account(&caller, id.parse()?).await?;
    let usage = platform.measure_account(account.id).await?;
    let instances = usage.instances.iter();
    let instances = instances.map(|(instance, figure)| Shown::instance(instance, figure));
    Ok(Reply::ok(&Shown {
        account_id: Some(account.id.to_string()),
        results: Some(instances.collect()),
        ..Shown::of(&usage.sum)
    }))
}
