//! How a message leaves whoever publishes it.
//!
//! The broker accepts a message: it gives it its id, which is its place in the order of its gateway, and sees that
//! every socket it is for gets it. Nobody else knows where those sockets are. With one server they are all in its own
//! hub.

use std::sync::Arc;

use pilvi_model::{GatewayId, Result};

use crate::counters::Counters;
use crate::dress::Kind;
use crate::frame;
use crate::hub::Hub;
use crate::message_id::MessageId;
use crate::roster::Receivers;
use crate::settings::history::HistoryPlan;

/// A message that is to be published.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) gateway: GatewayId,
    pub(crate) to: Receivers,
    pub(crate) kind: Kind,
    /// A text's is UTF-8.
    pub(crate) payload: &'a [u8],
    /// How the messages to its tags are kept. `None`: not at all.
    pub(crate) history: Option<Arc<HistoryPlan>>,
}

/// Takes messages and gives them away.
pub(crate) trait Broker: Send + Sync {
    /// Accepts a message for its receivers, of whom there may be none. It waits while too many are on their way to the
    /// sockets of this gateway.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Unavailable`] when there is no room for long.
    fn publish(&self, message: Outgoing<'_>) -> impl Future<Output = Result<MessageId>> + Send;
}

/// One server: everything is in its own hub.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    hub: Hub,
    counters: Arc<Counters>,
}

impl Local {
    pub(crate) fn new(hub: Hub, counters: Arc<Counters>) -> Self {
        Self { hub, counters }
    }
}

impl Broker for Local {
    async fn publish(&self, message: Outgoing<'_>) -> Result<MessageId> {
        let frame = frame::message(message.kind, message.payload);
        let Outgoing {
            gateway,
            to,
            history,
            ..
        } = message;
        let id = match history.filter(|history| history.keeps_any(&to.tags)) {
            Some(history) => {
                let kept = self.hub.publish_and_keep(gateway, to, frame, &history);
                kept.await?
            }
            None => self.hub.publish(gateway, to, frame).await?,
        };
        self.counters.messages.add(1);
        Ok(id)
    }
}
