//! After the server has started: every app gets its route, and its processes when it is to have some.

use pilvi_model::Result;
use tokio::sync::oneshot;

use super::Supervisor;
use super::keeper::Message;

impl Supervisor {
    /// Starts what ran when the server stopped, however it stopped. Only a few processes start at a time. Returns once
    /// every app has its route, so that nobody who comes early hears that there is no such app; to be called after
    /// [`crate::Mar::clear_unfinished`] and before the doors open.
    pub async fn recover(&self) -> Result<()> {
        let mut begun = Vec::new();
        for app in self.parts.store.list_apps().await? {
            let (reply, has_route) = oneshot::channel();
            // A keeper that ends already means that the server is stopping again.
            if self
                .keeper(&app.id)?
                .send(Message::Recover { reply })
                .await
                .is_err()
            {
                break;
            }
            begun.push(has_route);
        }
        for has_route in begun {
            // The same.
            let _ = has_route.await;
        }
        Ok(())
    }
}
