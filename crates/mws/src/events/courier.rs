//! Takes out of a line what its gateway's app is to be told, one after the other.

use std::sync::Arc;

use pilvi_model::Timestamp;

use super::Events;
use super::answer::{Fault, OfMessage};
use super::body;
use super::line::{Ending, Entry, Facts, Line};
use super::post::{LONG_BYTES, Letter, Told};
use crate::broker::{Broker, Outgoing};
use crate::deflate::Arrived;
use crate::dress::Payload;
use crate::reactor::question::TooManyTags;
use crate::roster::{Receivers, TagChange};
use crate::session::Farewell;

impl Events {
    /// Tells all that waits in a line. Whatever is left when the server ends is counted.
    pub(super) async fn empty(&self, line: Arc<Line>) {
        tokio::select! {
            () = self.empty_in_order(&line) => {}
            () = self.last_words() => {
                let lost = line.give_up() + 1;
                self.house().counters.events_lost.add(lost);
            }
        }
    }

    async fn empty_in_order(&self, line: &Arc<Line>) {
        while let Some(entry) = line.next() {
            match &entry {
                Entry::Message {
                    sequence,
                    arrived,
                    at,
                } => {
                    let told = self.tell_message(line, *sequence, arrived, *at).await;
                    if let Err(farewell) = told {
                        self.give_up(line, farewell).await;
                    }
                }
                Entry::Disconnect { ending, at } => self.tell_disconnect(line, ending, *at).await,
            }
            line.done(&entry);
        }
    }

    /// Tells one message and does what the app says to it.
    ///
    /// # Errors
    /// With how the socket is to end because it cannot be told, or not be answered.
    async fn tell_message(
        &self,
        line: &Arc<Line>,
        sequence: u64,
        arrived: &Arrived,
        at: Timestamp,
    ) -> Result<(), Farewell> {
        let bytes_max = self.limits().event_message_bytes_max as usize;
        let facts = &line.facts;
        let letter = {
            let (facts, tags, arrived) = (facts.clone(), line.tags(), arrived.clone());
            Letter::written_by(may_be_long(&arrived), move || {
                let payload = arrived.clone().open(bytes_max)?;
                Ok(body::message(&facts, &tags, at, sequence, &payload))
            })
        };
        let told = self.tell(line.desk(), facts.gateway, |plan| plan.message, &letter);
        let answer = match told.await {
            Told::NotAsked => return Ok(()),
            Told::Failed(failure) => {
                if let Some(violation) = failure.violation {
                    return Err(Farewell::new(violation.code, violation.reason));
                }
                let gateway = facts.gateway;
                tracing::info!(%gateway, error = failure.text, "a gateway's app was not told of a message");
                return Err(Farewell::APP_SILENT);
            }
            Told::Answered(answer) => answer,
        };
        let answer = OfMessage::read(&answer, self.limits());
        let answer = answer.map_err(|fault| misunderstood(facts, &fault))?;
        let OfMessage { add, remove, reply } = answer;
        if !add.is_empty() || !remove.is_empty() {
            self.retag(facts, TagChange::Edit { add, remove }).await?;
        }
        match reply {
            Some(reply) => self.reply(facts, &reply).await,
            None => Ok(()),
        }
    }

    /// Changes the tags of a socket, which may be gone by now.
    async fn retag(&self, facts: &Facts, change: TagChange) -> Result<(), Farewell> {
        let retagged = self
            .house()
            .hub
            .retag(facts.gateway, facts.id, change)
            .await;
        match retagged {
            Ok(Some(Err(TooManyTags))) => {
                let most = self.limits().tags_per_socket_max;
                let fault = format!("The socket would have more than {most} tags.");
                Err(misunderstood(facts, &Fault(fault)))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Farewell::GOING_AWAY),
        }
    }

    /// Sends a message to the one socket.
    async fn reply(&self, facts: &Facts, reply: &Payload) -> Result<(), Farewell> {
        let outgoing = Outgoing {
            gateway: facts.gateway,
            to: Receivers {
                sockets: vec![facts.id],
                ..Receivers::default()
            },
            kind: reply.kind,
            payload: &reply.bytes,
            history: None,
        };
        let sent = self.house().broker.publish(outgoing).await;
        sent.map(drop).map_err(|_| Farewell::FLOODED)
    }

    async fn tell_disconnect(&self, line: &Line, ending: &Ending, at: Timestamp) {
        let facts = &line.facts;
        let letter = Letter::new(body::disconnect(facts, &line.tags(), at, ending));
        let told = self.tell(line.desk(), facts.gateway, |plan| plan.disconnect, &letter);
        if let Told::Failed(failure) = told.await {
            self.house().counters.events_lost.add(1);
            let gateway = facts.gateway;
            tracing::info!(%gateway, error = failure.text, "a gateway's app was not told of a disconnect");
        }
    }

    /// Ends a socket about which not everything can be told.
    async fn give_up(&self, line: &Line, farewell: Farewell) {
        let lost = line.give_up() + 1;
        let counters = &self.house().counters;
        counters.events_lost.add(lost);
        counters.event_closes.add(1);
        let Facts { gateway, id, .. } = line.facts;
        // It may be gone by now.
        let _ = self.house().hub.end(gateway, id, farewell).await;
    }
}

/// Whether a message may say so much that writing it down takes long. What is compressed may say a thousand times as
/// much as it has bytes.
fn may_be_long(arrived: &Arrived) -> bool {
    const COMPRESSED_BYTES: usize = LONG_BYTES / 1_024;
    let most = match arrived.compressed {
        true => COMPRESSED_BYTES,
        false => LONG_BYTES,
    };
    arrived.bytes.len() > most
}

fn misunderstood(facts: &Facts, Fault(fault): &Fault) -> Farewell {
    let gateway = facts.gateway;
    tracing::info!(%gateway, fault, "an answer of a gateway's app was not understood");
    Farewell::APP_UNCLEAR
}
