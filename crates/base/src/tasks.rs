//! Every task has an owner that waits for it.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Starts tasks, tells them to stop, and waits until they have.
///
/// Cloning gives another handle on the same group.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl TaskGroup {
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` in the background. It should watch [`TaskGroup::stopping`] and end soon after it.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the call that all others are sent to"
    )]
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let span = tracing::debug_span!("task", name);
        tokio::spawn(self.tracker.track_future(task.instrument(span)));
    }

    /// Resolves once the group has been told to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells every task to stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Tells every task to stop and waits at most `patience`. Says whether all of them ended.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.stop();
        self.tracker.close();
        tokio::time::timeout(patience, self.tracker.wait())
            .await
            .is_ok()
    }

    /// How many tasks are running.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drain_waits_for_tasks_that_heed_the_stop() {
        let group = TaskGroup::new();
        let inner = group.clone();
        group.spawn("waiter", async move { inner.stopping().await });
        assert_eq!(group.running(), 1);
        assert!(group.drain(Duration::from_secs(5)).await);
        assert_eq!(group.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn drain_gives_up_on_a_task_that_does_not() {
        let group = TaskGroup::new();
        group.spawn("stubborn", std::future::pending());
        assert!(!group.drain(Duration::from_secs(5)).await);
    }
}
