//! The service: its handle, and what can be asked of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use pilvi_base::{Clock, Keyring, Secret, TaskGroup};
use pilvi_core::{
    AppUser, AppUsers, Asking, Audit, Directory, Egress, Fairness, Identity, Quotas, Rates,
    Resource,
};
use pilvi_model::{AccountId, BackendId, Error, GatewayId, Result};
use pilvi_web::{Scheme, Site, bearer};

use crate::broker::{Broker, Local, Outgoing};
use crate::counters::{Counters, Counts};
use crate::error::MwsManners;
use crate::events::{self, Events};
use crate::gateway::{Act, Advisers, Gateway};
use crate::hub::{Crew, Hub, Share};
use crate::limits::Limits;
use crate::message_id::MessageId;
use crate::presence::Presence;
use crate::reactor::question::TooManyTags;
use crate::reactor::tally::ReactorCounts;
use crate::register::Register;
use crate::reservation::{Reservation, Reservations};
use crate::roster::{Connected, TagChange};
use crate::routes;
use crate::session::Farewell;
use crate::settings::plan::{Plan, Plans};
use crate::settings::{Change, Settings};
use crate::single::SingleGateway;
use crate::socket_id::SocketId;
use crate::wire::{Message, tags_of};

/// How often expired reservations are freed when nobody makes new ones.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The Managed WebSocket service. Cloning gives another handle.
#[derive(Clone)]
pub struct Mws {
    pub(crate) register: Register,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) tasks: TaskGroup,
    pub(crate) hub: Hub,
    pub(crate) broker: Local,
    pub(crate) reservations: Reservations,
    pub(crate) counters: Arc<Counters>,
    pub(crate) plans: Plans,
    pub(crate) events: Events,
    /// Held while a configuration is read, changed and stored, so that no change is lost.
    pub(crate) configuring: Arc<tokio::sync::Mutex<()>>,
    users: Arc<dyn AppUsers>,
    pub(crate) fairness: Fairness,
    quotas: Option<Quotas>,
    pub(crate) rates: Option<Rates>,
    pub(crate) audit: Audit,
}

/// A server without data backends: nobody is a user.
struct NoUsers;

impl AppUsers for NoUsers {
    fn who<'a>(&'a self, _: BackendId, _: &'a Secret) -> Asking<'a> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

impl Mws {
    /// Starts the service and its reactors. When `tasks` is told to stop, every socket is closed with 1001 and the
    /// reactors end.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor for a reactor.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        identity: Identity,
        directory: Directory,
        clock: Clock,
        limits: Limits,
        tasks: TaskGroup,
    ) -> io::Result<Self> {
        let register = Register::Cloud {
            identity,
            directory,
        };
        Self::start(register, clock, limits, tasks)
    }

    /// The same for a process that is there for one gateway.
    ///
    /// # Errors
    /// When the system gives no thread or descriptor for a reactor.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn single(
        gateway: SingleGateway,
        clock: Clock,
        limits: Limits,
        tasks: TaskGroup,
    ) -> io::Result<Self> {
        let register = Register::Single(Arc::new(gateway));
        Self::start(register, clock, limits, tasks)
    }

    fn start(
        register: Register,
        clock: Clock,
        limits: Limits,
        tasks: TaskGroup,
    ) -> io::Result<Self> {
        let limits = Arc::new(limits);
        let counters = Arc::new(Counters::default());
        let presence = Presence::default();
        let (hub, crew) = Hub::start(Arc::clone(&limits), &counters, clock.clone(), &presence)?;
        let broker = Local::new(hub.clone(), Arc::clone(&counters));
        let telling = presence.keep_telling(hub.clone(), broker.clone(), tasks.clone());
        tasks.spawn("mws presence", telling);
        let plans = Plans::default();
        let events = Events::start(events::House {
            register: register.clone(),
            plans: plans.clone(),
            hub: hub.clone(),
            broker: broker.clone(),
            clock: clock.clone(),
            limits: Arc::clone(&limits),
            counters: Arc::clone(&counters),
            tasks: tasks.clone(),
        });
        let mws = Self {
            broker,
            hub,
            reservations: Reservations::new(clock.clone(), Arc::clone(&limits)),
            register,
            clock,
            limits,
            tasks,
            counters,
            plans,
            events,
            configuring: Arc::default(),
            users: Arc::new(NoUsers),
            fairness: Fairness::unbounded(),
            quotas: None,
            rates: None,
            audit: Audit::unkept(),
        };
        mws.tasks.spawn("mws keeper", mws.clone().keep(crew));
        Ok(mws)
    }

    /// Gateways in mode `eds` ask here who their callers are. Until this is called they know no user.
    #[must_use]
    pub fn with_users(mut self, users: Arc<dyn AppUsers>) -> Self {
        self.users = users;
        self
    }

    /// Shares out what is asked of gateways among them. Until this is called everybody asks as much as they like.
    #[must_use]
    pub fn with_fairness(mut self, fairness: Fairness) -> Self {
        self.fairness = fairness;
        self
    }

    /// Writes administrative acts into this log. Until this is called they are lines of the server's log only.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = audit;
        self
    }

    /// How many sockets accounts may have. Until this is called gateways have no bound but their own.
    #[must_use]
    pub fn with_quotas(mut self, quotas: Quotas) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// How often one address may come with a socket's token that is no good. Until this is called as often as it likes.
    #[must_use]
    pub fn with_rates(mut self, rates: Rates) -> Self {
        self.rates = Some(rates);
        self
    }

    /// Opens the secrets of events with this. Until it is called no gateway can have one.
    #[must_use]
    pub fn with_keyring(self, keyring: Keyring) -> Self {
        self.events.sign_with(keyring);
        self
    }

    /// Tells gateways' apps of events this way. Until it is called they cannot be told, and whose app is to be asked
    /// first cannot open a socket.
    pub fn tell_events(&self, egress: Egress) {
        self.events.open(egress);
    }

    /// Its routes and manners, for the door. The door's sockets come to [`Mws`] itself.
    pub fn site(&self) -> Site {
        let (routes, adds_old_keys) = match self.register {
            Register::Cloud { .. } => (routes::table(), false),
            Register::Single(_) => (routes::table_of_one(), true),
        };
        Site {
            // Each request clones it several times.
            router: routes.with_state(Arc::new(self.clone())),
            manners: Arc::new(MwsManners {
                body_bytes_max: self.limits.body_bytes_max,
                adds_old_keys,
            }),
        }
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            history_bytes: self.hub.history_bytes() as u64,
            ..self.counters.read(self.hub.sockets())
        }
    }

    /// How each reactor is doing.
    pub fn reactors(&self) -> Vec<ReactorCounts> {
        self.hub.reactors()
    }

    /// Frees what has expired, and ends every socket at the end.
    async fn keep(self, crew: Crew) {
        loop {
            tokio::select! {
                () = self.tasks.stopping() => break,
                () = tokio::time::sleep(SWEEP_EVERY) => {
                    self.reservations.sweep();
                    self.hub.sweep_histories();
                }
            }
        }
        crew.dismiss().await;
    }

    /// The gateway, if the caller may do `act` there, and the app's user who asks, if it is one.
    pub(crate) async fn admit(
        &self,
        id: &str,
        act: Act,
        headers: &HeaderMap,
    ) -> Result<(Gateway, Option<AppUser>)> {
        let gateway = Gateway::find(&self.register, id).await?;
        let advisers = Advisers {
            register: &self.register,
            users: self.users.as_ref(),
        };
        let user = gateway.admit(act, headers, advisers).await?;
        Ok((gateway, user))
    }

    /// What the caller may see of a gateway's tags: all of them as its owner, those of a connected socket with that
    /// one's token, and otherwise those that its own sockets would get. What goes to a tag is for those who have it.
    pub(crate) async fn sight(
        &self,
        id: &str,
        token: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(Gateway, Sight)> {
        let gateway = Gateway::find(&self.register, id).await?;
        if let Some(security) = bearer(headers, Scheme::Exact)
            && let owner = self.register.administers(&security, gateway.instance())
            && owner.await?
        {
            return Ok((gateway, Sight::Everything));
        }
        if let Some(token) = token {
            let socket = match SocketId::parse(token) {
                Some(id) => self.hub.find(gateway.id, id).await?,
                None => None,
            };
            let stale = || Error::forbidden("the token is not that of a connected socket");
            let tags = socket.ok_or_else(stale)?.tags;
            return Ok((gateway, Sight::Tags(tags)));
        }
        let (gateway, user) = self.admit(id, Act::Read, headers).await?;
        let tags = user.as_ref().map(tags_of).unwrap_or_default();
        Ok((gateway, Sight::Tags(tags)))
    }

    /// What a gateway does beyond the plain way of a message. `None`: it has just been removed.
    pub(crate) async fn plan_of(&self, gateway: GatewayId) -> Result<Option<Arc<Plan>>> {
        let found = self.register.find(&gateway.to_string()).await?;
        Ok(found.map(|found| self.plans.of(gateway, &found)))
    }

    /// Accepts a message for its receivers. There may be none: it is kept only where the gateway keeps a history.
    pub(crate) async fn publish(&self, gateway: &Gateway, message: &Message) -> Result<MessageId> {
        let outgoing = Outgoing {
            gateway: gateway.id,
            to: message.receivers(),
            kind: message.kind(),
            payload: message.payload(),
            history: gateway.plan(&self.plans).history.clone(),
        };
        self.broker.publish(outgoing).await
    }

    /// Reserves a socket for whoever opens its URI first.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`] when the account has as many sockets as it may, or the gateway too many that
    /// are still to be opened.
    pub(crate) async fn reserve(
        &self,
        gateway: &Gateway,
        tags: Vec<Arc<str>>,
    ) -> Result<Reservation> {
        let account = gateway.instance().account;
        let most = self.sockets_max_of(account).await?;
        if self.hub.sockets_of_account(account) >= most {
            return Err(Error::over_limit(format!(
                "the account has the {most} web sockets that its quota gives it; close some first, or ask the \
                 server's operator for more"
            )));
        }
        let share = Share { account, most };
        self.reservations.reserve(gateway.id, share, tags)
    }

    /// How many sockets an account may have.
    pub(crate) async fn sockets_max_of(&self, account: AccountId) -> Result<usize> {
        let most = match &self.quotas {
            Some(quotas) => quotas.most(account, Resource::Sockets).await?,
            None => u64::MAX,
        };
        Ok(usize::try_from(most).unwrap_or(usize::MAX))
    }

    pub(crate) async fn find_socket(&self, gateway: GatewayId, id: &str) -> Result<Connected> {
        let id = SocketId::parse(id).ok_or_else(no_such_socket)?;
        let socket = self.hub.find(gateway, id).await?;
        socket.ok_or_else(no_such_socket)
    }

    /// Gives a connected socket, or one that is still to be opened, these tags and no others.
    pub(crate) async fn retag_socket(
        &self,
        gateway: GatewayId,
        id: &str,
        tags: Vec<Arc<str>>,
    ) -> Result<Tagged> {
        let id = SocketId::parse(id).ok_or_else(no_such_socket)?;
        if let Some(reservation) = self.reservations.retag(gateway, id, &tags)? {
            return Ok(Tagged::Reserved(reservation));
        }
        let change = TagChange::Replace(tags);
        match self.hub.retag(gateway, id, change).await? {
            Some(Ok(connected)) => Ok(Tagged::Connected(connected)),
            Some(Err(TooManyTags)) => Err(Error::invalid("tags", "Tags can't be so many")),
            None => Err(no_such_socket()),
        }
    }

    /// Closes a connected socket, or deletes a reservation that nobody has used.
    pub(crate) async fn delete_socket(&self, gateway: GatewayId, id: &str) -> Result<()> {
        let id = SocketId::parse(id).ok_or_else(no_such_socket)?;
        let found = self.reservations.cancel(gateway, id)
            || self.hub.end(gateway, id, Farewell::NORMAL).await?;
        found.then_some(()).ok_or_else(no_such_socket)
    }

    /// Stores what `change` names and says how the gateway is set up after it.
    pub(crate) async fn configure(&self, gateway: &Gateway, change: Change) -> Result<Settings> {
        let _alone = self.configuring.lock().await;
        let gateway = Gateway::find(&self.register, &gateway.instance().id).await?;
        let before = gateway.plan(&self.plans);
        let config = change.apply(&gateway.instance().config)?;
        let id = &gateway.instance().id;
        let changed = self.register.configure(id, change.name, config).await?;
        let plan = self.plans.of(gateway.id, &changed);
        if plan.history != before.history {
            let history = plan.history.as_deref();
            self.hub.follow_history(gateway.id, history);
        }
        if plan.presence != before.presence {
            let presence = plan.presence.as_ref();
            self.hub.follow_presence(gateway.id, presence);
        }
        Ok(Settings::of(&changed))
    }
}

/// Which tags of a gateway somebody may ask about.
#[derive(Debug)]
pub(crate) enum Sight {
    Everything,
    Tags(Vec<Arc<str>>),
}

impl Sight {
    /// # Errors
    /// [`pilvi_model::Kind::Forbidden`] when the tag is none of the caller's.
    pub(crate) fn check(&self, tag: &str) -> Result<()> {
        match self {
            Self::Tags(tags) if !tags.iter().any(|own| **own == *tag) => Err(Error::forbidden(
                "only those who have a tag may ask about it: add token=<the token of a connected socket that has it>",
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }
}

/// A socket whose tags were changed.
#[derive(Debug)]
pub(crate) enum Tagged {
    Connected(Connected),
    Reserved(Reservation),
}

pub(crate) fn no_such_socket() -> Error {
    Error::not_found("there is no such socket")
}
