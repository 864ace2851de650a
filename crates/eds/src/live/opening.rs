//! What a live query begins with: what the caller missed, or all that matches, or nothing; and where that ends.
//!
//! It is prepared before the follower hears of the newcomer, so that nobody waits for it who is told already. The
//! follower adds what happened since.

use pilvi_model::query::Filter;
use pilvi_model::{Asker, Error, ObjectType, Result};
use pilvi_store::Backend;
use pilvi_store::backend::{FeedEvent, Position};

use super::group::{Scene, concerns_groups};
use super::message::{Message, Word};
use super::{Beginning, Topic};

/// What a newcomer is sent before the first news. A snapshot that is larger is refused; who missed more reads anew.
const OPENING_BYTES_MAX: usize = 1 << 20;
/// Objects of a snapshot.
const SNAPSHOT_MAX: u32 = 1000;
/// Rows of the feed that are looked through for somebody who comes back.
const REPLAY_ROWS_MAX: usize = 50_000;
/// How many of them at once.
const REPLAY_PAGE: u32 = 256;

/// The first messages of a live query, and behind which row the news begin.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) messages: Vec<Message>,
    bytes: usize,
    pub(super) position: Position,
}

/// The feed no longer has, or does not tell, what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutOfReach;

impl Opening {
    pub(super) async fn of(
        backend: &Backend,
        asker: &Asker,
        topic: &Topic,
        beginning: &Beginning,
    ) -> Result<Self> {
        let Topic::Query {
            object_type,
            filter,
        } = topic
        else {
            return Ok(Self::at(backend.feed_end().await?));
        };
        backend
            .check_list(asker.clone(), object_type.clone())
            .await?;
        let mut is_lost = false;
        if let Some(since) = beginning.since {
            let mut opening = Self::at(since);
            if backend.reaches_back_to(since).await?
                && opening
                    .replay(backend, asker, (object_type, filter), None)
                    .await?
                    .is_ok()
            {
                return Ok(opening);
            }
            is_lost = true;
        }
        if beginning.snapshot {
            return Self::snapshot(backend, asker, object_type, filter, is_lost).await;
        }
        let mut opening = Self::at(backend.feed_end().await?);
        if is_lost {
            opening.say(Message::bare(Word::Resync, Some(opening.position)));
        }
        Ok(opening)
    }

    fn at(position: Position) -> Self {
        Self {
            messages: Vec::new(),
            bytes: 0,
            position,
        }
    }

    async fn snapshot(
        backend: &Backend,
        asker: &Asker,
        object_type: &ObjectType,
        filter: &Filter,
        is_lost: bool,
    ) -> Result<Self> {
        let snapshot = backend
            .snapshot(
                asker.clone(),
                object_type.clone(),
                filter.clone(),
                SNAPSHOT_MAX,
            )
            .await?;
        let mut opening = Self::at(snapshot.position);
        if is_lost {
            opening.say(Message::bare(Word::Resync, None));
        }
        for object in &snapshot.objects {
            opening.say(Message::of_snapshot(object));
        }
        if snapshot.is_cut || opening.bytes > OPENING_BYTES_MAX {
            return Err(Error::too_large(format!(
                "more than {SNAPSHOT_MAX} objects or 1 MiB match, which is more than a snapshot holds; begin without \
                 one, wait for `caught_up`, and list the objects page by page"
            )));
        }
        Ok(opening)
    }

    /// Adds what happened behind the position, up to a row or to the end.
    pub(super) async fn replay(
        &mut self,
        backend: &Backend,
        asker: &Asker,
        (object_type, filter): (&ObjectType, &Filter),
        until: Option<u64>,
    ) -> Result<std::result::Result<(), OutOfReach>> {
        let until = until.unwrap_or(u64::MAX);
        let mut looked_at = 0;
        while self.position.seq < until {
            let page = backend.read_feed(self.position.seq, REPLAY_PAGE).await?;
            if page.missed {
                return Ok(Err(OutOfReach));
            }
            if page.rows.is_empty() {
                break;
            }
            for row in &page.rows {
                if row.seq > until {
                    return Ok(Ok(()));
                }
                looked_at += 1;
                let is_about_readers = !asker.is_admin()
                    && row.event == FeedEvent::Resync
                    && row.object_type == object_type.as_str();
                if is_about_readers || concerns_groups(row, asker) || looked_at > REPLAY_ROWS_MAX {
                    return Ok(Err(OutOfReach));
                }
                self.position = row.position();
                if row.object_type != object_type.as_str() {
                    continue;
                }
                let scene = Scene::new(row, &page);
                match scene.word(scene.matches(filter), scene.readable(asker)) {
                    None => {}
                    Some(Word::Resync) => return Ok(Err(OutOfReach)),
                    Some(word) => self.say(Message::about(word, row)),
                }
                if self.bytes > OPENING_BYTES_MAX {
                    return Ok(Err(OutOfReach));
                }
            }
        }
        Ok(Ok(()))
    }

    /// Says that news begin here, and that what is told may not be all there was.
    pub(super) fn give_up(&mut self, position: Position) {
        *self = Self::at(position);
        self.say(Message::bare(Word::Resync, Some(position)));
    }

    /// Says that everything up to here has been told.
    pub(super) fn finish(&mut self) {
        self.say(Message::bare(Word::CaughtUp, Some(self.position)));
    }

    fn say(&mut self, message: Message) {
        self.bytes += message.text().len();
        self.messages.push(message);
    }
}
