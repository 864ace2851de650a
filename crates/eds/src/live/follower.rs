//! The task that follows one backend: it reads the feed, decides who is told what, and lets newcomers in between two
//! rows, so that nobody misses one and nobody hears one twice.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pilvi_model::query::Filter;
use pilvi_model::{
    Asker, BackendId, Error, GatewayId, Instance, Kind, ObjectType, Provider, Result,
};
use pilvi_store::Backend;
use pilvi_store::backend::{FeedEvent, FeedPage, FeedRow, Position};
use pilvi_web::circles::{Circle, Farewell};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::events::channel;
use super::group::{Group, Scene, concerns_groups};
use super::message::{Message, Word, of_stream};
use super::{Live, Newcomer, Subset, Topic, Way, refuse};
use crate::Eds;
use crate::caller::Shown;

/// Rows of the feed that are read at once.
const PAGE: u32 = 256;
/// How often it is looked who has left and whether everybody may still be told.
const ROUND_EVERY: Duration = Duration::from_secs(5);
/// How long after a commit credentials are looked at: it may have ended a session.
const CREDENTIALS_AFTER: Duration = Duration::from_secs(1);
/// After so many rows without a message a group is told where the feed is, so that it can come back to there.
const SILENT_ROWS_MAX: u64 = 1000;

/// Different topics and credentials that are followed at once in one backend.
const GROUPS_MAX: usize = 10_000;
/// Event streams of one backend.
const EVENTS_MAX: usize = 2_000;
/// Regular expressions in all filters of one backend: each may take a megabyte.
const PATTERNS_MAX: usize = 200;

const ENDED: Farewell = Farewell {
    code: 1008,
    reason: "the session has ended",
};
const REFUSED: Farewell = Farewell {
    code: 1008,
    reason: "listing this type is no longer allowed",
};
const GONE: Farewell = Farewell {
    code: 1001,
    reason: "the backend is gone",
};
const OVERRUN: Farewell = Farewell {
    code: 1013,
    reason: "too much at once; go on from the last seq",
};

pub(super) struct Follower {
    eds: Eds,
    id: BackendId,
    backend: Backend,
    newcomers: mpsc::Receiver<Newcomer>,
    changes: watch::Receiver<u64>,
    cursor: Position,
    callers: Vec<Option<Caller>>,
    streams: Vec<(Subset, Vec<Group>)>,
    /// By type, then by the text of the filter.
    queries: HashMap<ObjectType, HashMap<String, Query>>,
    /// Types with `settings.websocket`.
    streamed: HashSet<String>,
    /// When credentials are to be looked at.
    check_at: Option<Instant>,
}

/// Somebody on whose behalf things are told.
struct Caller {
    key: (u8, [u8; 32]),
    shown: Shown,
    asker: Asker,
    instance: Arc<Instance>,
}

/// A filter, and who wants to hear of what passes it.
struct Query {
    filter: Filter,
    groups: Vec<Group>,
}

/// What is to be sent to sockets.
type Outgoing = Vec<(Circle, Bytes)>;

/// Why a follower ends.
enum End {
    /// Nobody follows any more.
    Idle,
    Gone,
    Stopping,
}

impl Follower {
    pub(super) fn new(eds: Eds, id: BackendId, newcomers: mpsc::Receiver<Newcomer>) -> Self {
        Self {
            backend: eds.0.store.backend(id),
            changes: eds.0.store.changes(id),
            eds,
            id,
            newcomers,
            cursor: Position::START,
            callers: Vec::new(),
            streams: Vec::new(),
            queries: HashMap::new(),
            streamed: HashSet::new(),
            check_at: None,
        }
    }

    /// Follows until nobody wants to hear of it any more.
    pub(super) async fn run(mut self) {
        let Some(live) = self.eds.0.live.get() else {
            return;
        };
        let tasks = live.tasks.clone();
        if let Err(error) = self.begin().await {
            tracing::warn!(backend = %self.id, %error, "a backend cannot be followed");
            self.eds.end_streams(self.id);
            self.newcomers.close();
            while let Some(newcomer) = self.newcomers.recv().await {
                let error = Error::unavailable("this backend cannot be followed at the moment");
                newcomer.way.refuse(error, &tasks);
            }
            return;
        }
        let mut rounds = tokio::time::interval(ROUND_EVERY);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let end = loop {
            let check_at = self.check_at;
            let end = tokio::select! {
                () = tasks.stopping() => Some(End::Stopping),
                newcomer = self.newcomers.recv() => match newcomer {
                    Some(newcomer) => self.admit(newcomer).await,
                    None => Some(End::Gone),
                },
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.follow().await,
                    Err(_) => Some(End::Gone),
                },
                () = due(check_at) => {
                    self.check_callers().await;
                    None
                }
                _ = rounds.tick() => self.go_round().await,
            };
            if let Some(end) = end {
                break end;
            }
        };
        match end {
            End::Idle => {}
            End::Gone => {
                self.eds.end_streams(self.id);
                self.end_all(GONE);
            }
            // The sockets are closed by who holds them.
            End::Stopping => {}
        }
    }

    fn live(&self) -> &Live {
        let live = self.eds.0.live.get();
        live.expect("a follower is started by it")
    }

    async fn begin(&mut self) -> Result<()> {
        self.cursor = self.backend.feed_end().await?;
        self.learn_streamed().await
    }

    /// Which types the stream tells of.
    async fn learn_streamed(&mut self) -> Result<()> {
        let collections = self.backend.list_collections().await?;
        self.streamed = collections
            .into_iter()
            .filter(|collection| {
                let settings = collection.schema.get("settings");
                settings.is_some_and(|settings| settings["websocket"] == true)
            })
            .map(|collection| collection.object_type.as_str().to_owned())
            .collect();
        Ok(())
    }

    /// Reads on after a commit.
    async fn follow(&mut self) -> Option<End> {
        let told = *self.changes.borrow_and_update();
        self.check_at
            .get_or_insert_with(|| Instant::now() + CREDENTIALS_AFTER);
        if told == self.cursor.seq {
            return None;
        }
        match self.read_on().await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(backend = %self.id, %error, "the feed of a backend could not be read");
                None
            }
        }
    }

    /// Tells everything that has happened by now.
    async fn read_on(&mut self) -> Result<()> {
        loop {
            let page = self.backend.read_feed(self.cursor.seq, PAGE).await?;
            if page.missed {
                self.lose_track().await?;
                continue;
            }
            if page.rows.is_empty() {
                return Ok(());
            }
            for row in &page.rows {
                let outgoing = self.decide(row, &page);
                self.cursor = row.position();
                self.send(outgoing).await;
                self.heed(row).await?;
            }
        }
    }

    /// The feed has no longer what comes behind the cursor, or is another one.
    async fn lose_track(&mut self) -> Result<()> {
        self.cursor = self.backend.feed_end().await?;
        self.learn_streamed().await?;
        let outgoing = self.say_to_queries(Word::Resync, |_, _| true);
        self.send(outgoing).await;
        self.check_callers().await;
        Ok(())
    }

    /// Who is told what of a row.
    fn decide(&mut self, row: &FeedRow, page: &FeedPage) -> Outgoing {
        let mut outgoing = Vec::new();
        let scene = Scene::new(row, page);
        // Whether callers could read it, and can: asked once for each.
        let mut readable: Vec<Option<(bool, bool)>> = vec![None; self.callers.len()];
        let callers = &self.callers;
        let mut readable = |place: usize| {
            *readable[place].get_or_insert_with(|| {
                let caller = callers[place].as_ref();
                caller.map_or((false, false), |caller| scene.readable(&caller.asker))
            })
        };
        let circles = Arc::clone(&self.eds.0.live.get().expect("it is there").circles);
        if let FeedEvent::Change(change) = row.event
            && self.streamed.contains(&row.object_type)
        {
            let mut text = None;
            let mut frame = None;
            for (subset, groups) in &self.streams {
                if !subset.may_pass(change.as_str(), &row.object_type) {
                    continue;
                }
                let text = text.get_or_insert_with(|| of_stream(change, row));
                if subset.looks_inside()
                    && !serde_json::from_str(text).is_ok_and(|message| subset.passes(&message))
                {
                    continue;
                }
                for group in groups {
                    if readable(group.caller).1 {
                        let frame = frame.get_or_insert_with(|| circles.frame(text));
                        outgoing.push((group.circle, frame.clone()));
                    }
                }
            }
        }
        let queries = self.queries.iter_mut();
        let queries = queries.filter(|(object_type, _)| object_type.as_str() == row.object_type);
        let mut forms: HashMap<Word, Forms> = HashMap::new();
        for query in queries.flat_map(|(_, queries)| queries.values_mut()) {
            let matches = scene.matches(&query.filter);
            if matches == (Some(false), false) {
                continue;
            }
            for group in &mut query.groups {
                let Some(word) = scene.word(matches, readable(group.caller)) else {
                    continue;
                };
                let forms = forms.entry(word).or_insert_with(|| {
                    let message = match word {
                        Word::Resync => Message::bare(word, Some(row.position())),
                        word => Message::about(word, row),
                    };
                    Forms::of(message)
                });
                group.told = row.seq;
                group.events.retain(|events| events.send(forms.event()));
                outgoing.push((group.circle, forms.frame(&*circles)));
            }
        }
        outgoing
    }

    /// Says something about no object, now, to the queries that are meant.
    fn say_to_queries(
        &mut self,
        word: Word,
        meant: impl Fn(&ObjectType, &Group) -> bool,
    ) -> Outgoing {
        let circles = Arc::clone(&self.live().circles);
        let mut forms = Forms::of(Message::bare(word, Some(self.cursor)));
        let mut outgoing = Vec::new();
        for (object_type, queries) in &mut self.queries {
            for group in queries.values_mut().flat_map(|query| &mut query.groups) {
                if meant(object_type, group) {
                    group.told = self.cursor.seq;
                    group.events.retain(|events| events.send(forms.event()));
                    outgoing.push((group.circle, forms.frame(&*circles)));
                }
            }
        }
        outgoing
    }

    async fn send(&self, outgoing: Outgoing) {
        let circles = &self.live().circles;
        for (circle, frame) in outgoing {
            if circles.is_empty(circle) {
                continue;
            }
            // What cannot be sent must not be passed over: they come back and go on from where they are.
            if circles.push(circle, frame).await.is_err() {
                circles.end(circle, OVERRUN);
            }
        }
    }

    /// Does what a row means to the follower itself.
    async fn heed(&mut self, row: &FeedRow) -> Result<()> {
        match row.event {
            FeedEvent::Resync => {
                let admins: Vec<bool> = self.callers.iter().map(is_admin).collect();
                let outgoing = self.say_to_queries(Word::Resync, |object_type, group| {
                    object_type.as_str() == row.object_type && !admins[group.caller]
                });
                self.send(outgoing).await;
            }
            FeedEvent::Schema => {
                self.learn_streamed().await?;
                self.check_rights().await;
            }
            _ => {}
        }
        let concerned: Vec<usize> = self
            .callers
            .iter()
            .enumerate()
            .filter(|(_, caller)| {
                let caller = caller.as_ref();
                caller.is_some_and(|caller| concerns_groups(row, &caller.asker))
            })
            .map(|(place, _)| place)
            .collect();
        for place in concerned {
            self.check_caller(place, true).await;
        }
        Ok(())
    }

    /// Whether all callers are still who they were.
    async fn check_callers(&mut self) {
        self.check_at = None;
        for place in 0..self.callers.len() {
            self.check_caller(place, false).await;
        }
    }

    /// `moved`: the groups of the caller have changed, so that others than before are told to read anew.
    async fn check_caller(&mut self, place: usize, moved: bool) {
        let Some(Some(caller)) = self.callers.get(place) else {
            return;
        };
        if matches!(caller.shown, Shown::Nothing) {
            return;
        }
        let asker = caller
            .shown
            .asker(&self.eds, &caller.instance, &self.backend);
        match asker.await {
            Ok(asker) => {
                let Some(Some(caller)) = self.callers.get_mut(place) else {
                    return;
                };
                let is_other = caller.asker != asker;
                caller.asker = asker;
                if is_other || moved {
                    let outgoing =
                        self.say_to_queries(Word::Resync, |_, group| group.caller == place);
                    self.send(outgoing).await;
                    self.check_rights().await;
                }
            }
            Err(error) if error.kind == Kind::Unauthenticated => {
                self.end(ENDED, |_, group| group.caller == place);
            }
            // Nobody is sent away because the disk is slow.
            Err(error) => {
                tracing::warn!(backend = %self.id, %error, "a follower's credential could not be looked at");
            }
        }
    }

    /// Ends live queries of types that their callers may no longer list.
    async fn check_rights(&mut self) {
        let mut pairs = HashSet::new();
        for (object_type, queries) in &self.queries {
            for group in queries.values().flat_map(|query| &query.groups) {
                pairs.insert((object_type.clone(), group.caller));
            }
        }
        for (object_type, place) in pairs {
            let Some(Some(caller)) = self.callers.get(place) else {
                continue;
            };
            let asker = caller.asker.clone();
            let allowed = self.backend.check_list(asker, object_type.clone()).await;
            let refused = allowed
                .is_err_and(|error| matches!(error.kind, Kind::Forbidden | Kind::Unauthenticated));
            if refused {
                self.end(REFUSED, |other, group| {
                    other.is_some_and(|other| *other == object_type) && group.caller == place
                });
            }
        }
    }

    /// Sends groups away. A stream has no type.
    fn end(&mut self, farewell: Farewell, meant: impl Fn(Option<&ObjectType>, &Group) -> bool) {
        let circles = Arc::clone(&self.live().circles);
        let keep = |object_type: Option<&ObjectType>, group: &Group| {
            let ends = meant(object_type, group);
            if ends {
                circles.end(group.circle, farewell);
            }
            !ends
        };
        for (_, groups) in &mut self.streams {
            groups.retain(|group| keep(None, group));
        }
        for (object_type, queries) in &mut self.queries {
            for query in queries.values_mut() {
                query.groups.retain(|group| keep(Some(object_type), group));
            }
        }
        self.tidy();
    }

    fn end_all(&mut self, farewell: Farewell) {
        self.end(farewell, |_, _| true);
    }

    /// Forgets what nobody refers to any more.
    fn tidy(&mut self) {
        self.streams.retain(|(_, groups)| !groups.is_empty());
        self.queries.retain(|_, queries| {
            queries.retain(|_, query| !query.groups.is_empty());
            !queries.is_empty()
        });
        let used: HashSet<usize> = self.groups().map(|group| group.caller).collect();
        for (place, caller) in self.callers.iter_mut().enumerate() {
            if !used.contains(&place) {
                *caller = None;
            }
        }
        while self.callers.last().is_some_and(Option::is_none) {
            self.callers.pop();
        }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        let streams = self.streams.iter().flat_map(|(_, groups)| groups);
        let queries = self.queries.values().flat_map(HashMap::values);
        streams.chain(queries.flat_map(|query| &query.groups))
    }

    /// What is to be done now and then.
    async fn go_round(&mut self) -> Option<End> {
        let id = self.id.to_string();
        let found = self.eds.0.directory.find(Provider::Eds, &id).await;
        if matches!(found, Ok(None)) {
            return Some(End::Gone);
        }
        self.check_callers().await;
        let circles = Arc::clone(&self.live().circles);
        let leave = |group: &mut Group| {
            group.events.retain(|events| !events.is_closed());
            !group.events.is_empty() || !circles.is_empty(group.circle)
        };
        for (_, groups) in &mut self.streams {
            groups.retain_mut(leave);
        }
        for query in self.queries.values_mut().flat_map(HashMap::values_mut) {
            query.groups.retain_mut(leave);
        }
        self.tidy();
        let silent_since = self.cursor.seq.saturating_sub(SILENT_ROWS_MAX);
        let outgoing = self.say_to_queries(Word::CaughtUp, |_, group| group.told < silent_since);
        self.send(outgoing).await;
        let is_idle = self.groups().next().is_none();
        (is_idle && self.live().retire(self.id, &self.newcomers)).then_some(End::Idle)
    }

    /// Lets somebody in.
    async fn admit(&mut self, newcomer: Newcomer) -> Option<End> {
        if let Err(error) = self.read_on().await {
            let tasks = self.live().tasks.clone();
            newcomer.way.refuse(error, &tasks);
            return None;
        }
        let Newcomer {
            topic,
            shown,
            asker,
            instance,
            mut opening,
            way,
        } = newcomer;
        let prepared = match &topic {
            Topic::Stream(_) => Ok(()),
            Topic::Query {
                object_type,
                filter,
            } => {
                let query = (object_type, filter);
                let until = Some(self.cursor.seq);
                match opening.replay(&self.backend, &asker, query, until).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => {
                        opening.give_up(self.cursor);
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
                .map(|()| opening.finish())
            }
        };
        let fits = prepared.and_then(|()| self.check_room(&topic, &way));
        if let Err(error) = fits {
            let tasks = self.live().tasks.clone();
            way.refuse(error, &tasks);
            return None;
        }
        let account = instance.account;
        let caller = self.place_of(shown, asker, instance);
        let cursor = self.cursor.seq;
        let live = self.eds.0.live.get().expect("it is there");
        let group = group_of(&mut self.streams, &mut self.queries, topic, caller, || {
            Group {
                caller,
                circle: Circle {
                    id: GatewayId::from_bytes(pilvi_base::secret::random_bytes()),
                    account,
                },
                events: Vec::new(),
                told: cursor,
            }
        });
        match way {
            Way::Socket {
                upgrade,
                sockets_max,
            } => {
                let first: Vec<Bytes> = opening
                    .messages
                    .iter()
                    .map(|message| live.circles.frame(message.text()))
                    .collect();
                let joined = live
                    .circles
                    .join(*upgrade, group.circle, sockets_max, &first);
                if let Err(refused) = joined {
                    let (upgrade, refusal) = *refused;
                    refuse(upgrade, refusal, &live.tasks);
                }
            }
            Way::Events(answer) => {
                let (sender, body) = channel(opening.messages.iter().map(Message::event));
                if answer.send(Ok(body)).is_ok() {
                    group.events.push(sender);
                }
            }
        }
        None
    }

    /// Whether there is room for one more.
    fn check_room(&self, topic: &Topic, way: &Way) -> Result<()> {
        let full = |what: &str| {
            Err(Error::over_limit(format!(
                "this backend has {what} at once, which is the most; end some first"
            )))
        };
        if self.groups().count() >= GROUPS_MAX {
            return full("10000 different streams and live queries");
        }
        let streams = || self.groups().map(|group| group.events.len());
        if matches!(way, Way::Events(_)) && streams().sum::<usize>() >= EVENTS_MAX {
            return full("2000 event streams");
        }
        if let Topic::Query { filter, .. } = topic {
            let patterns = |text: &str| text.matches("$regex").count();
            let own = patterns(&filter.source().to_string());
            let queries = self.queries.values().flat_map(HashMap::keys);
            if own > 0 && own + queries.map(|text| patterns(text)).sum::<usize>() > PATTERNS_MAX {
                return full("200 regular expressions in live queries");
            }
        }
        Ok(())
    }

    /// The place of a caller among those that are known.
    fn place_of(&mut self, shown: Shown, asker: Asker, instance: Arc<Instance>) -> usize {
        let key = shown.key();
        let known = self.callers.iter().position(|known| {
            let known = known.as_ref();
            known.is_some_and(|known| known.key == key && known.asker == asker)
        });
        if let Some(place) = known {
            return place;
        }
        let caller = Some(Caller {
            key,
            shown,
            asker,
            instance,
        });
        match self.callers.iter().position(Option::is_none) {
            Some(place) => {
                self.callers[place] = caller;
                place
            }
            None => {
                self.callers.push(caller);
                self.callers.len() - 1
            }
        }
    }
}

/// The group of a topic and a caller, made if there is none.
fn group_of<'a>(
    streams: &'a mut Vec<(Subset, Vec<Group>)>,
    queries: &'a mut HashMap<ObjectType, HashMap<String, Query>>,
    topic: Topic,
    caller: usize,
    make: impl FnOnce() -> Group,
) -> &'a mut Group {
    let groups = match topic {
        Topic::Stream(subset) => {
            let known = streams.iter().position(|(known, _)| *known == subset);
            let place = known.unwrap_or_else(|| {
                streams.push((subset, Vec::new()));
                streams.len() - 1
            });
            &mut streams[place].1
        }
        Topic::Query {
            object_type,
            filter,
        } => {
            let text = filter.source().to_string();
            let queries = queries.entry(object_type).or_default();
            let query = queries.entry(text).or_insert_with(|| Query {
                filter,
                groups: Vec::new(),
            });
            &mut query.groups
        }
    };
    let known = groups.iter().position(|group| group.caller == caller);
    let place = known.unwrap_or_else(|| {
        groups.push(make());
        groups.len() - 1
    });
    &mut groups[place]
}

fn is_admin(caller: &Option<Caller>) -> bool {
    caller
        .as_ref()
        .is_some_and(|caller| caller.asker.is_admin())
}

/// A message in the forms in which it is sent, each made when it is first needed and shared from then on.
struct Forms {
    message: Message,
    frame: Option<Bytes>,
    event: Option<Bytes>,
}

impl Forms {
    fn of(message: Message) -> Self {
        Self {
            message,
            frame: None,
            event: None,
        }
    }

    fn frame(&mut self, circles: &dyn pilvi_web::circles::Circles) -> Bytes {
        let frame = || circles.frame(self.message.text());
        self.frame.get_or_insert_with(frame).clone()
    }

    fn event(&mut self) -> Bytes {
        let event = || self.message.event();
        self.event.get_or_insert_with(event).clone()
    }
}

/// Resolves at the moment; without one, never.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
