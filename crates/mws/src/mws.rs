//! The service: its handle, and what can be asked of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use pilvi_base::{Clock, Secret, TaskGroup};
use pilvi_core::{
    AppUser, AppUsers, Asking, Audit, Directory, Fairness, Identity, Quotas, Rates, Resource,
};
use pilvi_model::{AccountId, BackendId, Error, GatewayId, Result};
use pilvi_web::Site;

use crate::counters::{Counters, Counts};
use crate::error::MwsManners;
use crate::frame;
use crate::gateway::{Act, Gateway, Register};
use crate::hub::{Crew, Hub, Share};
use crate::limits::Limits;
use crate::reactor::tally::ReactorCounts;
use crate::reservation::{Reservation, Reservations};
use crate::roster::Connected;
use crate::routes;
use crate::session::Farewell;
use crate::settings::{Change, Settings};
use crate::socket_id::SocketId;
use crate::wire::Message;

/// How often expired reservations are freed when nobody makes new ones.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// The Managed WebSocket service. Cloning gives another handle.
#[derive(Clone)]
pub struct Mws {
    pub(crate) identity: Identity,
    pub(crate) directory: Directory,
    pub(crate) clock: Clock,
    pub(crate) limits: Arc<Limits>,
    pub(crate) tasks: TaskGroup,
    pub(crate) hub: Hub,
    pub(crate) reservations: Reservations,
    pub(crate) counters: Arc<Counters>,
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
        let limits = Arc::new(limits);
        let counters = Arc::new(Counters::default());
        let (hub, crew) = Hub::start(Arc::clone(&limits), &counters)?;
        let mws = Self {
            hub,
            reservations: Reservations::new(clock.clone(), Arc::clone(&limits)),
            identity,
            directory,
            clock,
            limits,
            tasks,
            counters,
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

    /// Its routes and manners, for the door. The door's sockets come to [`Mws`] itself.
    pub fn site(&self) -> Site {
        Site {
            // Each request clones it several times.
            router: routes::table().with_state(Arc::new(self.clone())),
            manners: Arc::new(MwsManners {
                body_bytes_max: self.limits.body_bytes_max,
            }),
        }
    }

    /// What has been counted so far.
    pub fn counts(&self) -> Counts {
        self.counters.read(self.hub.sockets())
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
                () = tokio::time::sleep(SWEEP_EVERY) => self.reservations.sweep(),
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
        let gateway = Gateway::find(&self.directory, id).await?;
        let register = Register {
            identity: &self.identity,
            directory: &self.directory,
            users: self.users.as_ref(),
        };
        let user = gateway.admit(act, headers, register).await?;
        Ok((gateway, user))
    }

    /// Accepts a message for its receivers. There may be none: it is not stored.
    pub(crate) async fn publish(&self, gateway: GatewayId, message: &Message) -> Result<()> {
        let frame = frame::text(&message.data);
        self.hub
            .publish(gateway, message.receivers(), frame)
            .await?;
        self.counters.messages.add(1);
        Ok(())
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

    /// Closes a connected socket, or deletes a reservation that nobody has used.
    pub(crate) async fn delete_socket(&self, gateway: GatewayId, id: &str) -> Result<()> {
        let id = SocketId::parse(id).ok_or_else(no_such_socket)?;
        let found = self.reservations.cancel(gateway, id)
            || self.hub.end(gateway, id, Farewell::NORMAL).await?;
        found.then_some(()).ok_or_else(no_such_socket)
    }

    /// Stores what `change` names and says how the gateway is set up after it.
    pub(crate) async fn configure(&self, gateway: &Gateway, change: Change) -> Result<Settings> {
        let config = change.apply(&gateway.instance().config)?;
        let id = &gateway.instance().id;
        let changed = self.directory.configure(id, change.name, config).await?;
        Ok(Settings::of(&changed))
    }
}

fn no_such_socket() -> Error {
    Error::not_found("there is no such socket")
}
