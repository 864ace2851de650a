//! The connected sockets of one gateway on one reactor, and the rule of who receives what (`mws.md` §4).
//!
//! Publishing to a tag costs its receivers, not the population: a tag knows its sockets, a socket knows where
//! it stands in each of its tags, so that leaving costs its own tags and nothing else.

use std::collections::HashMap;
use std::sync::Arc;

use pilvi_model::Timestamp;
use slab::Slab;

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

#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: Slab<Entry>,
    by_id: HashMap<SocketId, u32>,
    tags: Slab<Tag>,
    by_tag: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct Entry {
    id: SocketId,
    connected_at: Timestamp,
    /// The socket's key on its reactor.
    socket: u32,
    memberships: Box<[Membership]>,
}

/// One tag of a socket, and its place among the tag's members.
#[derive(Clone, Copy, Debug)]
struct Membership {
    tag: u32,
    place: u32,
}

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    members: Vec<Member>,
}

/// One socket of a tag, and which of its memberships this is.
#[derive(Clone, Copy, Debug)]
struct Member {
    entry: u32,
    membership: u32,
}

impl Receivers {
    /// What it takes of memory while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let tags = self.tags.iter().map(|tag| size_of::<String>() + tag.len());
        self.sockets.len() * size_of::<SocketId>() + tags.sum::<usize>()
    }
}

impl Roster {
    /// Adds a socket and says where it is; `tags` holds none twice.
    pub(crate) fn insert(&mut self, connected: Connected, socket: u32) -> u32 {
        let entry = narrow(self.entries.vacant_key());
        let memberships = connected
            .tags
            .into_iter()
            .enumerate()
            .map(|(membership, name)| {
                let tag = *self.by_tag.entry(name).or_insert_with_key(|name| {
                    narrow(self.tags.insert(Tag {
                        name: name.clone(),
                        members: Vec::new(),
                    }))
                });
                let members = &mut self.tags[tag as usize].members;
                members.push(Member {
                    entry,
                    membership: narrow(membership),
                });
                Membership {
                    tag,
                    place: narrow(members.len() - 1),
                }
            })
            .collect();
        self.entries.insert(Entry {
            id: connected.id,
            connected_at: connected.connected_at,
            socket,
            memberships,
        });
        self.by_id.insert(connected.id, entry);
        entry
    }

    /// Takes a socket out.
    pub(crate) fn remove(&mut self, entry: u32) {
        let entry = self.entries.remove(entry as usize);
        self.by_id.remove(&entry.id);
        for membership in &entry.memberships {
            self.leave_tag(*membership);
        }
    }

    fn leave_tag(&mut self, Membership { tag, place }: Membership) {
        let members = &mut self.tags[tag as usize].members;
        members.swap_remove(place as usize);
        if let Some(moved) = members.get(place as usize) {
            let entry = &mut self.entries[moved.entry as usize];
            entry.memberships[moved.membership as usize].place = place;
        } else if members.is_empty() {
            let tag = self.tags.remove(tag as usize);
            self.by_tag.remove(&tag.name);
        }
    }

    /// Calls `give` with every socket that a message is for, with some more than once.
    pub(crate) fn route(&self, to: &Receivers, mut give: impl FnMut(u32)) {
        if to.everyone {
            return self.sockets().for_each(give);
        }
        for id in &to.sockets {
            if let Some(socket) = self.socket(*id) {
                give(socket);
            }
        }
        for name in &to.tags {
            if let Some(tag) = self.by_tag.get(name.as_str()) {
                for member in &self.tags[*tag as usize].members {
                    give(self.entries[member.entry as usize].socket);
                }
            }
        }
    }

    pub(crate) fn find(&self, id: SocketId) -> Option<Connected> {
        let entry = self.by_id.get(&id)?;
        Some(self.describe(&self.entries[*entry as usize]))
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

    /// The key of a socket on its reactor.
    pub(crate) fn socket(&self, id: SocketId) -> Option<u32> {
        let entry = self.by_id.get(&id)?;
        Some(self.entries[*entry as usize].socket)
    }

    /// The keys of all sockets.
    pub(crate) fn sockets(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|(_, entry)| entry.socket)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn describe(&self, entry: &Entry) -> Connected {
        let memberships = entry.memberships.iter();
        Connected {
            id: entry.id,
            connected_at: entry.connected_at,
            tags: memberships
                .map(|membership| self.tags[membership.tag as usize].name.clone())
                .collect(),
        }
    }
}

/// Half the memory for what there are millions of.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("there are less than four billion sockets and tags")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    struct Socket {
        id: SocketId,
        entry: u32,
        key: u32,
    }

    fn join(roster: &mut Roster, key: u32, tags: &[&str]) -> Socket {
        let id = SocketId::random();
        let connected = Connected {
            id,
            tags: tags.iter().map(|tag| Arc::from(*tag)).collect(),
            connected_at: Timestamp::from_millis(1),
        };
        let entry = roster.insert(connected, key);
        Socket { id, entry, key }
    }

    fn to_tags(tags: &[&str]) -> Receivers {
        Receivers {
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Receivers::default()
        }
    }

    fn routed(roster: &Roster, to: &Receivers) -> Vec<u32> {
        let mut sockets = BTreeSet::new();
        roster.route(to, |socket| {
            sockets.insert(socket);
        });
        sockets.into_iter().collect()
    }

    #[test]
    fn the_routing_rule() {
        let mut roster = Roster::default();
        let red = join(&mut roster, 10, &["red"]);
        let both = join(&mut roster, 20, &["red", "blue"]);
        let plain = join(&mut roster, 30, &[]);
        let everyone = Receivers {
            everyone: true,
            ..to_tags(&["red"])
        };
        let by_id = |ids: &[SocketId], tags: &[&str]| Receivers {
            sockets: ids.to_vec(),
            ..to_tags(tags)
        };
        let rows: [(&str, Receivers, &[u32]); 11] = [
            ("nobody", Receivers::default(), &[]),
            ("everyone", everyone, &[10, 20, 30]),
            ("one tag", to_tags(&["red"]), &[10, 20]),
            ("two tags", to_tags(&["red", "blue"]), &[10, 20]),
            ("the same tag twice", to_tags(&["blue", "blue"]), &[20]),
            ("an unknown tag", to_tags(&["green"]), &[]),
            ("tags are exact text", to_tags(&["Red", "red ", ""]), &[]),
            ("a star among tags is like any other", to_tags(&["*"]), &[]),
            ("ids", by_id(&[plain.id, plain.id, red.id], &[]), &[10, 30]),
            ("an id and a tag", by_id(&[both.id], &["blue"]), &[20]),
            ("an unknown id", by_id(&[SocketId::random()], &[]), &[]),
        ];
        for (name, to, expected) in rows {
            assert_eq!(routed(&roster, &to), expected, "{name}");
        }
    }

    #[test]
    fn leaving_keeps_the_tags_of_the_others_right() {
        let mut roster = Roster::default();
        let mut sockets: Vec<Socket> = (0..6)
            .map(|key| {
                let own = format!("own{key}");
                let parity = if key % 2 == 0 { "even" } else { "odd" };
                join(&mut roster, key, &["all", &own, parity])
            })
            .collect();
        for leaver in [0, 3, 1] {
            roster.remove(sockets.remove(leaver).entry);
            let keys: Vec<u32> = sockets.iter().map(|socket| socket.key).collect();
            let (even, odd): (Vec<u32>, Vec<u32>) = keys.iter().partition(|key| **key % 2 == 0);
            assert_eq!(routed(&roster, &to_tags(&["all"])), keys);
            assert_eq!(routed(&roster, &to_tags(&["even"])), even);
            assert_eq!(routed(&roster, &to_tags(&["odd"])), odd);
        }
        for gone in sockets {
            roster.remove(gone.entry);
            assert!(roster.find(gone.id).is_none());
        }
        assert!(roster.is_empty() && roster.tags.is_empty() && roster.by_tag.is_empty());
    }

    #[test]
    fn pages_cover_every_socket_once() {
        let mut roster = Roster::default();
        for key in 0..5 {
            join(&mut roster, key, &["t"]);
        }
        let seen: BTreeSet<SocketId> = [(0, 2), (2, 2), (4, 2), (6, 2)]
            .into_iter()
            .flat_map(|(offset, limit)| roster.page(offset, limit))
            .map(|socket| socket.id)
            .collect();
        assert_eq!(seen.len(), 5);
        assert_eq!(&*roster.page(0, 1)[0].tags[0], "t");
    }
}
