//! Backups: an instance or the whole server as one archive, and an instance back out of one.
//!
//! Nothing stops while a backup is made. What was acknowledged before it began is in it; what comes in meanwhile may
//! be.
//! The platform's database is copied at one moment, and what the services keep is laid out by them, one instance after
//! the other, so that it takes little room. A restored instance is made like a new one: unseen until it is whole, and
//! cleared away when it does not get there.

mod routes;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pilvi_backup::{
    Bounds, Contents, Counts, InstanceRecord, Kind, Manifest, Origin, Staging, Unpacked, Writer,
};
use pilvi_base::turnstile::{Shares, Turn, Turnstile};
use pilvi_core::{Extent, Incoming, Provisioner, Resource, Secrets};
use pilvi_model::{AccountId, Error, Instance, Kind as ErrorKind, Provider, Result, Timestamp};
use pilvi_store::platform::{Account, Holder, InstanceChange, NewToken, Role};
use pilvi_store::snapshot::{self, Facts};

use crate::tokens::Derivation;
use crate::{Caller, Platform};

pub(crate) use routes::{is_restore, routes};

/// Backups of instances, and restorations, at the same time; each reads or writes as fast as the disk lets it. Each
/// account has one of these places, and the backup of the server has one of its own.
const AT_ONCE: usize = 2;

/// Who comes while all places are taken waits for a moment: one that is done is cleared away after its last byte.
const WAITING_EACH: usize = 4;
const PATIENCE: Duration = Duration::from_secs(5);

/// A backend has as many files as people uploaded to it. Its manifest, which is in memory as a whole, has a line for
/// each.
const FILES_OF_AN_INSTANCE: u64 = 200_000;
const MANIFEST_OF_AN_INSTANCE: u64 = 64 << 20;

/// Where a server keeps what belongs to no instance, and where backups are laid out.
#[derive(Clone, Debug)]
pub struct BackupPlaces {
    /// A folder of our own, on the disk that holds the data.
    pub staging: PathBuf,
    /// Files of the server that nobody else may read, by their names in an archive, where they are sealed.
    pub private: Vec<(String, PathBuf)>,
    /// The key file.
    pub key: PathBuf,
    /// What an operator may look for in an archive and will not find, in words.
    pub left_out: Vec<String>,
    /// The largest archive that is taken in.
    pub restore_bytes_max: u64,
}

/// The backups of one server.
#[derive(Clone, Debug)]
pub(crate) struct Backups {
    places: Arc<BackupPlaces>,
    /// By the account that an instance belongs to.
    rooms: Turnstile<AccountId>,
    server: Turnstile<()>,
}

/// Whether the key file is put into the backup of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFile {
    Included,
    LeftOut,
}

/// How an instance is restored.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreDraft {
    /// `None`: as it was called.
    pub(crate) name: Option<String>,
    /// Its old id, instead of a new one.
    pub(crate) id: Option<String>,
    /// In the place of the instance that has this id now.
    pub(crate) replace: bool,
}

/// An instance that was restored.
#[derive(Clone, Debug)]
pub(crate) struct Restored {
    pub(crate) instance: Instance,
    /// Which instance the archive was made of.
    pub(crate) origin: String,
    pub(crate) made_at: String,
    /// What could not be brought back, in sentences.
    pub(crate) missing: Vec<String>,
}

/// What an instance is restored from.
#[derive(Clone, Copy)]
struct Archived<'a> {
    /// Which instance it was made of.
    origin: &'a str,
    folder: &'a Path,
    secrets: Secrets,
}

impl Platform {
    /// Offers backups. What an earlier run left where they are laid out is cleared away.
    pub fn with_backups(mut self, places: BackupPlaces) -> std::io::Result<Self> {
        Staging::clear(&places.staging)?;
        let rooms = |at_once| Shares {
            at_once,
            each: 1,
            waiting: WAITING_EACH,
            patience: PATIENCE,
        };
        self.backups = Some(Backups {
            places: Arc::new(places),
            rooms: Turnstile::new(rooms(AT_ONCE)),
            server: Turnstile::new(rooms(1)),
        });
        Ok(self)
    }

    fn backups(&self) -> Result<&Backups> {
        self.backups
            .as_ref()
            .ok_or_else(|| Error::unavailable("this server makes no backups"))
    }

    /// A place among those who back up or restore instances.
    async fn instance_room(&self, account: AccountId) -> Result<Turn<AccountId>> {
        let turn = self.backups()?.rooms.enter(&account).await;
        turn.map_err(|_| {
            Error::unavailable(format!(
                "another instance of this account, or {AT_ONCE} of others, are being backed up or restored already; \
                 try again when that is done"
            ))
        })
    }

    /// The place of whoever backs up the server.
    async fn server_room(&self) -> Result<Turn<()>> {
        let turn = self.backups()?.server.enter(&()).await;
        turn.map_err(|_| {
            Error::unavailable("the server is being backed up already; try again when that is done")
        })
    }

    /// What an archive that is taken in may hold.
    fn restore_bounds(&self, folder: &Path) -> Result<Bounds> {
        let room = pilvi_backup::room_for_a_guest(folder).map_err(of_the_disk)?;
        Ok(Bounds {
            bytes: self.backups()?.places.restore_bytes_max,
            files: FILES_OF_AN_INSTANCE,
            manifest_bytes: MANIFEST_OF_AN_INSTANCE,
            disk_bytes: room,
        })
    }

    fn staging(&self) -> Result<Staging> {
        Staging::new(&self.backups()?.places.staging).map_err(of_the_disk)
    }

    /// Writes an instance into an archive.
    async fn write_instance<W: Write + Send + 'static>(
        &self,
        instance: &Instance,
        writer: &mut Pieces<W>,
    ) -> Result<Kind> {
        let staging = self.staging()?;
        let folder = staging.folder("instance").map_err(of_the_disk)?;
        let tokens = self
            .store
            .list_tokens(Holder::Instance(instance.id.clone()))
            .await?;
        let facts = self
            .service_of(instance)?
            .export(instance, &folder, Extent::Alone)
            .await?;
        writer.folder("", &folder, facts).await?;
        Ok(Kind::Instance(Box::new(InstanceRecord {
            id: instance.id.clone(),
            provider: instance.provider.as_str().to_owned(),
            account: instance.account.to_string(),
            name: instance.name.clone(),
            tags: instance.tags.clone(),
            config: instance.config.clone(),
            datacenter: instance.datacenter.clone(),
            created_at: instance.created_at.as_millis(),
            token_generations: tokens.iter().map(|token| token.generation).collect(),
        })))
    }

    /// Writes everything into an archive.
    async fn write_server<W: Write + Send + 'static>(
        &self,
        key: KeyFile,
        writer: &mut Pieces<W>,
    ) -> Result<Kind> {
        let (staging, places) = (self.staging()?, &self.backups()?.places);
        let held = staging.folder("held").map_err(of_the_disk)?;
        let copy = staging.path().join("pilvi.db");
        self.hold(&held).await?;
        let mut facts = self.store.copy_platform(copy.clone()).await?;
        self.hold(&held).await?;
        let instances = blocking({
            let copy = copy.clone();
            move || Ok(snapshot::instances_in(&copy)?)
        })
        .await?;
        let (mut count, mut gone) = (0, Vec::new());
        for instance in instances {
            match self.write_one(&instance, &staging, &held, writer).await? {
                true => count += 1,
                false => gone.push(instance.id),
            }
        }
        if !gone.is_empty() {
            let copy = copy.clone();
            facts = blocking(move || {
                for id in &gone {
                    snapshot::mark_removed_in(&copy, id)?;
                }
                Ok(snapshot::inspect(&copy)?)
            })
            .await?;
        }
        writer.file(DATABASE, &copy, Some(facts)).await?;
        for (name, path) in &places.private {
            writer.private(name, path, self.keyring.clone()).await?;
        }
        if key == KeyFile::Included {
            writer.file(KEY, &places.key, None).await?;
        }
        writer.left_out(&places.left_out).await?;
        Ok(Kind::Server(Contents {
            has_key: key == KeyFile::Included,
            instances: count,
        }))
    }

    async fn hold(&self, folder: &Path) -> Result<()> {
        for provisioner in self.provisioners.iter() {
            provisioner.hold(folder).await?;
        }
        Ok(())
    }

    /// Writes one instance of the server. `false`: it was removed meanwhile.
    async fn write_one<W: Write + Send + 'static>(
        &self,
        instance: &Instance,
        staging: &Staging,
        held: &Path,
        writer: &mut Pieces<W>,
    ) -> Result<bool> {
        let folder = staging.folder("instance").map_err(of_the_disk)?;
        let below = format!("{INSTANCES}/{}", instance.id);
        let exported = self
            .service_of(instance)?
            .export(instance, &folder, Extent::WithServer)
            .await;
        let is_there = match exported {
            Ok(facts) => {
                writer.folder(&below, &folder, facts).await?;
                writer
                    .folder(&below, &held.join(&instance.id), BTreeMap::new())
                    .await?;
                true
            }
            Err(error) => {
                if self.is_there(instance).await? {
                    let message = format!(
                        "the {} instance {} could not be copied: {}",
                        instance.provider, instance.id, error.message
                    );
                    return Err(Error::new(error.kind, message).caused_by(error));
                }
                false
            }
        };
        blocking(move || std::fs::remove_dir_all(folder).map_err(of_the_disk)).await?;
        Ok(is_there)
    }

    async fn is_there(&self, instance: &Instance) -> Result<bool> {
        let unfinished = self.store.list_unfinished_instances().await?;
        let is_going = unfinished.iter().any(|(_, other)| other.id == instance.id);
        let account = self.store.find_instance_account(&instance.id).await?;
        Ok(account.is_some() && !is_going)
    }

    /// Makes an instance from an archive that was unpacked into `folder`.
    async fn restore(
        &self,
        caller: &Caller,
        account: &Account,
        unpacked: &Unpacked,
        folder: &Path,
        draft: RestoreDraft,
    ) -> Result<Restored> {
        let Kind::Instance(record) = &unpacked.manifest.kind else {
            return Err(Error::bad_request(
                "this is the backup of a whole server; restore it on the server's machine, into a new folder, with \
                 `pilvi backup restore FILE --to DIR`",
            ));
        };
        let is_ours = unpacked.origin(&self.keyring) == Origin::Ours;
        if !is_ours && !self.store.is_operator(caller.person()?).await? {
            return Err(Error::forbidden(
                "this archive was not made by this server, or was changed since; only an operator may restore it",
            ));
        }
        check_databases(folder, &unpacked.manifest).await?;
        let (provisioner, instance) = self.plan_restored(account, record, &draft)?;
        let replaced = match draft.replace {
            true => self.find_replaced(&instance).await?,
            false => None,
        };
        let bytes = unpacked.manifest.bytes();
        self.check_room_in_quota(account.id, &instance, replaced.as_ref(), bytes)
            .await?;
        let secrets = match is_ours && self.may_see_secrets(caller, account, record).await? {
            true => Secrets::Open,
            false => Secrets::LeaveBehind,
        };
        let archive = Archived {
            origin: &record.id,
            folder,
            secrets,
        };
        let (instance, missing) = match replaced {
            Some(replaced) => {
                self.replace(provisioner, replaced, instance, archive)
                    .await?
            }
            None => {
                let tokens = match instance.id == record.id && is_ours {
                    true => &*record.token_generations,
                    false => &[],
                };
                let missing = self
                    .build_from(provisioner, instance.clone(), archive, tokens)
                    .await?;
                (instance, missing)
            }
        };
        Ok(Restored {
            instance,
            origin: record.id.clone(),
            made_at: unpacked.manifest.created_at.clone(),
            missing,
        })
    }

    /// Whether what is sealed in an archive of ours is opened for this caller: in the account that it belongs to, or
    /// where they could look at it anyway. Who has nothing but the archive is not let into it.
    async fn may_see_secrets(
        &self,
        caller: &Caller,
        account: &Account,
        record: &InstanceRecord,
    ) -> Result<bool> {
        if record.account == account.id.to_string() {
            return Ok(true);
        }
        let Ok(home) = record.account.parse() else {
            return Ok(false);
        };
        let role = self.store.find_role(home, caller.person()?).await?;
        Ok(role.is_some_and(Role::may_change))
    }

    /// Refuses what would take an account beyond its quota. What is replaced makes room.
    async fn check_room_in_quota(
        &self,
        account: AccountId,
        instance: &Instance,
        replaced: Option<&Instance>,
        bytes: u64,
    ) -> Result<()> {
        let resource = match instance.provider {
            Provider::Eds => Resource::EdsStorageBytes,
            Provider::Mar => Resource::AppDiskBytes,
            _ => return Ok(()),
        };
        let most = self.quotas.most(account, resource).await?;
        let usage = self.measure_account(account).await?;
        let others = usage
            .instances
            .iter()
            .filter(|(other, _)| replaced.is_none_or(|replaced| replaced.id != other.id))
            .filter_map(|(_, figure)| figure.usage.of(resource));
        let used = others.fold(0, u64::saturating_add);
        if used.saturating_add(bytes) <= most {
            return Ok(());
        }
        Err(Error::over_limit(format!(
            "the archive holds {bytes} bytes, and the account has {used} of the {most} that its quota gives of {}; \
             remove something first, or ask the server's operator for more",
            resource.as_str()
        )))
    }

    fn plan_restored(
        &self,
        account: &Account,
        record: &InstanceRecord,
        draft: &RestoreDraft,
    ) -> Result<(Arc<dyn Provisioner>, Instance)> {
        let provider = record.provider.parse().ok();
        let provisioner = provider
            .and_then(|provider| self.provisioner(provider))
            .ok_or_else(|| {
                Error::invalid(
                    "serviceProviderId",
                    "of the archived instance is not offered by this server",
                )
            })?;
        let mut faults = crate::drafts::Faults::default();
        let name = draft.name.clone().unwrap_or_else(|| record.name.clone());
        faults.check_name(&name);
        faults.check_tags(&record.tags);
        faults.finish()?;
        let known = self
            .settings
            .datacenters()
            .any(|known| known.id() == record.datacenter);
        let datacenter = match known {
            true => record.datacenter.clone(),
            false => account.datacenter.clone(),
        };
        let now = self.now();
        let (id, created_at) = match &draft.id {
            Some(id) if *id != record.id => {
                return Err(Error::invalid(
                    "id",
                    format!(
                        "must be that of the archived instance, which is {}",
                        record.id
                    ),
                ));
            }
            // Clients know an instance by its id: nobody else may get what they send.
            Some(_) if record.account != account.id.to_string() => {
                return Err(Error::invalid(
                    "id",
                    "can be kept only in the account that the archived instance belonged to",
                ));
            }
            Some(id) => (id.clone(), Timestamp::from_millis(record.created_at)),
            None => {
                let id = provisioner.new_id(&datacenter);
                (id.unwrap_or_else(|| self.ids.next(now).to_string()), now)
            }
        };
        let instance = Instance {
            id,
            provider: provisioner.provider(),
            account: account.id,
            name,
            tags: record.tags.clone(),
            config: record.config.clone(),
            datacenter,
            created_at,
        };
        Ok((provisioner, instance))
    }

    /// The instance whose place a restored one takes: one that there is, or one that was deleted and can be brought
    /// back.
    async fn find_replaced(&self, instance: &Instance) -> Result<Option<Instance>> {
        let id = &instance.id;
        let found = match self.directory.find_any(id).await? {
            Some(found) => Some(found.as_ref().clone()),
            None => {
                let deleted = self.store.find_deleted_instance(id).await?;
                deleted.map(|deleted| deleted.instance)
            }
        };
        match found {
            Some(found)
                if found.account == instance.account && found.provider == instance.provider =>
            {
                Ok(Some(found))
            }
            Some(_) => Err(id_taken()),
            None => Ok(None),
        }
    }

    /// Makes everything beside the instance that is to be replaced, and then lets the two change places. Until that
    /// moment, and when it does not come, the old one is as it was; its tokens stay valid in any case.
    async fn replace(
        &self,
        provisioner: Arc<dyn Provisioner>,
        replaced: Instance,
        planned: Instance,
        archive: Archived<'_>,
    ) -> Result<(Instance, Vec<String>)> {
        let _turn = self.turns.take(&replaced.id).await;
        let now = self.now();
        let id = provisioner.new_id(&planned.datacenter);
        let beside = Instance {
            id: id.unwrap_or_else(|| self.ids.next(now).to_string()),
            created_at: now,
            ..planned.clone()
        };
        self.store.insert_replacement(beside.clone()).await?;
        let incoming = Incoming {
            instance: &beside,
            origin: archive.origin,
            folder: archive.folder,
            replaces: Some(&replaced),
            secrets: archive.secrets,
        };
        let built = async {
            let missing = provisioner.import(incoming).await?;
            provisioner.replace(incoming).await?;
            Ok(missing)
        };
        let built: Result<_> = built.await;
        self.undo(&beside.id).await;
        let missing = built?;
        if self
            .store
            .find_deleted_instance(&replaced.id)
            .await?
            .is_some()
        {
            self.directory.revive(&replaced.id).await?;
        }
        let change = InstanceChange {
            name: Some(planned.name),
            tags: Some(planned.tags),
            config: Some(planned.config),
        };
        let instance = self.directory.change(&replaced.id, change).await?;
        self.take_up(&provisioner, &instance).await;
        Ok((instance.as_ref().clone(), missing))
    }

    /// The row first, then what the service keeps, then it can be seen: as in [`Platform::create_instance`].
    async fn build_from(
        &self,
        provisioner: Arc<dyn Provisioner>,
        instance: Instance,
        archive: Archived<'_>,
        generations: &[i64],
    ) -> Result<Vec<String>> {
        if self
            .store
            .find_instance_account(&instance.id)
            .await?
            .is_some()
        {
            return Err(id_taken());
        }
        let instances_max = self.settings.limits.instances_per_account;
        self.store
            .insert_instance(instance.clone(), instances_max)
            .await?;
        let incoming = Incoming {
            instance: &instance,
            origin: archive.origin,
            folder: archive.folder,
            replaces: None,
            secrets: archive.secrets,
        };
        let built = async {
            let missing = provisioner.import(incoming).await?;
            let mut tokens = self.instance_tokens(&instance.id, generations).into_iter();
            let first = tokens
                .next()
                .unwrap_or_else(|| self.new_instance_token(&instance.id));
            if !self.store.release_instance(&instance.id, first).await? {
                return Err(Error::internal(
                    "a restored instance was gone before it was ready",
                ));
            }
            for token in tokens {
                let tokens_max = self.settings.limits.tokens_per_holder;
                self.store.insert_token(token, tokens_max).await?;
            }
            Ok(missing)
        };
        match built.await {
            Ok(missing) => {
                self.take_up(&provisioner, &instance).await;
                Ok(missing)
            }
            Err(error) => {
                self.undo(&instance.id).await;
                Err(error)
            }
        }
    }

    /// Clears away an instance that nobody has seen. Why that failed is for the log.
    async fn undo(&self, id: &str) {
        if let Err(undo) = self.clear_away(id).await {
            tracing::error!(
                instance = id,
                error = &undo as &dyn std::error::Error,
                "what a restoration leaves behind waits for the next start to be cleared away"
            );
        }
    }

    /// Starts what belongs to an instance that is there. A service that cannot do so now does when it starts the next
    /// time.
    async fn take_up(&self, provisioner: &Arc<dyn Provisioner>, instance: &Instance) {
        if let Err(error) = provisioner.resume(instance).await {
            tracing::error!(
                instance = instance.id,
                error = &error as &dyn std::error::Error,
                "what belongs to a restored instance could not be started"
            );
        }
    }

    fn instance_tokens(&self, id: &str, generations: &[i64]) -> Vec<NewToken> {
        let derivation = Derivation::of_instance(id);
        let tokens = generations
            .iter()
            .map(|generation| self.derived_token(&derivation, *generation));
        tokens.collect()
    }
}

/// The names of a server's own files in its backup.
pub const DATABASE: &str = "pilvi.db";
pub const KEY: &str = "secret.key";
pub const INSTANCES: &str = "instances";

fn id_taken() -> Error {
    Error::conflict(
        "there is an instance with this id, or one that was deleted and can still be restored; leave `id` out to get a \
         new one, or say `replace=true` to restore in its place",
    )
}

/// Looks into every database of an archive of which the checksums are right.
async fn check_databases(folder: &Path, manifest: &Manifest) -> Result<()> {
    let databases: Vec<_> = manifest
        .databases
        .iter()
        .map(|(path, counts)| (folder.join(path), counts.clone()))
        .collect();
    if let Some((path, _)) = manifest
        .databases
        .iter()
        .find(|(path, _)| manifest.file(path).is_none())
    {
        return Err(Error::bad_request(format!(
            "the archive counts what is in `{path}` and does not hold it"
        )));
    }
    blocking(move || {
        for (path, counts) in databases {
            snapshot::check(&path, snapshot::DatabaseKind::Backend).map_err(readable)?;
            let found = counts_of(snapshot::inspect(&path).map_err(readable)?);
            if found != counts {
                return Err(Error::bad_request(
                    "a database in the archive holds other rows than its manifest says",
                ));
            }
        }
        Ok(())
    })
    .await
}

/// A database that somebody sent and that cannot be read is their fault, not ours.
fn readable(error: pilvi_store::Error) -> Error {
    let error = Error::from(error);
    match error.kind {
        ErrorKind::Internal => {
            Error::bad_request("a database in the archive cannot be read").caused_by(error)
        }
        _ => error,
    }
}

/// What was counted, as a manifest says it.
pub fn counts_of(facts: Facts) -> Counts {
    Counts {
        format: facts.format,
        tables: facts.tables,
        types: facts.types,
    }
}

/// An archive that is written on threads that may wait: for the disk, and for a client that is slow.
struct Pieces<W: Write + Send + 'static>(Option<Writer<W>>);

impl<W: Write + Send + 'static> Pieces<W> {
    fn new(output: W) -> Self {
        Self(Some(Writer::new(output)))
    }

    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Writer<W>) -> pilvi_backup::Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut writer = self.0.take().ok_or_else(abandoned)?;
        let (writer, outcome) = blocking(move || {
            let outcome = work(&mut writer);
            Ok((writer, outcome))
        })
        .await?;
        self.0 = Some(writer);
        outcome.map_err(of_the_archive)
    }

    /// Adds the files of a folder, if there is one, and what was counted in those that are databases.
    async fn folder(
        &mut self,
        below: &str,
        folder: &Path,
        facts: BTreeMap<String, Facts>,
    ) -> Result<()> {
        let (below, folder) = (below.to_owned(), folder.to_owned());
        self.with(move |writer| {
            if !folder.is_dir() {
                return Ok(());
            }
            writer.folder(&below, &folder)?;
            for (name, facts) in facts {
                let path = match below.as_str() {
                    "" => name,
                    _ => format!("{below}/{name}"),
                };
                writer.counted(&path, counts_of(facts));
            }
            Ok(())
        })
        .await
    }

    async fn file(&mut self, name: &'static str, path: &Path, facts: Option<Facts>) -> Result<()> {
        let path = path.to_owned();
        self.with(move |writer| {
            writer.file(name, &path)?;
            if let Some(facts) = facts {
                writer.counted(name, counts_of(facts));
            }
            Ok(())
        })
        .await
    }

    async fn private(
        &mut self,
        name: &str,
        path: &Path,
        keyring: pilvi_base::Keyring,
    ) -> Result<()> {
        let (name, path) = (name.to_owned(), path.to_owned());
        self.with(move |writer| {
            let bytes = std::fs::read(&path).map_err(|source| pilvi_backup::Error::Io {
                step: "read",
                path,
                source,
            })?;
            writer.sealed(&name, &bytes, &keyring)
        })
        .await
    }

    async fn left_out(&mut self, what: &[String]) -> Result<()> {
        let what = what.to_vec();
        self.with(move |writer| {
            what.into_iter().for_each(|what| writer.left_out(what));
            Ok(())
        })
        .await
    }

    /// Ends the archive: with its manifest, or with why it is none.
    async fn end(
        &mut self,
        outcome: Result<Kind>,
        created_at: String,
        keyring: pilvi_base::Keyring,
    ) -> Result<()> {
        let writer = self.0.take().ok_or_else(abandoned)?;
        match outcome {
            Ok(kind) => {
                blocking(move || {
                    let finished = writer.finish(kind, created_at, &keyring);
                    finished.map(drop).map_err(of_the_archive)
                })
                .await
            }
            Err(error) => {
                let why = error.message.clone();
                blocking(move || writer.give_up(&why).map_err(of_the_archive)).await?;
                Err(error)
            }
        }
    }
}

fn abandoned() -> Error {
    Error::internal("the archive was abandoned before")
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Error::internal)?
}

fn of_the_disk(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => disk_full(error),
        _ => Error::internal(error),
    }
}

fn disk_full(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::unavailable(
        "the server's disk is too full for this; try again later, or ask the server's operator to make room",
    )
    .caused_by(error)
}

/// What is wrong with an archive is said to whoever brought it.
fn of_the_archive(error: pilvi_backup::Error) -> Error {
    match error {
        pilvi_backup::Error::DiskLow { .. } => disk_full(error),
        pilvi_backup::Error::TooLarge(_) => Error::too_large(error.to_string()),
        other if other.is_about_the_archive() => Error::bad_request(other.to_string()),
        other => Error::internal(other),
    }
}
