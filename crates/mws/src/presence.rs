//! Who is there: the members of the tags that a gateway says it of.
//!
//! A member is a connected socket that has the tag. Lists are made of what the reactors know at the moment somebody
//! asks, so there is nothing to be kept and nothing that could be wrong. What changes is noted here by the reactors and
//! told to the tag's own sockets a moment later: many changes are one message, and who leaves and comes back meanwhile
//! has not been away.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pilvi_base::TaskGroup;
use pilvi_base::secret::{hex, sha256};
use pilvi_model::{GatewayId, Timestamp};
use serde::{Serialize, Serializer};
use tokio::sync::Notify;

use crate::broker::{Broker, Local, Outgoing};
use crate::dress::Kind;
use crate::hub::Hub;
use crate::roster::{Connected, Receivers};
use crate::socket_id::SocketId;

/// How long changes gather before a tag's sockets hear of them.
const GATHER: Duration = Duration::from_millis(250);

/// How many members one message names of those who came, and of those who went.
const NAMED_MAX: usize = 50;

/// Of how many tags of a gateway changes may gather. Changes of others are not told; lists and counts are right anyway.
const TAGS_MAX: usize = 10_000;

/// A tag whose name begins so is a user's own.
const USER: &str = "users.";

/// The name of a member for others: it says nothing of the socket's id, by which the socket can be written to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct MemberId([u8; 12]);

impl MemberId {
    pub(crate) fn of(socket: SocketId) -> Self {
        let mut hashed = b"member:".to_vec();
        hashed.extend_from_slice(socket.as_bytes());
        let hash = sha256(&hashed);
        Self(*hash.first_chunk().expect("a hash is longer"))
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A socket as the other members of its tag see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// Whose the socket is, where that is known.
    pub(crate) user: Option<Arc<str>>,
    /// Since when the socket is connected.
    pub(crate) since: Timestamp,
}

impl Member {
    pub(crate) fn of(socket: &Connected) -> Self {
        Self {
            id: MemberId::of(socket.id),
            user: user_of(&socket.tags).map(Arc::from),
            since: socket.connected_at,
        }
    }
}

/// The user whose own tag is among these.
pub(crate) fn user_of(tags: &[Arc<str>]) -> Option<&str> {
    tags.iter().find_map(|tag| tag.strip_prefix(USER))
}

impl Serialize for Member {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            id: MemberId,
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<&'a str>,
            since: String,
        }
        let shown = Shown {
            id: self.id,
            user: self.user.as_deref(),
            since: self.since.to_string(),
        };
        shown.serialize(serializer)
    }
}

/// What changed in a tag since its sockets were told last. Nobody is on both lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    joined: Vec<Member>,
    left: Vec<Member>,
    /// There were more than are named.
    more: bool,
}

impl News {
    fn join(&mut self, member: Member) {
        pair(&mut self.left, &mut self.joined, member, &mut self.more);
    }

    fn leave(&mut self, member: Member) {
        pair(&mut self.joined, &mut self.left, member, &mut self.more);
    }

    fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty() && !self.more
    }

    /// The text that the tag's sockets get.
    fn text(&self, tag: &str, count: usize) -> String {
        #[derive(Serialize)]
        struct Message<'a> {
            presence: Told<'a>,
        }
        #[derive(Serialize)]
        struct Told<'a> {
            tag: &'a str,
            joined: &'a [Member],
            left: &'a [Member],
            count: usize,
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            more: bool,
        }
        let message = Message {
            presence: Told {
                tag,
                joined: &self.joined,
                left: &self.left,
                count,
                more: self.more,
            },
        };
        serde_json::to_string(&message).expect("it is made of texts and numbers")
    }
}

#[cfg(test)]
impl News {
    pub(crate) fn joined(&self) -> Vec<MemberId> {
        self.joined.iter().map(|member| member.id).collect()
    }

    pub(crate) fn left(&self) -> Vec<MemberId> {
        self.left.iter().map(|member| member.id).collect()
    }
}

/// Puts a member on one list unless it is on the other, where it goes out: for the others nothing happened.
fn pair(undone: &mut Vec<Member>, noted: &mut Vec<Member>, member: Member, more: &mut bool) {
    if let Some(place) = undone.iter().position(|other| other.id == member.id) {
        undone.remove(place);
    } else if noted.len() < NAMED_MAX {
        noted.push(member);
    } else {
        *more = true;
    }
}

/// What is to be told. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// A plain mutex, held for one note.
    gathered: Mutex<Gathered>,
    /// Rung when a gateway has begun.
    bell: Notify,
}

#[derive(Debug, Default)]
struct Gathered {
    /// A gateway is here while its changes gather and are told.
    gateways: HashMap<GatewayId, HashMap<Arc<str>, News>>,
    /// Those of them that nobody tells of yet.
    begun: Vec<GatewayId>,
}

impl Presence {
    pub(crate) fn joined(&self, gateway: GatewayId, tag: &Arc<str>, member: Member) {
        self.note(gateway, tag, |news| news.join(member));
    }

    pub(crate) fn left(&self, gateway: GatewayId, tag: &Arc<str>, member: Member) {
        self.note(gateway, tag, |news| news.leave(member));
    }

    fn note(&self, gateway: GatewayId, tag: &Arc<str>, note: impl FnOnce(&mut News)) {
        let mut gathered = self.gathered();
        let Gathered { gateways, begun } = &mut *gathered;
        let tags = match gateways.entry(gateway) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                begun.push(gateway);
                self.shared.bell.notify_one();
                free.insert(HashMap::new())
            }
        };
        if tags.len() < TAGS_MAX || tags.contains_key(tag) {
            note(tags.entry(Arc::clone(tag)).or_default());
        }
    }

    /// What is to be told now. `None`: nothing any more, and the next change begins anew.
    pub(crate) fn take(&self, gateway: GatewayId) -> Option<Vec<(Arc<str>, News)>> {
        let mut gathered = self.gathered();
        let tags = gathered.gateways.get_mut(&gateway)?;
        if tags.is_empty() {
            gathered.gateways.remove(&gateway);
            return None;
        }
        let taken = std::mem::take(tags).into_iter();
        Some(taken.filter(|(_, news)| !news.is_empty()).collect())
    }

    fn take_begun(&self) -> Vec<GatewayId> {
        std::mem::take(&mut self.gathered().begun)
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        let gathered = &self.shared.gathered;
        gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what changes until the service stops. Gateways do not wait for each other.
    pub(crate) async fn keep_telling(self, hub: Hub, broker: Local, tasks: TaskGroup) {
        loop {
            tokio::select! {
                () = tasks.stopping() => return,
                () = self.shared.bell.notified() => {}
            }
            for gateway in self.take_begun() {
                let telling = self.clone().tell(gateway, hub.clone(), broker.clone());
                let stopping = tasks.clone();
                tasks.spawn("mws presence of a gateway", async move {
                    tokio::select! {
                        () = stopping.stopping() => {}
                        () = telling => {}
                    }
                });
            }
        }
    }

    /// Tells a gateway's changes as long as there are some, in their order.
    async fn tell(self, gateway: GatewayId, hub: Hub, broker: Local) {
        loop {
            tokio::time::sleep(GATHER).await;
            let Some(changed) = self.take(gateway) else {
                return;
            };
            if let Err(error) = publish(gateway, &changed, &hub, &broker).await {
                // The next message has the right count again, and the list is always right.
                tracing::debug!(%gateway, %error, "who came and went was not told");
            }
        }
    }
}

/// Publishes the changes of each tag that still has somebody to hear of them.
async fn publish(
    gateway: GatewayId,
    changed: &[(Arc<str>, News)],
    hub: &Hub,
    broker: &Local,
) -> pilvi_model::Result<()> {
    let tags = changed.iter().map(|(tag, _)| Arc::clone(tag)).collect();
    let counts = hub.count(gateway, tags).await?;
    for ((tag, news), count) in changed.iter().zip(counts) {
        if count == 0 {
            continue;
        }
        let text = news.text(tag, count);
        let message = Outgoing {
            gateway,
            to: Receivers {
                tags: vec![tag.to_string()],
                ..Receivers::default()
            },
            kind: Kind::Text,
            payload: text.as_bytes(),
            // Who came and went is no news to whoever comes later.
            history: None,
        };
        broker.publish(message).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn member(number: u8) -> Member {
        Member {
            id: MemberId([number; 12]),
            user: (number % 2 == 1).then(|| Arc::from("alice")),
            since: Timestamp::from_millis(1_000),
        }
    }

    fn gateway(number: u8) -> GatewayId {
        GatewayId::from_bytes([number; 12])
    }

    #[test]
    fn who_comes_and_goes_meanwhile_was_not_there_and_who_goes_and_comes_was_not_away() {
        let mut news = News::default();
        news.join(member(1));
        news.leave(member(1));
        news.leave(member(2));
        news.join(member(2));
        assert!(news.is_empty());
        news.join(member(3));
        news.leave(member(4));
        assert_eq!((news.joined, news.left), (vec![member(3)], vec![member(4)]));
    }

    #[test]
    fn a_message_names_some_and_says_that_there_are_more() {
        let mut news = News::default();
        news.join(member(1));
        news.leave(member(2));
        let text: Value = serde_json::from_str(&news.text("room \"1\"", 7)).unwrap();
        let hex = |byte: &str| byte.repeat(12);
        let since = "1970-01-01T00:00:01Z";
        assert_eq!(
            text,
            json!({"presence": {
                "tag": "room \"1\"",
                "joined": [{"id": hex("01"), "user": "alice", "since": since}],
                "left": [{"id": hex("02"), "since": since}],
                "count": 7,
            }})
        );
        for number in 0..100 {
            news.join(member(number));
        }
        let text: Value = serde_json::from_str(&news.text("t", 100)).unwrap();
        assert_eq!(
            text["presence"]["joined"].as_array().unwrap().len(),
            NAMED_MAX
        );
        assert_eq!(text["presence"]["more"], json!(true));
    }

    #[test]
    fn each_gateway_begins_once_for_all_that_gathers() {
        let presence = Presence::default();
        let tag: Arc<str> = Arc::from("room");
        presence.joined(gateway(1), &tag, member(1));
        presence.joined(gateway(1), &tag, member(2));
        presence.joined(gateway(2), &tag, member(3));
        assert_eq!(presence.take_begun(), [gateway(1), gateway(2)]);

        let told = presence.take(gateway(1)).unwrap();
        assert_eq!(told[0].1.joined, [member(1), member(2)]);
        presence.left(gateway(1), &tag, member(1));
        assert_eq!(presence.take_begun(), [], "whoever tells looks again");
        assert_eq!(presence.take(gateway(1)).unwrap()[0].1.left, [member(1)]);
        assert_eq!(presence.take(gateway(1)), None);
        presence.left(gateway(1), &tag, member(2));
        assert_eq!(presence.take_begun(), [gateway(1)]);
    }

    #[test]
    fn what_gathers_is_bounded() {
        let presence = Presence::default();
        for number in 0..TAGS_MAX + 10 {
            let tag: Arc<str> = Arc::from(number.to_string());
            presence.joined(gateway(1), &tag, member(1));
        }
        presence.joined(gateway(1), &Arc::from("0"), member(2));
        let told = presence.take(gateway(1)).unwrap();
        assert_eq!(told.len(), TAGS_MAX);
        let known = told.iter().find(|(tag, _)| **tag == *"0").unwrap();
        assert_eq!(known.1.joined.len(), 2);
    }

    #[test]
    fn the_name_of_a_member_does_not_tell_its_socket() {
        let socket = SocketId::random();
        let id = MemberId::of(socket).to_string();
        assert_eq!(id.len(), 24);
        assert_eq!(id, MemberId::of(socket).to_string());
        assert!(!socket.to_string().contains(&id));
    }
}
