//! Work that must come to its end although the caller may go away.

use pilvi_base::TaskGroup;
use pilvi_model::{Error, Result};
use tokio::sync::oneshot;

/// Runs `work` as a task and waits for it. When the caller is dropped, as happens to the handler of a request whose
/// client hung up, the work still runs to its end; use this where half of it would be worse than all or nothing.
pub async fn complete<T: Send + 'static>(
    tasks: &TaskGroup,
    name: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (done, outcome) = oneshot::channel();
    tasks.spawn(name, async move {
        // Nobody hears the result when the caller has gone, and that is the point.
        let _ = done.send(work.await);
    });
    outcome
        .await
        .map_err(|_| Error::internal(format!("the task `{name}` ended early")))?
}
