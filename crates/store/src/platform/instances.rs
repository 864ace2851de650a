//! Instances, and the states that let an interrupted creation or removal be finished later.

use pilvi_model::{AccountId, Error, Instance, Provider, Result, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::{Moment, NewToken, Resource, Text, quotas, tokens};
use crate::Store;

/// Where an instance stands that is not ready yet, or not any more. Only ready ones are visible; the others tell the
/// next start what to clear away. A ready one that was deleted and can still be brought back is visible to nobody
/// either: it has a `deleted_at`, and everything else as it was.
///
/// What a service keeps for an instance lies outside this database, so the two cannot change in one transaction.
/// The row is therefore written before the service makes anything and deleted after the service has removed
/// everything: at any moment, whatever exists has a row that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    Creating,
    Removing,
}

/// New values for an instance; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct InstanceChange {
    pub name: Option<String>,
    pub tags: Option<Vec<String>>,
    pub config: Option<Map<String, Value>>,
}

/// An instance that was deleted and can still be brought back.
#[derive(Clone, Debug, PartialEq)]
pub struct DeletedInstance {
    pub instance: Instance,
    pub deleted_at: Timestamp,
}

/// What became of the wish to bring an instance back.
#[derive(Clone, Debug, PartialEq)]
pub enum Revival {
    /// It is there again.
    Done(Instance),
    /// It was not deleted, or somebody else has brought it back.
    NotDeleted,
    /// There is no such instance, or not for long.
    Gone,
}

/// The condition on the table `instances` under which somebody can find one.
pub(super) const VISIBLE: &str = "instances.state = 'ready' AND instances.deleted_at IS NULL";

/// An id that somebody chose may be there already, be it of an instance that was deleted and can be restored.
fn unless_taken(error: rusqlite::Error) -> crate::error::Error {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Error::conflict(
            "this id is taken; an instance that was deleted keeps its id until it is removed for good",
        )
        .into(),
        _ => error.into(),
    }
}

pub(super) const COLUMNS: &str =
    "id, account, provider, name, tags, config, datacenter, created_at";

impl Store {
    /// Adds an instance that is being created and not visible yet. An account may have at most `instances_max`,
    /// counting those that are being created or removed,
    /// unless its quota is another one.
    pub async fn insert_instance(&self, instance: Instance, instances_max: u32) -> Result<()> {
        self.platform
            .write(move |connection| {
                let held: Option<u32> = connection
                    .prepare_cached(
                        "SELECT (SELECT count(*) FROM instances WHERE account = accounts.id)
                         FROM accounts WHERE id = ?",
                    )?
                    .query_row([Text(instance.account)], |row| row.get(0))
                    .optional()?;
                // The account may have been deleted since the caller's rights to it were checked.
                let held = held.ok_or_else(|| Error::not_found("there is no such account"))?;
                let instances_max = quotas::most(
                    connection,
                    instance.account,
                    Resource::Instances,
                    instances_max.into(),
                )?;
                if u64::from(held) >= instances_max {
                    return Err(Error::over_limit(format!(
                        "an account may have {instances_max} instances, and those count that were deleted and can \
                         still be restored; delete one at once, with ?now=true"
                    ))
                    .into());
                }
                insert(connection, &instance).map_err(unless_taken)
            })
            .await
    }

    /// Adds an instance that is being created to take the place of another one of the same account, and be gone when
    /// it has. So it counts for nobody.
    pub async fn insert_replacement(&self, instance: Instance) -> Result<()> {
        self.platform
            .write(move |connection| Ok(insert(connection, &instance)?))
            .await
    }

    /// Makes a created instance visible, together with its first token. `false`: it is not being created.
    pub async fn release_instance(&self, id: &str, token: NewToken) -> Result<bool> {
        let id = id.to_owned();
        self.platform
            .write(move |connection| {
                let released = connection
                    .prepare_cached(
                        "UPDATE instances SET state = 'ready' WHERE id = ? AND state = 'creating'",
                    )?
                    .execute([&id])?;
                if released > 0 {
                    tokens::insert(connection, &token)?;
                }
                Ok(released > 0)
            })
            .await
    }

    /// The instance, if it is ready.
    pub async fn find_instance(&self, id: &str) -> Result<Option<Instance>> {
        let id = id.to_owned();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM instances WHERE id = ? AND {VISIBLE}"
                    ))?
                    .query_row([&id], instance_of)
                    .optional()?)
            })
            .await
    }

    /// The account's ready instances, of one provider or of all, oldest first.
    pub async fn list_instances(
        &self,
        account: AccountId,
        provider: Option<Provider>,
    ) -> Result<Vec<Instance>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM instances
                     WHERE account = ?1 AND {VISIBLE} AND (?2 IS NULL OR provider = ?2)
                     ORDER BY created_at, id"
                ))?;
                let rows = statement.query_map(
                    params![Text(account), provider.map(Provider::as_str)],
                    instance_of,
                )?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Instances whose creation or removal was interrupted.
    pub async fn list_unfinished_instances(&self) -> Result<Vec<(InstanceState, Instance)>> {
        self.platform
            .read(|connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS}, state FROM instances WHERE state <> 'ready' ORDER BY created_at, id"
                ))?;
                let rows = statement.query_map([], |row| {
                    let state = match row.get_ref(8)?.as_str()? {
                        "creating" => InstanceState::Creating,
                        _ => InstanceState::Removing,
                    };
                    Ok((state, instance_of(row)?))
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Changes a ready instance and returns it as it is now.
    pub async fn update_instance(
        &self,
        id: &str,
        change: InstanceChange,
    ) -> Result<Option<Instance>> {
        let id = id.to_owned();
        self.platform
            .write(move |connection| {
                let tags = change.tags.map(|tags| Value::from(tags).to_string());
                let config = change.config.map(|config| Value::from(config).to_string());
                Ok(connection
                    .prepare_cached(&format!(
                        "UPDATE instances SET name = coalesce(?2, name), tags = coalesce(?3, tags),
                             config = coalesce(?4, config)
                         WHERE id = ?1 AND {VISIBLE} RETURNING {COLUMNS}"
                    ))?
                    .query_row(params![id, change.name, tags, config], instance_of)
                    .optional()?)
            })
            .await
    }

    /// The ids and configurations of all instances of a provider in which this key is set, visible or not.
    pub async fn list_configs_with(
        &self,
        provider: Provider,
        key: &'static str,
    ) -> Result<Vec<(String, Map<String, Value>)>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT id, config FROM instances
                     WHERE provider = ?1 AND json_extract(config, '$.' || ?2) IS NOT NULL ORDER BY id",
                )?;
                let mut rows = statement.query(params![provider.as_str(), key])?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    let config: String = row.get(1)?;
                    let config = serde_json::from_str(&config).map_err(Error::internal)?;
                    found.push((row.get(0)?, config));
                }
                Ok(found)
            })
            .await
    }

    /// Puts another configuration in the place of an instance's, visible or not.
    pub async fn replace_config(&self, id: &str, config: Map<String, Value>) -> Result<()> {
        let id = id.to_owned();
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached("UPDATE instances SET config = ?2 WHERE id = ?1")?
                    .execute(params![id, Value::from(config).to_string()])?;
                Ok(())
            })
            .await
    }

    /// Hides an instance that can be brought back: nobody finds it any more, and nobody is let in by its tokens.
    /// Returns it, also when it was hidden already; `None`: there is no such instance.
    pub async fn hide_instance(&self, id: &str, now: Timestamp) -> Result<Option<DeletedInstance>> {
        let id = id.to_owned();
        self.platform
            .write_when_low(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "UPDATE instances SET deleted_at = coalesce(deleted_at, ?2)
                         WHERE id = ?1 AND state = 'ready' RETURNING {COLUMNS}, deleted_at"
                    ))?
                    .query_row(params![id, Moment(now)], deleted_of)
                    .optional()?)
            })
            .await
    }

    /// Brings a hidden instance back, with its id and its tokens.
    pub async fn revive_instance(&self, id: &str) -> Result<Revival> {
        let id = id.to_owned();
        self.platform
            .write(move |connection| {
                let revived = connection
                    .prepare_cached(&format!(
                        "UPDATE instances SET deleted_at = NULL
                         WHERE id = ? AND state = 'ready' AND deleted_at IS NOT NULL RETURNING {COLUMNS}"
                    ))?
                    .query_row([&id], instance_of)
                    .optional()?;
                if let Some(instance) = revived {
                    return Ok(Revival::Done(instance));
                }
                let is_there: bool = connection
                    .prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM instances WHERE id = ? AND state = 'ready')",
                    )?
                    .query_row([&id], |row| row.get(0))?;
                Ok(match is_there {
                    true => Revival::NotDeleted,
                    false => Revival::Gone,
                })
            })
            .await
    }

    /// The instance, if it was deleted and can be brought back.
    pub async fn find_deleted_instance(&self, id: &str) -> Result<Option<DeletedInstance>> {
        let id = id.to_owned();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS}, deleted_at FROM instances
                         WHERE id = ? AND state = 'ready' AND deleted_at IS NOT NULL"
                    ))?
                    .query_row([&id], deleted_of)
                    .optional()?)
            })
            .await
    }

    /// The account's instances that can be brought back, of one provider or of all, deleted last first.
    pub async fn list_deleted_instances(
        &self,
        account: AccountId,
        provider: Option<Provider>,
    ) -> Result<Vec<DeletedInstance>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS}, deleted_at FROM instances
                     WHERE account = ?1 AND state = 'ready' AND deleted_at IS NOT NULL
                         AND (?2 IS NULL OR provider = ?2)
                     ORDER BY deleted_at DESC, id"
                ))?;
                let rows = statement.query_map(
                    params![Text(account), provider.map(Provider::as_str)],
                    deleted_of,
                )?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// The instances of all accounts that were deleted at this moment or earlier.
    pub async fn list_instances_deleted_until(
        &self,
        until: Timestamp,
    ) -> Result<Vec<DeletedInstance>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS}, deleted_at FROM instances
                     WHERE deleted_at <= ? AND state = 'ready' ORDER BY deleted_at, id"
                ))?;
                let rows = statement.query_map([Moment(until)], deleted_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// Hides an instance that is to be removed, and revokes its tokens. Returns it, also when an earlier removal
    /// did not come to its end; `None`: there is no such instance.
    pub async fn retire_instance(&self, id: &str) -> Result<Option<Instance>> {
        let id = id.to_owned();
        self.platform
            .write_when_low(move |connection| {
                revoke_tokens(connection, &id)?;
                Ok(connection
                    .prepare_cached(&format!(
                        "UPDATE instances SET state = 'removing' WHERE id = ? RETURNING {COLUMNS}"
                    ))?
                    .query_row([&id], instance_of)
                    .optional()?)
            })
            .await
    }

    /// The same for one that is still deleted, and was at this moment: `None` when it was brought back meanwhile.
    pub async fn retire_deleted_instance(
        &self,
        id: &str,
        until: Timestamp,
    ) -> Result<Option<Instance>> {
        let id = id.to_owned();
        self.platform
            .write_when_low(move |connection| {
                let retired = connection
                    .prepare_cached(&format!(
                        "UPDATE instances SET state = 'removing'
                         WHERE id = ? AND state = 'ready' AND deleted_at <= ? RETURNING {COLUMNS}"
                    ))?
                    .query_row(params![id, Moment(until)], instance_of)
                    .optional()?;
                if retired.is_some() {
                    revoke_tokens(connection, &id)?;
                }
                Ok(retired)
            })
            .await
    }

    /// Forgets a retired instance, once its service has removed what it kept.
    pub async fn delete_instance(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.platform
            .write_when_low(move |connection| {
                connection
                    .prepare_cached("DELETE FROM instances WHERE id = ? AND state = 'removing'")?
                    .execute([&id])?;
                Ok(())
            })
            .await
    }

    /// The account of an instance in whatever state, so that its owner can repeat a removal that failed.
    pub async fn find_instance_account(&self, id: &str) -> Result<Option<AccountId>> {
        let id = id.to_owned();
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "SELECT account FROM instances WHERE id = ? AND state <> 'creating'",
                    )?
                    .query_row([&id], |row| Ok(row.get::<_, Text<_>>(0)?.0))
                    .optional()?)
            })
            .await
    }
}

fn revoke_tokens(connection: &Connection, id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM tokens WHERE kind = 'instance' AND instance = ?")?
        .execute([id])?;
    Ok(())
}

/// Reads [`COLUMNS`] and `deleted_at`.
fn deleted_of(row: &Row<'_>) -> rusqlite::Result<DeletedInstance> {
    Ok(DeletedInstance {
        instance: instance_of(row)?,
        deleted_at: row.get::<_, Moment>(8)?.0,
    })
}

fn insert(connection: &Connection, instance: &Instance) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO instances ({COLUMNS}, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'creating')"
        ))?
        .execute(params![
            instance.id,
            Text(instance.account),
            instance.provider.as_str(),
            instance.name,
            Value::from(instance.tags.clone()).to_string(),
            Value::from(instance.config.clone()).to_string(),
            instance.datacenter,
            Moment(instance.created_at),
        ])?;
    Ok(())
}

pub(super) fn instance_of(row: &Row<'_>) -> rusqlite::Result<Instance> {
    let unreadable = |column| {
        move |error: serde_json::Error| {
            rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
        }
    };
    Ok(Instance {
        id: row.get(0)?,
        account: row.get::<_, Text<_>>(1)?.0,
        provider: row.get::<_, Text<_>>(2)?.0,
        name: row.get(3)?,
        tags: serde_json::from_str(row.get_ref(4)?.as_str()?).map_err(unreadable(4))?,
        config: serde_json::from_str(row.get_ref(5)?.as_str()?).map_err(unreadable(5))?,
        datacenter: row.get(6)?,
        created_at: row.get::<_, Moment>(7)?.0,
    })
}
