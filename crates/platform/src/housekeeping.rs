//! What is done now and then without anybody asking: deleted instances whose time is over go for good, expired
//! invitations, ended sessions and old events are forgotten.

use std::time::Duration;

use pilvi_core::Act;
use pilvi_core::audit::Actor;
use pilvi_model::{Result, Timestamp};

use crate::Platform;

/// So often.
const EVERY: Duration = Duration::from_secs(60 * 60);

impl Platform {
    /// Keeps house from now on, until the tasks are told to stop.
    pub fn keep_house(&self) {
        let platform = self.clone();
        self.tasks.spawn("housekeeping", async move {
            loop {
                platform.clean().await;
                tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = platform.tasks.stopping() => return,
                }
            }
        });
    }

    /// One round. What fails is tried again in the next.
    async fn clean(&self) {
        let report = |what: &str, error: &pilvi_model::Error| {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "{what}; it is tried again in an hour"
            );
        };
        if let Err(error) = self.remove_expired_instances().await {
            report("deleted instances could not be looked through", &error);
        }
        if let Err(error) = self.store.delete_expired_invitations(self.now()).await {
            report("expired invitations could not be deleted", &error);
        }
        if let Err(error) = self.clear_ended().await {
            report(
                "ended sessions, codes and tokens could not be deleted",
                &error,
            );
        }
        if let Err(error) = self.audit.trim().await {
            report("old events could not be deleted", &error);
        }
    }

    /// Removes the instances that can no longer be restored. One that cannot be removed is logged and left for the
    /// next time.
    pub async fn remove_expired_instances(&self) -> Result<()> {
        let until = self.expired_when_deleted_until();
        for deleted in self.store.list_instances_deleted_until(until).await? {
            if self.tasks.is_stopping() {
                return Ok(());
            }
            let instance = deleted.instance;
            match self.remove_expired(&instance.id, until).await {
                Ok(true) => {
                    let act = Act::new(Actor::Server, "instance.remove", &instance.id)
                        .with("name", instance.name.as_str());
                    self.audit.note(act.in_account(instance.account)).await;
                }
                Ok(false) => {}
                Err(error) => tracing::error!(
                    instance = instance.id,
                    error = &error as &dyn std::error::Error,
                    "an instance that was deleted long ago could not be removed; it is tried again in an hour"
                ),
            }
        }
        Ok(())
    }

    /// Whatever was deleted at this moment or before it cannot be restored any more.
    fn expired_when_deleted_until(&self) -> Timestamp {
        let kept = self.settings.deleted_instances_kept.as_millis();
        let kept = u64::try_from(kept).unwrap_or(u64::MAX);
        Timestamp::from_millis(self.now().as_millis().saturating_sub(kept))
    }
}
