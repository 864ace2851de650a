//! The wiring, to be read aloud: open the data, build the services, open the doors, wait, drain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use pilvi_base::{Clock, Keyring, TaskGroup};
use pilvi_core::egress::{Egress, Policy};
use pilvi_core::passwords::{Cost, Passwords};
use pilvi_core::{Directory, Identity, Mailer};
use pilvi_eds::{Eds, People};
use pilvi_model::AccountId;
use pilvi_mws::Mws;
use pilvi_platform::{FirstStart, Platform};
use pilvi_store::Store;
use pilvi_web::ca::LocalCa;
use pilvi_web::{Door, Hosts, Service, Site};

use crate::apps::{Apps, House};
use crate::arguments::ServeOptions;
use crate::files::{self, Shares};
use crate::listeners::{Addresses, Listeners};
use crate::own_door::OwnDoor;
use crate::running::{Running, Signals};

pub(crate) async fn run(options: &ServeOptions, data: &Path) -> anyhow::Result<()> {
    let doors = Listeners::bind(options).await?;
    let cloud = Cloud::build(data, options, &doors.addresses).await?;
    let running = cloud.open(doors, None).await?;
    match options.json {
        true => println!("{}", running.announcement()),
        false => print!("{}", running.welcome()),
    }
    running.until_stopped().await
}

/// Where the local CA keeps its certificate and key.
fn ca_folder(data: &Path) -> PathBuf {
    data.join("ca")
}

/// The certificate of the local CA, as PEM text.
pub(crate) fn ca_certificate(data: &Path) -> anyhow::Result<String> {
    if !data.join("pilvi.db").exists() {
        bail!(
            "there is no server's data in `{}`; start one with `pilvi serve`, or say where with --data",
            data.display()
        );
    }
    let ca = LocalCa::open_or_make(&ca_folder(data), &Clock::system())?;
    Ok(ca.certificate_pem().to_owned())
}

/// All services on one data folder, not yet reachable.
pub(crate) struct Cloud {
    data: PathBuf,
    shares: Shares,
    tasks: TaskGroup,
    eds: Eds,
    mws: Mws,
    apps: Apps,
    ca: Arc<LocalCa>,
    hosts: Hosts,
    pub(crate) platform: Platform,
    pub(crate) first_start: Option<FirstStart>,
    operator_account: Option<AccountId>,
}

impl Cloud {
    pub(crate) async fn build(
        data: &Path,
        options: &ServeOptions,
        addresses: &Addresses,
    ) -> anyhow::Result<Self> {
        make_private_folder(data)?;
        let shares = Shares::of(files::raise_limit());
        let clock = Clock::system();
        let tasks = TaskGroup::new();
        let store_limits = pilvi_store::Limits {
            files_max: shares.databases,
            ..pilvi_store::Limits::default()
        };
        let store = Store::open(data, store_limits).await?;
        let keyring = Keyring::open(&data.join("secret.key"))?;
        let identity = Identity::new(store.clone());
        let directory = Directory::new(store.clone(), tasks.clone());
        let mailer = Mailer::new(
            options.mail.post(data),
            &options.mail.mail_from,
            clock.clone(),
            tasks.clone(),
        )?;
        let people = People::new(
            Passwords::new(Cost::default())?,
            mailer,
            &clock,
            tasks.clone(),
        );

        let eds = Eds::new(
            store.clone(),
            identity.clone(),
            directory.clone(),
            keyring.clone(),
            clock.clone(),
            people,
        );
        let mws = Mws::new(
            identity.clone(),
            directory.clone(),
            clock.clone(),
            pilvi_mws::Limits {
                sockets_max: shares.sockets as usize,
                ..pilvi_mws::Limits::default()
            },
            tasks.clone(),
        )
        .context("could not start the reactors of the WebSocket gateway")?
        .with_users(Arc::new(eds.clone()));
        make_private_folder(&ca_folder(data))?;
        let ca = Arc::new(LocalCa::open_or_make(&ca_folder(data), &clock)?);
        let house = House {
            data,
            store: store.clone(),
            identity: identity.clone(),
            directory: directory.clone(),
            keyring: keyring.clone(),
            clock: clock.clone(),
            tasks: tasks.clone(),
            ca_pem: ca.certificate_pem(),
        };
        let apps = Apps::build(house, &options.apps, addresses).await?;
        let platform = Platform::new(pilvi_platform::Parts {
            store,
            identity,
            directory,
            keyring,
            clock: clock.clone(),
            tasks: tasks.clone(),
            settings: pilvi_platform::Settings::default(),
            provisioners: vec![
                Arc::new(eds.clone()),
                Arc::new(mws.clone()),
                Arc::new(apps.mar.clone()),
            ],
        });
        platform.clear_unfinished().await?;
        let first_start = platform.bootstrap().await?;
        let operator_account = platform.operator_account().await?;
        Ok(Self {
            data: data.to_owned(),
            shares,
            tasks,
            eds,
            mws,
            apps,
            ca,
            hosts: Apps::hosts(&options.apps),
            platform,
            first_start,
            operator_account,
        })
    }

    /// Opens the doors. From here on requests are answered and webhooks delivered.
    pub(crate) async fn open(
        self,
        listeners: Listeners,
        page: Option<Site>,
    ) -> anyhow::Result<Running> {
        let addresses = listeners.addresses;
        let edge = self.apps.edge.clone();
        let reached = [addresses.http.ip(), addresses.https.ip()];
        let tls = self
            .ca
            .server_config_for(&reached, &self.hosts.names(), Some(edge.clone()))?;

        let mut door = Door::new(self.hosts, self.shares.of_the_door())
            .site(Service::Eds, self.eds.site())
            .site(Service::Mws, self.mws.site())
            .site(Service::Mar, self.apps.mar.site())
            .site(Service::Git, self.apps.git_site())
            .site(Service::Platform, self.platform.site())
            .apps(edge.clone())
            .sockets(Arc::new(self.mws.clone()));
        if let Some(page) = page {
            door = door.site(Service::Page, page);
        }
        let door = Arc::new(door);

        // Apps have their routes before anybody asks for them.
        let sandboxes = self
            .apps
            .open(
                listeners.ssh,
                Arc::clone(&door),
                Arc::clone(&tls),
                &addresses,
            )
            .await?;
        let policy = Policy {
            loopback: addresses.only_loopback(),
            allowed: Vec::new(),
        };
        let own_door = Arc::new(OwnDoor::new(Arc::clone(&door), addresses, edge));
        let egress = Egress::new(policy, own_door);
        self.eds.deliverer(egress, self.tasks.clone()).start();

        for (name, listener, tls) in [
            ("http", listeners.http, None),
            ("https", listeners.https, Some(tls)),
        ] {
            let (door, tasks) = (Arc::clone(&door), self.tasks.clone());
            self.tasks.spawn(name, door.serve(listener, tls, tasks));
        }
        Ok(Running {
            addresses,
            ca: self.ca.certificate_path().to_owned(),
            data: self.data,
            door,
            tasks: self.tasks,
            sandboxes,
            signals: Signals::listen()?,
            first_start: self.first_start,
            operator_account: self.operator_account,
        })
    }
}

/// What lies below the data folder is nobody else's business.
fn make_private_folder(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("could not make the folder `{}`", path.display()))
}
