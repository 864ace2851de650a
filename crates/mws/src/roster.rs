//! The connected sockets of one gateway and the rule of who receives what (`mws.md` §4).
//!
//! Publishing to a tag costs its receivers, not the population: a tag knows its sockets, a socket knows where
//! it stands in each of its tags, so that leaving costs its own tags and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use pilvi_model::Timestamp;
use slab::Slab;

use crate::outbox::{Delivery, Farewell, Outbox};
use crate::socket_id::SocketId;

/// Whom a message is for: a socket that any of the three names gets it, once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receivers {
    pub(crate) everyone: bool,
    pub(crate) sockets: Vec<SocketId>,
    pub(crate) tags: Vec<String>,
}

/// A connected socket, as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connected {
    pub(crate) id: SocketId,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) connected_at: Timestamp,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) queued: usize,
    /// Sockets that had too much waiting and are out now.
    pub(crate) overflowed: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: Slab<Entry>,
    by_id: HashMap<SocketId, usize>,
    tags: Slab<Tag>,
    by_tag: HashMap<Arc<str>, usize>,
    /// Counts publishes; an entry marked with the current round has had the message.
    round: u64,
}

#[derive(Debug)]
struct Entry {
    id: SocketId,
    connected_at: Timestamp,
    outbox: Arc<Outbox>,
    round: u64,
    memberships: Box<[Membership]>,
}

/// One tag of a socket, and its place among the tag's members.
#[derive(Clone, Copy, Debug)]
struct Membership {
    tag: usize,
    place: usize,
}

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    members: Vec<Member>,
}

/// One socket of a tag, and which of its memberships this is.
#[derive(Clone, Copy, Debug)]
struct Member {
    entry: usize,
    membership: usize,
}

impl Roster {
    /// Adds a socket; `tags` holds none twice.
    pub(crate) fn insert(&mut self, socket: Connected, outbox: Arc<Outbox>) -> usize {
        let vacant = self.entries.vacant_key();
        let memberships = socket
            .tags
            .into_iter()
            .enumerate()
            .map(|(membership, name)| {
                let tag = *self.by_tag.entry(name).or_insert_with_key(|name| {
                    self.tags.insert(Tag {
                        name: name.clone(),
                        members: Vec::new(),
                    })
                });
                let members = &mut self.tags[tag].members;
                members.push(Member {
                    entry: vacant,
                    membership,
                });
                Membership {
                    tag,
                    place: members.len() - 1,
                }
            })
            .collect();
        let key = self.entries.insert(Entry {
            id: socket.id,
            connected_at: socket.connected_at,
            outbox,
            round: self.round,
            memberships,
        });
        debug_assert_eq!(key, vacant);
        self.by_id.insert(socket.id, key);
        key
    }

    /// Takes a socket out. Nothing happens when it is out already, even if its key serves another by now.
    pub(crate) fn remove(&mut self, key: usize, id: SocketId) -> Option<Arc<Outbox>> {
        if self.entries.get(key)?.id != id {
            return None;
        }
        let entry = self.entries.remove(key);
        self.by_id.remove(&id);
        for membership in &entry.memberships {
            self.leave_tag(*membership);
        }
        Some(entry.outbox)
    }

    fn leave_tag(&mut self, Membership { tag, place }: Membership) {
        let members = &mut self.tags[tag].members;
        members.swap_remove(place);
        if let Some(moved) = members.get(place) {
            self.entries[moved.entry].memberships[moved.membership].place = place;
        } else if members.is_empty() {
            let tag = self.tags.remove(tag);
            self.by_tag.remove(&tag.name);
        }
    }

    /// Queues `frame` for every receiver, each once. Who overflows is out at once.
    pub(crate) fn publish(&mut self, receivers: &Receivers, frame: &Bytes) -> Reach {
        self.round += 1;
        let mut sending = Sending {
            round: self.round,
            frame,
            reach: Reach::default(),
            overflowed: Vec::new(),
        };
        if receivers.everyone {
            for (key, entry) in &mut self.entries {
                sending.send(key, entry);
            }
        } else {
            for id in &receivers.sockets {
                if let Some(key) = self.by_id.get(id) {
                    sending.send(*key, &mut self.entries[*key]);
                }
            }
            for name in &receivers.tags {
                if let Some(tag) = self.by_tag.get(name.as_str()) {
                    for member in &self.tags[*tag].members {
                        sending.send(member.entry, &mut self.entries[member.entry]);
                    }
                }
            }
        }
        let Sending {
            reach, overflowed, ..
        } = sending;
        for (key, id) in overflowed {
            self.remove(key, id);
        }
        reach
    }

    pub(crate) fn find(&self, id: SocketId) -> Option<Connected> {
        let key = self.by_id.get(&id)?;
        Some(self.describe(&self.entries[*key]))
    }

    /// Sockets in an order that stays while they do.
    pub(crate) fn page(&self, offset: usize, limit: usize) -> Vec<Connected> {
        self.entries
            .iter()
            .skip(offset)
            .take(limit)
            .map(|(_, entry)| self.describe(entry))
            .collect()
    }

    /// Takes a socket out and tells it to end.
    pub(crate) fn end(&mut self, id: SocketId, farewell: Farewell) -> bool {
        let outbox = match self.by_id.get(&id) {
            Some(key) => self.remove(*key, id),
            None => None,
        };
        if let Some(outbox) = &outbox {
            outbox.end(farewell);
        }
        outbox.is_some()
    }

    /// Tells every socket to end.
    pub(crate) fn end_all(&self, farewell: Farewell) {
        for (_, entry) in &self.entries {
            entry.outbox.end(farewell);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn describe(&self, entry: &Entry) -> Connected {
        Connected {
            id: entry.id,
            connected_at: entry.connected_at,
            tags: entry
                .memberships
                .iter()
                .map(|membership| self.tags[membership.tag].name.clone())
                .collect(),
        }
    }
}

/// One publish on its way through the receivers.
struct Sending<'a> {
    round: u64,
    frame: &'a Bytes,
    reach: Reach,
    overflowed: Vec<(usize, SocketId)>,
}

impl Sending<'_> {
    fn send(&mut self, key: usize, entry: &mut Entry) {
        if entry.round == self.round {
            return;
        }
        entry.round = self.round;
        match entry.outbox.push(self.frame.clone()) {
            Delivery::Queued => self.reach.queued += 1,
            Delivery::Ended => {}
            Delivery::Overflowed => {
                self.reach.overflowed += 1;
                self.overflowed.push((key, entry.id));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::limits::Limits;

    struct Socket {
        id: SocketId,
        key: usize,
        outbox: Arc<Outbox>,
    }

    impl Socket {
        fn received(&self) -> Vec<Bytes> {
            let mut batch = VecDeque::new();
            self.outbox.take_batch(&mut batch, 1000, 1 << 20);
            batch.into()
        }
    }

    fn join(roster: &mut Roster, tags: &[&str]) -> Socket {
        let limits = Limits {
            queue_messages_max: 3,
            ..Limits::default()
        };
        let outbox = Arc::new(Outbox::new(&limits));
        let id = SocketId::random();
        let socket = Connected {
            id,
            tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
            connected_at: Timestamp::from_millis(1),
        };
        let key = roster.insert(socket, outbox.clone());
        Socket { id, key, outbox }
    }

    fn to_tags(tags: &[&str]) -> Receivers {
        Receivers {
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Receivers::default()
        }
    }

    fn publish(roster: &mut Roster, receivers: &Receivers) -> usize {
        roster.publish(receivers, &Bytes::from_static(b"x")).queued
    }

    #[test]
    fn the_routing_rule() {
        let mut roster = Roster::default();
        let red = join(&mut roster, &["red"]);
        let both = join(&mut roster, &["red", "blue"]);
        let plain = join(&mut roster, &[]);
        let all = [&red, &both, &plain];
        let everyone = Receivers {
            everyone: true,
            ..to_tags(&["red"])
        };
        let by_id = |ids: &[SocketId], tags: &[&str]| Receivers {
            sockets: ids.to_vec(),
            ..to_tags(tags)
        };
        let rows: [(&str, Receivers, [usize; 3]); 12] = [
            ("nobody", Receivers::default(), [0, 0, 0]),
            ("everyone, once", everyone, [1, 1, 1]),
            ("one tag", to_tags(&["red"]), [1, 1, 0]),
            (
                "two tags, each socket once",
                to_tags(&["red", "blue"]),
                [1, 1, 0],
            ),
            ("the same tag twice", to_tags(&["blue", "blue"]), [0, 1, 0]),
            ("an unknown tag", to_tags(&["green"]), [0, 0, 0]),
            (
                "tags are exact text",
                to_tags(&["Red", "red ", ""]),
                [0, 0, 0],
            ),
            (
                "a star among tags is a tag like any other",
                to_tags(&["*"]),
                [0, 0, 0],
            ),
            ("one id", by_id(&[plain.id], &[]), [0, 0, 1]),
            (
                "the same id twice",
                by_id(&[plain.id, plain.id], &[]),
                [0, 0, 1],
            ),
            (
                "an id and a tag of the same socket",
                by_id(&[both.id], &["blue"]),
                [0, 1, 0],
            ),
            (
                "an unknown id",
                by_id(&[SocketId::random()], &[]),
                [0, 0, 0],
            ),
        ];
        for (name, receivers, expected) in rows {
            let reached = publish(&mut roster, &receivers);
            let received = all.map(|socket| socket.received().len());
            assert_eq!(received, expected, "{name}");
            assert_eq!(reached, expected.iter().sum::<usize>(), "{name}");
        }
    }

    #[test]
    fn messages_keep_their_order() {
        let mut roster = Roster::default();
        let socket = join(&mut roster, &["a"]);
        for text in ["1", "2", "3"] {
            roster.publish(&to_tags(&["a"]), &Bytes::from(text));
        }
        assert_eq!(socket.received(), ["1", "2", "3"]);
    }

    #[test]
    fn leaving_keeps_the_tags_of_the_others_right() {
        let mut roster = Roster::default();
        let mut sockets: Vec<Socket> = (0..6)
            .map(|number| {
                let own = format!("own{number}");
                join(
                    &mut roster,
                    &["all", &own, if number % 2 == 0 { "even" } else { "odd" }],
                )
            })
            .collect();
        for leaver in [0, 3, 1] {
            let gone = sockets.remove(leaver);
            assert!(roster.remove(gone.key, gone.id).is_some());
            assert_eq!(publish(&mut roster, &to_tags(&["all"])), sockets.len());
            let even = publish(&mut roster, &to_tags(&["even"]));
            let odd = publish(&mut roster, &to_tags(&["odd"]));
            assert_eq!(even + odd, sockets.len());
            assert!(gone.received().is_empty());
            assert!(sockets.iter().all(|socket| socket.received().len() == 2));
        }
        for gone in sockets {
            roster.remove(gone.key, gone.id);
        }
        assert!(roster.is_empty() && roster.tags.is_empty() && roster.by_tag.is_empty());
    }

    #[test]
    fn a_key_that_serves_another_socket_by_now_is_left_alone() {
        let mut roster = Roster::default();
        let first = join(&mut roster, &[]);
        assert!(roster.end(first.id, Farewell::NORMAL));
        let second = join(&mut roster, &[]);
        assert_eq!(first.key, second.key);
        assert!(roster.remove(first.key, first.id).is_none());
        assert!(roster.find(second.id).is_some());
        assert!(!roster.end(first.id, Farewell::NORMAL));
    }

    #[test]
    fn a_newcomer_does_not_inherit_the_mark_of_the_current_round() {
        let mut roster = Roster::default();
        join(&mut roster, &["a"]);
        publish(&mut roster, &to_tags(&["a"]));
        let late = join(&mut roster, &["a"]);
        assert_eq!(publish(&mut roster, &to_tags(&["a"])), 2);
        assert_eq!(late.received().len(), 1);
    }

    #[test]
    fn who_overflows_is_out_and_the_others_are_not() {
        let mut roster = Roster::default();
        let slow = join(&mut roster, &["a"]);
        let quick = join(&mut roster, &["a"]);
        for _ in 0..3 {
            publish(&mut roster, &to_tags(&["a"]));
            quick.received();
        }
        let reach = roster.publish(&to_tags(&["a"]), &Bytes::from_static(b"x"));
        assert_eq!(
            reach,
            Reach {
                queued: 1,
                overflowed: 1
            }
        );
        assert!(roster.find(slow.id).is_none());
        assert!(roster.find(quick.id).is_some());
        assert_eq!(publish(&mut roster, &to_tags(&["a"])), 1);
    }

    #[test]
    fn pages_cover_every_socket_once() {
        let mut roster = Roster::default();
        for _ in 0..5 {
            join(&mut roster, &["t"]);
        }
        let mut seen: Vec<SocketId> = [(0, 2), (2, 2), (4, 2), (6, 2)]
            .into_iter()
            .flat_map(|(offset, limit)| roster.page(offset, limit))
            .map(|socket| socket.id)
            .collect();
        assert_eq!(seen.len(), 5);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
        assert_eq!(&*roster.page(0, 1)[0].tags[0], "t");
    }
}
