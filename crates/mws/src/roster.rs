//! The connected sockets of one gateway on one reactor, and the rule of who receives what (`mws.md` §4).
//!
//! Publishing to a tag costs its receivers, not the population: a tag knows its sockets, a socket knows where
//! it stands in each of its tags, so that leaving costs its own tags and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use pilvi_model::{GatewayId, Timestamp};
use slab::Slab;

use crate::presence::{Member as Visible, Presence};
use crate::settings::presence::PresencePlan;
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

/// What becomes of a socket's tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TagChange {
    /// It has these and no others.
    Replace(Vec<Arc<str>>),
    /// It has some more and some less. Who is on both lists is added.
    Edit {
        add: Vec<Arc<str>>,
        remove: Vec<Arc<str>>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    entries: Slab<Entry>,
    by_id: HashMap<SocketId, u32>,
    tags: Slab<Tag>,
    by_tag: HashMap<Arc<str>, u32>,
    /// Absent where nobody is told who is there.
    watch: Option<Box<Watch>>,
}

/// Notes who comes to some tags and who leaves them.
#[derive(Debug)]
struct Watch {
    gateway: GatewayId,
    plan: Arc<PresencePlan>,
    presence: Presence,
    /// The tags that it is about, in their order.
    tags: BTreeMap<Arc<str>, u32>,
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

impl TagChange {
    /// The tags of a socket that has these now; none twice.
    pub(crate) fn apply(&self, tags: &[Arc<str>]) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        match self {
            Self::Replace(tags) => changed.extend_from_slice(tags),
            Self::Edit { add, remove } => {
                let kept = tags.iter().filter(|tag| !remove.contains(tag));
                changed.extend(kept.chain(add).cloned());
            }
        }
        let mut known = HashSet::new();
        changed.retain(|tag| known.insert(Arc::clone(tag)));
        changed
    }
}

impl Roster {
    /// Adds a socket and says where it is; `tags` holds none twice.
    pub(crate) fn insert(&mut self, connected: &Connected, socket: u32) -> u32 {
        let entry = narrow(self.entries.vacant_key());
        self.entries.insert(Entry {
            id: connected.id,
            connected_at: connected.connected_at,
            socket,
            memberships: Box::default(),
        });
        self.by_id.insert(connected.id, entry);
        self.join_tags(entry, &connected.tags);
        if let Some(watch) = &self.watch {
            watch.note(connected, &connected.tags, Presence::joined);
        }
        entry
    }

    /// Takes a socket out.
    pub(crate) fn remove(&mut self, entry: u32) {
        let leaving = self.watch.is_some().then(|| self.describe(entry));
        let entry = self.entries.remove(entry as usize);
        self.by_id.remove(&entry.id);
        for membership in &entry.memberships {
            self.leave_tag(*membership);
        }
        if let (Some(watch), Some(leaving)) = (&self.watch, leaving) {
            watch.note(&leaving, &leaving.tags, Presence::left);
        }
    }

    /// Gives a socket other tags and says how it is known then.
    pub(crate) fn retag(&mut self, id: SocketId, tags: &[Arc<str>]) -> Option<Connected> {
        let entry = *self.by_id.get(&id)?;
        let before = self.describe(entry);
        for membership in std::mem::take(&mut self.entries[entry as usize].memberships) {
            self.leave_tag(membership);
        }
        self.join_tags(entry, tags);
        let after = self.describe(entry);
        if let Some(watch) = &self.watch {
            let without = |all: &[Arc<str>], others: &[Arc<str>]| -> Vec<Arc<str>> {
                let tags = all.iter().filter(|tag| !others.contains(tag));
                tags.cloned().collect()
            };
            let left = without(&before.tags, &after.tags);
            watch.note(&before, &left, Presence::left);
            let joined = without(&after.tags, &before.tags);
            watch.note(&after, &joined, Presence::joined);
        }
        Some(after)
    }

    /// Has it noted from now on who comes to the tags of `plan` and who leaves them.
    pub(crate) fn watch(
        &mut self,
        gateway: GatewayId,
        plan: Option<&Arc<PresencePlan>>,
        presence: &Presence,
    ) {
        let watched = self.watch.as_ref().map(|watch| &watch.plan);
        // Any change of a configuration makes its plan anew, mostly with the same of this in it; and finding the tags
        // takes long where there are very many.
        if watched.map(Arc::as_ptr) == plan.map(Arc::as_ptr) || watched == plan {
            return;
        }
        self.watch = plan.map(|plan| {
            let tags = self.by_tag.iter().filter(|(tag, _)| plan.matches(tag));
            Box::new(Watch {
                gateway,
                plan: Arc::clone(plan),
                presence: presence.clone(),
                tags: tags.map(|(tag, key)| (Arc::clone(tag), *key)).collect(),
            })
        });
    }

    fn join_tags(&mut self, entry: u32, tags: &[Arc<str>]) {
        let memberships = tags.iter().enumerate();
        self.entries[entry as usize].memberships = memberships
            .map(|(membership, name)| {
                let tag = match self.by_tag.get(name) {
                    Some(tag) => *tag,
                    None => self.add_tag(name),
                };
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
    }

    fn add_tag(&mut self, name: &Arc<str>) -> u32 {
        let tag = narrow(self.tags.insert(Tag {
            name: Arc::clone(name),
            members: Vec::new(),
        }));
        self.by_tag.insert(Arc::clone(name), tag);
        if let Some(watch) = &mut self.watch
            && watch.plan.matches(name)
        {
            watch.tags.insert(Arc::clone(name), tag);
        }
        tag
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
            if let Some(watch) = &mut self.watch {
                watch.tags.remove(&tag.name);
            }
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
        Some(self.describe(*entry))
    }

    /// Sockets in an order that stays while they do.
    pub(crate) fn page(&self, offset: usize, limit: usize) -> Vec<Connected> {
        self.entries
            .iter()
            .skip(offset)
            .take(limit)
            .map(|(entry, _)| self.describe(narrow(entry)))
            .collect()
    }

    /// The sockets that have a tag, in an order that stays while they do.
    pub(crate) fn members(&self, tag: &str, offset: usize, limit: usize) -> Vec<Connected> {
        let members = self.members_of(tag).iter().skip(offset).take(limit);
        members.map(|member| self.describe(member.entry)).collect()
    }

    /// How many sockets have a tag.
    pub(crate) fn count(&self, tag: &str) -> usize {
        self.members_of(tag).len()
    }

    /// The next watched tags behind `after`, with how many sockets have each.
    pub(crate) fn watched(&self, after: Option<&str>, limit: usize) -> Vec<(Arc<str>, usize)> {
        let Some(watch) = &self.watch else {
            return Vec::new();
        };
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tags = watch.tags.range::<str, _>((behind, Bound::Unbounded));
        let counted = tags.map(|(name, tag)| {
            let members = &self.tags[*tag as usize].members;
            (Arc::clone(name), members.len())
        });
        counted.take(limit).collect()
    }

    fn members_of(&self, tag: &str) -> &[Member] {
        let tag = self.by_tag.get(tag);
        tag.map_or(&[], |tag| &self.tags[*tag as usize].members)
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

    fn describe(&self, entry: u32) -> Connected {
        let entry = &self.entries[entry as usize];
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

impl Watch {
    /// Notes what a socket did with those of `tags` that it is about.
    fn note(
        &self,
        socket: &Connected,
        tags: &[Arc<str>],
        note: impl Fn(&Presence, GatewayId, &Arc<str>, Visible),
    ) {
        let mut member = None;
        for tag in tags.iter().filter(|tag| self.plan.matches(tag)) {
            let member = member.get_or_insert_with(|| Visible::of(socket));
            note(&self.presence, self.gateway, tag, member.clone());
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

    use serde_json::json;

    use super::*;
    use crate::presence::MemberId;
    use crate::settings::plan::Plan;

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
        let entry = roster.insert(&connected, key);
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

    fn ours() -> GatewayId {
        GatewayId::from_bytes([1; 12])
    }

    fn watching(roster: &mut Roster, tags: &[&str]) -> Presence {
        let presence = Presence::default();
        let plan = Plan::testing(&json!({"presence": {"tags": tags}}));
        roster.watch(ours(), plan.presence.as_ref(), &presence);
        presence
    }

    /// What would be told now: tag, who joined and who left.
    fn told(presence: &Presence) -> Vec<(String, Vec<MemberId>, Vec<MemberId>)> {
        let mut told: Vec<_> = presence
            .take(ours())
            .unwrap_or_default()
            .into_iter()
            .map(|(tag, news)| (tag.to_string(), news.joined(), news.left()))
            .collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    fn names(tags: &[&str]) -> Vec<Arc<str>> {
        tags.iter().map(|tag| Arc::from(*tag)).collect()
    }

    /// Every change of a gateway's configuration comes with another plan, and everybody who joins brings it.
    #[test]
    fn a_plan_that_says_the_same_is_no_reason_to_look_through_all_tags() {
        let mut roster = Roster::default();
        join(&mut roster, 1, &["room"]);
        let watched = |roster: &Roster| roster.watch.as_deref().map(std::ptr::from_ref);
        watching(&mut roster, &["room"]);
        let first = watched(&roster);
        watching(&mut roster, &["room"]);
        assert_eq!(watched(&roster), first);
        watching(&mut roster, &["*"]);
        join(&mut roster, 2, &["hall"]);
        assert_eq!(roster.watched(None, 9).len(), 2);
    }

    #[test]
    fn a_socket_with_other_tags_gets_what_goes_to_them_and_no_more_of_the_old() {
        let mut roster = Roster::default();
        let changed = join(&mut roster, 10, &["a", "b"]);
        let other = join(&mut roster, 20, &["a", "c"]);
        let after = roster.retag(changed.id, &names(&["c", "d"])).unwrap();
        assert_eq!(after.tags, names(&["c", "d"]));
        assert_eq!(roster.find(changed.id), Some(after));
        assert_eq!(routed(&roster, &to_tags(&["a"])), [20]);
        assert!(routed(&roster, &to_tags(&["b"])).is_empty());
        assert_eq!(routed(&roster, &to_tags(&["c"])), [10, 20]);
        assert_eq!(routed(&roster, &to_tags(&["d"])), [10]);
        roster.remove(other.entry);
        roster.retag(changed.id, &[]).unwrap();
        assert!(roster.by_tag.is_empty() && roster.tags.is_empty());
        roster.remove(changed.entry);
        assert!(roster.is_empty());
        assert_eq!(roster.retag(changed.id, &[]), None);
    }

    #[test]
    fn a_change_of_tags_names_none_twice() {
        let before = names(&["a", "b"]);
        let edit = TagChange::Edit {
            add: names(&["b", "c", "c"]),
            remove: names(&["a", "b", "x"]),
        };
        assert_eq!(edit.apply(&before), names(&["b", "c"]));
        let replace = TagChange::Replace(names(&["c", "c"]));
        assert_eq!(replace.apply(&before), names(&["c"]));
    }

    #[test]
    fn it_is_noted_who_comes_and_leaves_in_watched_tags_alone() {
        let mut roster = Roster::default();
        let presence = watching(&mut roster, &["room.*"]);
        let [a, b] = [0, 1].map(|key| join(&mut roster, key, &["room.1", "other"]));
        let member = |socket: &Socket| MemberId::of(socket.id);
        let room = |number: u8| format!("room.{number}");
        let both = vec![member(&a), member(&b)];
        assert_eq!(told(&presence), [(room(1), both, vec![])]);
        roster.retag(a.id, &names(&["room.2", "other"]));
        roster.remove(b.entry);
        let left = vec![member(&a), member(&b)];
        assert_eq!(
            told(&presence),
            [(room(1), vec![], left), (room(2), vec![member(&a)], vec![])]
        );
        roster.watch(ours(), None, &presence);
        roster.remove(a.entry);
        assert_eq!(told(&presence), []);
    }

    #[test]
    fn watched_tags_are_listed_in_order_with_their_counts() {
        let mut roster = Roster::default();
        for (key, tags) in (0..).zip([&["b", "x"][..], &["a", "b"], &["c", "b"]]) {
            join(&mut roster, key, tags);
        }
        assert_eq!(roster.watched(None, 10), [], "nobody asked for it");
        // Also what was there before somebody did.
        watching(&mut roster, &["a", "b", "c", "d"]);
        let listed = |roster: &Roster, after, limit| -> Vec<(String, usize)> {
            let watched = roster.watched(after, limit).into_iter();
            watched
                .map(|(tag, count)| (tag.to_string(), count))
                .collect()
        };
        let all = [("a".into(), 1), ("b".into(), 3), ("c".into(), 1)];
        assert_eq!(listed(&roster, None, 10), all);
        assert_eq!(listed(&roster, Some("a"), 1), all[1..2]);
        let leaver = join(&mut roster, 9, &["d"]);
        assert_eq!(listed(&roster, Some("c"), 10), [("d".into(), 1)]);
        roster.remove(leaver.entry);
        assert_eq!(listed(&roster, Some("c"), 10), []);
        assert_eq!(roster.members("b", 1, 10).len(), 2);
        assert_eq!((roster.count("b"), roster.count("none")), (3, 0));
    }
}
