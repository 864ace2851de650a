//! What a row of the feed means to whom: decided once for each distinct filter and once for each distinct caller.

use std::cell::OnceCell;

use pilvi_model::Asker;
use pilvi_model::query::Filter;
use pilvi_store::backend::{Change, FeedEvent, FeedPage, FeedRow};
use pilvi_web::circles::Circle;
use serde_json::Value;

use super::events::EventSender;
use super::message::Word;

/// Those who hear the same: one topic, one credential.
#[derive(Debug)]
pub(super) struct Group {
    /// The place of the caller among those that the follower knows.
    pub(super) caller: usize,
    /// Its web sockets.
    pub(super) circle: Circle,
    /// Its event streams.
    pub(super) events: Vec<EventSender>,
    /// Up to which row its members have been told something.
    pub(super) told: u64,
}

/// One row, looked at by many. Documents are read when somebody needs to look into them.
pub(super) struct Scene<'a> {
    pub(super) row: &'a FeedRow,
    page: &'a FeedPage,
    after: OnceCell<Value>,
    before: OnceCell<Value>,
}

/// Whether something held before a row, and whether it holds after it. Absent: the row does not say.
pub(super) type Sides = (Option<bool>, bool);

impl<'a> Scene<'a> {
    pub(super) fn new(row: &'a FeedRow, page: &'a FeedPage) -> Self {
        Self {
            row,
            page,
            after: OnceCell::new(),
            before: OnceCell::new(),
        }
    }

    /// The object as the row has it.
    pub(super) fn document(&self) -> &Value {
        self.after.get_or_init(|| parsed(&self.row.document))
    }

    /// Whether the object matched, and matches.
    pub(super) fn matches(&self, filter: &Filter) -> Sides {
        let now = || filter.matches(self.document());
        match self.row.event {
            FeedEvent::Change(Change::Create) => (Some(false), now()),
            FeedEvent::Change(Change::Delete) => (Some(now()), false),
            FeedEvent::Change(Change::Update) => {
                let before = self.row.before.as_deref().map(|text| {
                    let before = self.before.get_or_init(|| parsed(text));
                    filter.matches(before)
                });
                (before, now())
            }
            FeedEvent::Access => {
                let now = now();
                (Some(now), now)
            }
            FeedEvent::Members | FeedEvent::Schema | FeedEvent::Resync => (Some(false), false),
        }
    }

    /// Whether the asker could read the object, and can.
    pub(super) fn readable(&self, asker: &Asker) -> (bool, bool) {
        let includes = |audience| {
            let readers = self.page.readers(audience);
            readers.is_some_and(|readers| readers.includes(asker))
        };
        let after = includes(self.row.audience);
        let before = self.row.audience_before.map_or(after, includes);
        (before, after)
    }

    /// What the row means to somebody.
    pub(super) fn word(&self, matches: Sides, readable: (bool, bool)) -> Option<Word> {
        let Some(matched) = matches.0 else {
            // An older version wrote the row: whether this is news cannot be told.
            return (readable.0 || readable.1).then_some(Word::Resync);
        };
        match (matched && readable.0, matches.1 && readable.1) {
            (false, false) => None,
            (false, true) => Some(Word::Enter),
            (true, false) => Some(Word::Leave),
            (true, true) if self.row.event == FeedEvent::Access => None,
            (true, true) => Some(Word::Update),
        }
    }
}

/// Documents are JSON objects; what cannot be read matches nothing.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Whether a row changes which groups this user is in: it names the user and a group, or a group is gone.
pub(super) fn concerns_groups(row: &FeedRow, asker: &Asker) -> bool {
    let Asker::User { id, groups } = asker else {
        return false;
    };
    match row.event {
        FeedEvent::Members => {
            let named = parsed(&row.document);
            named["user"] == id.to_string().as_str()
        }
        FeedEvent::Change(Change::Delete) => {
            row.object_type == "usergroups"
                && row.object_id.is_some_and(|group| groups.contains(&group))
        }
        _ => false,
    }
}
