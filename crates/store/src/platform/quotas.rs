//! Quotas: how much of everything an account may have. What nobody set for an account is as the server's defaults say.

use pilvi_model::{AccountId, AppId, BackendId, Error, Result};
use rusqlite::{Connection, OptionalExtension, params};

use super::Text;
use crate::Store;
use crate::error::Result as StoreResult;

/// What an account has a quota of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    Instances,
    Members,
    /// Bytes of all backends together.
    EdsStorageBytes,
    /// Bytes of memory that all processes of all apps may take together.
    AppMemoryBytes,
    /// Bytes of all apps' slugs, caches and repositories together.
    AppDiskBytes,
    /// Web sockets of all gateways together.
    Sockets,
}

impl Resource {
    pub const ALL: [Self; 6] = [
        Self::Instances,
        Self::Members,
        Self::EdsStorageBytes,
        Self::AppMemoryBytes,
        Self::AppDiskBytes,
        Self::Sockets,
    ];

    /// As it is named to clients, and stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Instances => "instances",
            Self::Members => "members",
            Self::EdsStorageBytes => "edsStorageBytes",
            Self::AppMemoryBytes => "appMemoryBytes",
            Self::AppDiskBytes => "appDiskBytes",
            Self::Sockets => "sockets",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|resource| resource.as_str() == name)
    }
}

/// How much of each resource there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas([u64; Resource::ALL.len()]);

impl Quotas {
    pub fn most(&self, resource: Resource) -> u64 {
        self.0[resource as usize]
    }

    #[must_use]
    pub fn with(mut self, resource: Resource, most: u64) -> Self {
        self.0[resource as usize] = most;
        self
    }
}

impl Default for Quotas {
    /// For a server among people who know one another: what nobody gets near by honest work.
    fn default() -> Self {
        let mut quotas = Self([0; Resource::ALL.len()]);
        for (resource, most) in [
            (Resource::Instances, 200),
            (Resource::Members, 100),
            (Resource::EdsStorageBytes, 50 << 30),
            (Resource::AppMemoryBytes, 64 << 30),
            (Resource::AppDiskBytes, 100 << 30),
            (Resource::Sockets, 100_000),
        ] {
            quotas = quotas.with(resource, most);
        }
        quotas
    }
}

/// A new quota; `None`: as the server's defaults say.
pub type QuotaChange = (Resource, Option<u64>);

/// What SQLite keeps; more than anybody has of anything.
const MOST: u64 = i64::MAX as u64;

impl Store {
    /// The account's quotas. An account that does not exist has the defaults.
    pub async fn quotas(&self, account: AccountId, defaults: Quotas) -> Result<Quotas> {
        self.platform
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT resource, most FROM quotas WHERE account = ?")?;
                let rows = statement.query_map([Text(account)], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
                })?;
                let mut quotas = defaults;
                for row in rows {
                    let (name, most) = row?;
                    // A resource that this version does not know is nothing to it.
                    if let Some(resource) = Resource::named(&name) {
                        quotas = quotas.with(resource, u64::try_from(most).unwrap_or(0));
                    }
                }
                Ok(quotas)
            })
            .await
    }

    /// Changes quotas; what is not named stays. `false`: there is no such account.
    pub async fn set_quotas(&self, account: AccountId, changes: Vec<QuotaChange>) -> Result<bool> {
        self.platform
            .write(move |connection| {
                let is_there: bool = connection
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?)")?
                    .query_row([Text(account)], |row| row.get(0))?;
                if !is_there {
                    return Ok(false);
                }
                for (resource, most) in changes {
                    set(connection, account, resource, most)?;
                }
                Ok(true)
            })
            .await
    }

    /// How much of what is counted in rows an account has.
    pub async fn count_rows_of(&self, account: AccountId) -> Result<Counted> {
        self.platform
            .read(move |connection| {
                Ok(Counted {
                    instances: instances_of(connection, account)?,
                    members: members_of(connection, account)?,
                    app_memory_bytes: app_memory(connection, account)?,
                })
            })
            .await
    }

    /// The accounts whose id comes after `after`, in the order of their ids.
    pub async fn page_accounts(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<AccountId>> {
        let after = after.map(|after| after.to_string()).unwrap_or_default();
        self.platform
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT id FROM accounts WHERE id > ? ORDER BY id LIMIT ?")?;
                let rows = statement
                    .query_map(params![after, limit], |row| Ok(row.get::<_, Text<_>>(0)?.0))?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// How many bytes of disk a backend takes, without the few megabytes of a log that is still to be moved into its
    /// file. One without a file takes none.
    pub async fn backend_bytes(&self, id: BackendId) -> Result<u64> {
        let path = self.backend_path(id);
        let measured = tokio::task::spawn_blocking(move || std::fs::metadata(path));
        let measured = measured.await.map_err(Error::internal)?;
        Ok(measured.map_or(0, |found| found.len()))
    }

    /// Refuses a new app for whose processes the account has no memory left.
    pub async fn check_app_memory(&self, app: &AppId, default: u64) -> Result<()> {
        let app = app.clone();
        self.platform
            .read(move |connection| check_app_memory(connection, &app, default, 0))
            .await
    }

    /// From now on a backend takes no more than so many bytes: what would add to it is refused, what removes something
    /// is not. `None`: as many as there are.
    pub fn limit_backend(&self, id: BackendId, bytes_max: Option<u64>) {
        let path = self.backend_path(id);
        self.folder.pool.limit_file(path, bytes_max);
    }

    /// The same, for a backend that is to take the place of another: as many as that one takes.
    pub fn limit_backend_as(&self, hidden: BackendId, like: BackendId) {
        let (path, like) = (self.backend_path(hidden), self.backend_path(like));
        self.folder.pool.caps().set_as(path, &like);
    }

    /// How many bytes a backend takes, whatever it has already. `None`: as many as there are.
    pub fn backend_bytes_max(&self, id: BackendId) -> Option<u64> {
        self.folder.pool.caps().bytes_max(&self.backend_path(id))
    }

    /// Says how many bytes a backend has beside its file: those of the files that are kept in it. They count against
    /// what it may take.
    pub fn note_bytes_beside(&self, id: BackendId, bytes: u64) {
        let path = self.backend_path(id);
        self.folder.pool.caps().set_beside(path, bytes);
    }

    /// The same, for bytes that came since.
    pub fn add_bytes_beside(&self, id: BackendId, bytes: u64) {
        let path = self.backend_path(id);
        self.folder.pool.caps().add_beside(path, bytes);
    }

    /// Refuses so many bytes beside the file of a backend that may not take them any more. It looks at a file's length.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::OverLimit`]
    pub fn check_room_beside(&self, id: BackendId, bytes: u64) -> Result<()> {
        let path = self.backend_path(id);
        match self.folder.pool.caps().lacks(&path, bytes) {
            None => Ok(()),
            Some(bytes_max) => Err(crate::Error::OverQuota { path, bytes_max }.into()),
        }
    }
}

/// What an account has of what is counted in rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub instances: u64,
    pub members: u64,
    pub app_memory_bytes: u64,
}

fn set(
    connection: &Connection,
    account: AccountId,
    resource: Resource,
    most: Option<u64>,
) -> StoreResult<()> {
    match most {
        Some(most) => connection
            .prepare_cached(
                "INSERT INTO quotas (account, resource, most) VALUES (?, ?, ?)
                 ON CONFLICT (account, resource) DO UPDATE SET most = excluded.most",
            )?
            .execute(params![
                Text(account),
                resource.as_str(),
                i64::try_from(most.min(MOST)).unwrap_or(i64::MAX)
            ])?,
        None => connection
            .prepare_cached("DELETE FROM quotas WHERE account = ? AND resource = ?")?
            .execute(params![Text(account), resource.as_str()])?,
    };
    Ok(())
}

/// How much of a resource an account may have, for checks in the transaction that adds some.
pub(super) fn most(
    connection: &Connection,
    account: AccountId,
    resource: Resource,
    default: u64,
) -> StoreResult<u64> {
    let own: Option<i64> = connection
        .prepare_cached("SELECT most FROM quotas WHERE account = ? AND resource = ?")?
        .query_row(params![Text(account), resource.as_str()], |row| row.get(0))
        .optional()?;
    Ok(own.map_or(default, |own| u64::try_from(own).unwrap_or(0)))
}

/// Refuses more memory for apps than the account of this one may have, unless it had as much `before`.
pub(super) fn check_app_memory(
    connection: &Connection,
    app: &AppId,
    default: u64,
    before: u64,
) -> StoreResult<()> {
    let account = account_of(connection, app)?;
    let most = most(connection, account, Resource::AppMemoryBytes, default)?;
    let used = app_memory(connection, account)?;
    if used <= most.max(before) {
        return Ok(());
    }
    Err(Error::over_limit(format!(
        "the processes of the account's apps would take {} MB of memory together, and its quota is {} MB; scale \
         something down first, or ask the server's operator for more",
        used >> 20,
        most >> 20
    ))
    .into())
}

/// What [`check_app_memory`] compares with.
pub(super) fn app_memory_around(connection: &Connection, app: &AppId) -> StoreResult<u64> {
    app_memory(connection, account_of(connection, app)?)
}

fn account_of(connection: &Connection, app: &AppId) -> StoreResult<AccountId> {
    Ok(connection
        .prepare_cached("SELECT account FROM instances WHERE id = ?")?
        .query_row([app.as_str()], |row| Ok(row.get::<_, Text<_>>(0)?.0))?)
}

fn instances_of(connection: &Connection, account: AccountId) -> StoreResult<u64> {
    count(
        connection,
        "SELECT count(*) FROM instances WHERE account = ?",
        account,
    )
}

fn members_of(connection: &Connection, account: AccountId) -> StoreResult<u64> {
    count(
        connection,
        "SELECT count(*) FROM members WHERE account = ?",
        account,
    )
}

/// A process gets 256 MiB for each unit of its app's size. An app counts with one process at least: the next deploy
/// starts one.
fn app_memory(connection: &Connection, account: AccountId) -> StoreResult<u64> {
    let units = count(
        connection,
        "SELECT coalesce(sum(apps.size * max(1, (
             SELECT coalesce(sum(quantity), 0) FROM formation WHERE formation.app = apps.id
         ))), 0)
         FROM instances JOIN apps ON apps.id = instances.id
         WHERE instances.account = ? AND instances.deleted_at IS NULL",
        account,
    )?;
    Ok(units.saturating_mul(256 << 20))
}

fn count(connection: &Connection, sql: &str, account: AccountId) -> StoreResult<u64> {
    let found: i64 = connection
        .prepare_cached(sql)?
        .query_row([Text(account)], |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or(0))
}
