//! The wiring, to be read aloud: open the data, build the services, open the doors, wait, drain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use pilvi_base::{Clock, TaskGroup};
use pilvi_console::Console;
use pilvi_core::egress::{Egress, Policy};
use pilvi_core::passwords::{Cost, Passwords};
use pilvi_core::{Audit, Directory, Identity, Mailer, Quotas, Rates};
use pilvi_eds::{Eds, People, Transfers, Workspace};
use pilvi_model::AccountId;
use pilvi_mws::Mws;
use pilvi_platform::{FirstStart, Platform};
use pilvi_store::Store;
use pilvi_web::ca::LocalCa;
use pilvi_web::{Door, Hosts, Service, Site};

use crate::apps::{Apps, House};
use crate::arguments::ServeOptions;
use crate::backups;
use crate::blobs;
use crate::config;
use crate::files::{self, Shares};
use crate::health;
use crate::keys;
use crate::listeners::{Addresses, Listeners};
use crate::notify;
use crate::own_door::OwnDoor;
use crate::running::{Running, Signals};
use crate::sockets::Sockets;

pub(crate) async fn run(options: &ServeOptions, data: &Path) -> anyhow::Result<()> {
    let doors = Listeners::bind(options)?;
    for finding in config::judge(options, data) {
        tracing::warn!(setting = finding.setting, "{}", finding.says);
    }
    notify::status("Opening the data");
    let cloud = Cloud::build(data, options, &doors.addresses).await?;
    let running = cloud.open(doors, None).await?;
    notify::ready(&format!("Answers at http://{}", running.addresses.http));
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
    rates: Rates,
    eds: Eds,
    workspace: Workspace,
    mws: Mws,
    apps: Apps,
    ca: Arc<LocalCa>,
    hosts: Hosts,
    pub(crate) platform: Platform,
    pub(crate) first_start: Option<FirstStart>,
    operator_account: Option<AccountId>,
}

fn clock_of(options: &ServeOptions) -> Clock {
    let behind = Duration::from_secs(options.clock_behind.into());
    if !behind.is_zero() {
        tracing::warn!(
            ?behind,
            "the clock is set back; nothing that expires does so in time"
        );
    }
    Clock::behind(behind)
}

impl Cloud {
    pub(crate) async fn build(
        data: &Path,
        options: &ServeOptions,
        addresses: &Addresses,
    ) -> anyhow::Result<Self> {
        make_private_folder(data)?;
        let shares = Shares::of(files::raise_limit());
        let clock = clock_of(options);
        let tasks = TaskGroup::new();
        let store_limits = pilvi_store::Limits {
            files_max: shares.databases,
            ..pilvi_store::Limits::default()
        };
        let store_limits = options.limits.share_store(store_limits);
        keys::make_first(data)?;
        let reserve = store_limits.disk_reserve;
        let store = Store::open(data, store_limits).await?;
        // After the store, which makes sure that no other server uses the folder.
        let blobs = blobs::open(&options.files, data, reserve, &tasks).await?;
        let fairness = options.limits.fairness();
        let rates = Rates::new(options.limits.rates(), clock.clone());
        let quotas = Quotas::new(store.clone(), options.limits.quotas());
        let keyring = keys::finish_exchange(&store, keys::open(data)?, data).await?;
        let identity = Identity::new(store.clone()).with_clock(clock.clone());
        let directory = Directory::new(store.clone(), tasks.clone());
        let mailer = Mailer::new(
            options.mail.post(data),
            &options.mail.mail_from,
            clock.clone(),
            tasks.clone(),
        )?;
        let passwords = Passwords::new(Cost::default())?;
        let audit = Audit::new(store.clone(), clock.clone(), tasks.clone());
        let people = People::new(passwords.clone(), mailer.clone(), &clock, tasks.clone());

        let eds = Eds::new(
            store.clone(),
            blobs,
            identity.clone(),
            directory.clone(),
            keyring.clone(),
            clock.clone(),
            people,
        )
        .with_fairness(fairness.clone())
        .with_tasks(tasks.clone())
        .with_ages(options.files.ages())
        .with_file_bytes_max(options.files.file_bytes_max())
        .with_transfers(Transfers::open(data.join("transfers"), reserve)?)
        .with_audit(audit.clone());
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
        .with_users(Arc::new(eds.clone()))
        .with_fairness(fairness)
        .with_quotas(quotas.clone())
        .with_rates(rates.clone())
        .with_audit(audit.clone())
        .with_keyring(keyring.clone());
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
            audit: audit.clone(),
            quotas: quotas.clone(),
            rates: rates.clone(),
            ca_pem: ca.certificate_pem(),
        };
        let apps = Apps::build(house, &options.apps, addresses).await?;
        let (datacenter, more_datacenters) = options
            .apps
            .datacenters
            .split_first()
            .context("at least one datacenter must be given")?;
        let platform = Platform::new(pilvi_platform::Parts {
            store,
            identity,
            directory,
            keyring,
            clock: clock.clone(),
            tasks: tasks.clone(),
            passwords,
            mailer,
            audit,
            settings: pilvi_platform::Settings {
                datacenter: datacenter.clone(),
                more_datacenters: more_datacenters.to_vec(),
                registration: options.people.registration(),
                public_url: options
                    .people
                    .public_url(&options.apps.own_names, addresses),
                sign_on: options.sign_on.providers()?,
                deleted_instances_kept: options.limits.deleted_instances_kept(),
                ..pilvi_platform::Settings::default()
            },
            provisioners: vec![
                Arc::new(eds.clone()),
                Arc::new(mws.clone()),
                Arc::new(apps.mar.clone()),
            ],
        })
        .with_quotas(quotas);
        let platform = platform
            .with_backups(backups::places(data))
            .context("could not clear away what an earlier backup left behind")?;
        platform.clear_unfinished().await?;
        let first_start = platform.bootstrap().await?;
        let operator_account = platform.operator_account().await?;
        Ok(Self {
            rates,
            data: data.to_owned(),
            shares,
            tasks,
            eds,
            workspace: options.files.workspace(),
            mws,
            apps,
            ca,
            hosts: hosts(options, addresses),
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
            .rates(self.rates)
            .site(Service::Eds, self.eds.site())
            .site(Service::Mws, self.mws.site())
            .site(Service::Mar, self.apps.mar.site())
            .site(Service::Git, self.apps.git_site())
            .site(Service::Platform, self.platform.site())
            .site(Service::Account, self.platform.account_site())
            .site(Service::Console, Console::new(self.platform.clone()).site())
            .apps(edge.clone())
            .sockets(Arc::new(Sockets {
                eds: self.eds.clone(),
                mws: self.mws.clone(),
            }));
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
            trusted: Vec::new(),
        };
        let own_door = Arc::new(OwnDoor::new(Arc::clone(&door), addresses, edge));
        let egress = Egress::new(policy, own_door);
        self.mws.tell_events(egress.clone());
        self.eds.deliverer(egress, self.tasks.clone()).start();
        self.eds
            .workshop(self.workspace, self.tasks.clone())
            .start();
        self.eds.collector(self.tasks.clone()).start();
        self.eds.start_imports(&self.tasks);
        let circles = Arc::new(self.mws.clone());
        let plain_port = addresses.http.port();
        self.eds
            .open_streams(circles, self.tasks.clone(), plain_port);
        self.platform.keep_house();
        self.platform.keep_measuring();

        if let Some(listener) = listeners.health {
            let watched = health::Watched {
                platform: Some(self.platform.clone()),
                mws: self.mws.clone(),
            };
            self.tasks.spawn(
                "health",
                health::serve(listener, watched, self.tasks.clone()),
            );
        }
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

/// Which names are Pilvi's own. Who listens in public and says none is reached by any, and takes no app's domain
/// either.
fn hosts(options: &ServeOptions, addresses: &Addresses) -> Hosts {
    let hosts = Apps::hosts(&options.apps);
    let public = options.people.public_host();
    let names: Vec<String> = options
        .apps
        .own_names
        .iter()
        .cloned()
        .chain(public)
        .collect();
    if names.is_empty() && !addresses.only_loopback() {
        return hosts;
    }
    hosts.with_pages_on(names)
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
