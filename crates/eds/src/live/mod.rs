//! Followers of a backend: the notification stream (`eds.md` §12) and live queries, Pilvi's own.
//!
//! Both are told what the feed says, and nothing else is: what is not committed reaches nobody. One task per followed
//! backend reads the feed ([`follower`]). Whoever wants to hear the same with the same credential is in one [`group`],
//! so that a row is looked at once for each distinct filter and once for each distinct caller, however many sockets
//! there are. Sockets are held by whoever provides [`Circles`]; event streams are bodies of replies ([`events`]).
//!
//! A position is a row of the feed. Every message of a live query has one, and whoever comes back with the last one is
//! told all that happened behind it ([`opening`]), or that it has to read anew because the feed no longer reaches back.

mod events;
mod follower;
mod group;
mod message;
mod opening;
mod subset;
mod ticket;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pilvi_base::TaskGroup;
use pilvi_model::query::Filter;
use pilvi_model::{Asker, BackendId, Error, Instance, ObjectType, Provider, Result};
use pilvi_store::backend::Position;
use pilvi_web::circles::Circles;
use pilvi_web::{Arrival, Refusal, Upgrade};
use tokio::sync::{mpsc, oneshot};

pub(crate) use events::EventBody;
use follower::Follower;
use opening::Opening;
pub(crate) use subset::Subset;
use ticket::Ticket;

use crate::Eds;
use crate::caller::Shown;

/// Followers that may wait to be let in, per backend.
const DOORSTEP: usize = 256;

/// What somebody wants to hear of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Topic {
    /// Every change that passes the filter, of the types that say so in their settings.
    Stream(Subset),
    /// What comes to match, changes and ceases to match.
    Query {
        object_type: ObjectType,
        filter: Filter,
    },
}

/// How a live query begins.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beginning {
    /// Behind this position. Absent: now.
    pub since: Option<Position>,
    /// With what matches at the beginning, unless `since` reaches back.
    pub snapshot: bool,
}

/// What holds the followers of all backends together.
pub(crate) struct Live {
    circles: Arc<dyn Circles>,
    tasks: TaskGroup,
    /// The port at which Pilvi is reached without TLS.
    plain_port: u16,
    /// A plain mutex: held for a look-up, never across an await.
    followers: Mutex<HashMap<BackendId, mpsc::Sender<Newcomer>>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// Somebody who wants to be told.
struct Newcomer {
    topic: Topic,
    shown: Shown,
    asker: Asker,
    instance: Arc<Instance>,
    opening: Opening,
    way: Way,
}

/// How somebody is told.
enum Way {
    Socket {
        upgrade: Box<Upgrade>,
        sockets_max: usize,
    },
    Events(oneshot::Sender<Result<EventBody>>),
}

impl Way {
    /// Sends somebody away.
    fn refuse(self, error: Error, tasks: &TaskGroup) {
        match self {
            Self::Socket { upgrade, .. } => refuse(*upgrade, error.into(), tasks),
            // Who asked may have gone.
            Self::Events(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// Answers a handshake with a refusal, which may take as long as the client likes.
fn refuse(upgrade: Upgrade, refusal: Refusal, tasks: &TaskGroup) {
    tasks.spawn("refuse a web socket", upgrade.refuse(refusal));
}

impl Eds {
    /// Lets backends be followed: `circles` hold the sockets, `tasks` what reads the feeds, and `plain_port` is the
    /// port at which clients that speak no TLS reach the server (`eds.md` §12.1). Until this is called nobody can
    /// follow.
    pub fn open_streams(&self, circles: Arc<dyn Circles>, tasks: TaskGroup, plain_port: u16) {
        let live = Live {
            circles,
            tasks,
            plain_port,
            followers: Mutex::default(),
        };
        if self.0.live.set(live).is_err() {
            tracing::error!("the streams were opened twice");
        }
    }

    pub(crate) fn live(&self) -> Result<&Live> {
        let closed = || Error::unavailable("this server has no streams at the moment");
        self.0.live.get().ok_or_else(closed)
    }

    /// The address of a web socket for the topic, which says who asked for it.
    pub(crate) fn socket_url(&self, arrival: &Arrival, ticket: &Ticket) -> Result<String> {
        let token = ticket.seal(&self.0.keyring);
        Ok(match ticket.topic {
            Topic::Stream(_) => {
                let host = plain_host(arrival, self.live()?.plain_port);
                format!("ws://{host}/v1/stream?ticket={token}")
            }
            Topic::Query { .. } => format!("{}/v1/live?ticket={token}", arrival.base("ws")),
        })
    }

    /// The address of an event stream for a live query.
    pub(crate) fn events_url(&self, arrival: &Arrival, ticket: &Ticket) -> String {
        let token = ticket.seal(&self.0.keyring);
        format!("{}/v1/live?ticket={token}", arrival.base("http"))
    }

    pub(crate) fn ticket(
        &self,
        backend: BackendId,
        shown: Shown,
        topic: Topic,
        beginning: Beginning,
        life: std::time::Duration,
    ) -> Ticket {
        let until = self.now().as_millis() + u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        Ticket {
            backend,
            shown,
            topic,
            beginning,
            until: pilvi_model::Timestamp::from_millis(until),
        }
    }

    /// Reads a ticket that is still good.
    pub(crate) fn redeem(&self, token: &str) -> Result<Ticket> {
        let ticket = Ticket::open(&self.0.keyring, token)?;
        match ticket.until > self.now() {
            true => Ok(ticket),
            false => Err(Error::forbidden(
                "the ticket in this address has expired; ask for another one",
            )),
        }
    }

    /// Begins an event stream for a live query.
    pub(crate) async fn follow_by_events(&self, ticket: Ticket) -> Result<EventBody> {
        let (answer, begun) = oneshot::channel();
        self.follow(ticket, |_| Way::Events(answer)).await?;
        let gone = || Error::unavailable("the stream could not begin; try again soon");
        begun.await.map_err(|_| gone())?
    }

    /// Takes a web socket that came with a ticket.
    async fn follow_by_socket(&self, upgrade: Upgrade) {
        let mut upgrade = Some(upgrade);
        let outcome = self.try_follow_by_socket(&mut upgrade).await;
        if let (Err(error), Some(upgrade)) = (outcome, upgrade) {
            upgrade.refuse(error.into()).await;
        }
    }

    async fn try_follow_by_socket(&self, upgrade: &mut Option<Upgrade>) -> Result<()> {
        let params = upgrade.as_ref().map(|upgrade| upgrade.params.clone());
        let params = params.unwrap_or_default();
        let mut ticket = self.redeem(params.get("ticket").unwrap_or_default())?;
        if let Some(since) = params.given("since") {
            ticket.beginning.since = Some(since_of(since)?);
        }
        let instance = self.instance_of(ticket.backend).await?;
        let sockets_max = self.live()?.circles.sockets_max(instance.account).await?;
        self.follow(ticket, |_| Way::Socket {
            upgrade: Box::new(upgrade.take().expect("nobody has taken it yet")),
            sockets_max,
        })
        .await
    }

    async fn instance_of(&self, backend: BackendId) -> Result<Arc<Instance>> {
        let found = self
            .0
            .directory
            .find(Provider::Eds, &backend.to_string())
            .await?;
        found.ok_or_else(|| Error::not_found("the backend of this ticket is gone"))
    }

    /// Brings somebody to the follower of the backend. `way` is asked for when nothing can fail any more.
    async fn follow(&self, ticket: Ticket, way: impl FnOnce(&Instance) -> Way) -> Result<()> {
        let live = self.live()?;
        let instance = self.instance_of(ticket.backend).await?;
        self.0.fairness.give_way(&instance.id).await?;
        let backend = self.0.store.backend(ticket.backend);
        let asker = ticket.shown.asker(self, &instance, &backend).await?;
        let opening = Opening::of(&backend, &asker, &ticket.topic, &ticket.beginning).await?;
        let room = live.room(self, ticket.backend)?;
        let way = way(&instance);
        room.send(Newcomer {
            topic: ticket.topic,
            shown: ticket.shown,
            asker,
            instance,
            opening,
            way,
        });
        Ok(())
    }

    /// Ends what follows a backend that is not to be reached any more.
    pub(crate) fn end_streams(&self, backend: BackendId) {
        if let Some(live) = self.0.live.get() {
            live.followers().remove(&backend);
        }
    }
}

impl pilvi_web::Sockets for Eds {
    /// Takes an upgrade on any path; only its query's `ticket` counts.
    fn open(&self, upgrade: Upgrade) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        let eds = self.clone();
        Box::pin(async move { eds.follow_by_socket(upgrade).await })
    }
}

impl Live {
    fn followers(&self) -> MutexGuard<'_, HashMap<BackendId, mpsc::Sender<Newcomer>>> {
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in front of the backend's follower, who is started if there is none.
    fn room(&self, eds: &Eds, backend: BackendId) -> Result<Room> {
        let mut followers = self.followers();
        if let Some(sender) = followers.get(&backend) {
            match sender.clone().try_reserve_owned() {
                Ok(permit) => return Ok(Room(permit)),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    let message = "too many want to follow this backend at once; try again soon";
                    return Err(Error::unavailable(message));
                }
                // It broke down; a new one takes its place.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        let (sender, newcomers) = mpsc::channel(DOORSTEP);
        let room = sender.clone().try_reserve_owned();
        followers.insert(backend, sender);
        drop(followers);
        let follower = Follower::new(eds.clone(), backend, newcomers);
        self.tasks.spawn("live follower", follower.run());
        room.map(Room).map_err(Error::internal)
    }

    /// Takes the follower of a backend out, unless somebody is on the doorstep.
    fn retire(&self, backend: BackendId, newcomers: &mpsc::Receiver<Newcomer>) -> bool {
        let mut followers = self.followers();
        // A reserved place counts, too: whoever has it is about to come.
        let is_free = newcomers.is_empty() && newcomers.capacity() == newcomers.max_capacity();
        if is_free {
            followers.remove(&backend);
        }
        is_free
    }
}

/// A place on the doorstep.
struct Room(mpsc::OwnedPermit<Newcomer>);

impl Room {
    fn send(self, newcomer: Newcomer) {
        self.0.send(newcomer);
    }
}

/// Reads a position that one of our messages had.
pub(crate) fn since_of(text: &str) -> Result<Position> {
    Position::parse(text).ok_or_else(|| {
        Error::bad_request(
            "since must be the `seq` of a message of this live query, such as 17-0a1b2c3d",
        )
    })
}

/// Where a client without TLS reaches us. One of them takes 8080 for the port when none is given.
fn plain_host(arrival: &Arrival, plain_port: u16) -> String {
    let has_port = match arrival.host.rsplit_once(':') {
        Some((_, port)) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => false,
    };
    match (arrival.secure, has_port) {
        (false, true) => arrival.host.clone(),
        (false, false) => format!("{}:80", arrival.host),
        (true, true) => {
            let name = arrival.host.rsplit_once(':').map_or("", |(name, _)| name);
            format!("{name}:{plain_port}")
        }
        (true, false) => format!("{}:{plain_port}", arrival.host),
    }
}
