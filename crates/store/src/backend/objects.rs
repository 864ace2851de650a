//! Objects: insert, find, update, delete, list, count.

use pilvi_model::query::{Filter, Page, Sort};
use pilvi_model::{
    Error as DomainError, Object, ObjectId, ObjectType, Properties, Result, Timestamp, WebhookId,
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

use super::Backend;
use super::outbox::{self, Change, Origin};
use crate::error;

/// A list is put together in memory before it is sent.
const PAGE_MAX_BYTES: usize = 32 << 20;

/// A change that is on disk.
#[derive(Clone, Debug)]
pub struct Written {
    pub object: Object,
    /// The webhooks that now have something to deliver.
    pub webhooks: Vec<WebhookId>,
}

impl Backend {
    /// Stores a new object with its outbox row and deliveries.
    pub async fn insert_object(&self, object: Object, origin: Origin) -> Result<Written> {
        self.database
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO objects (type, id, created_at, updated_at, doc) \
                         VALUES (?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        object.object_type.as_str(),
                        object.id.to_string(),
                        object.created_at.to_millis_text(),
                        object.updated_at.to_millis_text(),
                        object.text,
                    ])?;
                let webhooks = outbox::append(connection, Change::Create, &object, &origin)?;
                Ok(Written { object, webhooks })
            })
            .await
    }

    pub async fn find_object(
        &self,
        object_type: ObjectType,
        id: ObjectId,
    ) -> Result<Option<Object>> {
        self.database
            .read(move |connection| find(connection, &object_type, id))
            .await
    }

    /// Sets the given properties; fails with not found when there is no such object. `now` is a lower bound:
    /// `updatedAt` always grows.
    pub async fn update_object(
        &self,
        object_type: ObjectType,
        id: ObjectId,
        changes: Properties,
        now: Timestamp,
        origin: Origin,
    ) -> Result<Written> {
        self.database
            .write(move |connection| {
                let object = get(connection, &object_type, id)?.update(now, changes)?;
                connection
                    .prepare_cached(
                        "UPDATE objects SET updated_at = ?, doc = ? WHERE type = ? AND id = ?",
                    )?
                    .execute(params![
                        object.updated_at.to_millis_text(),
                        object.text,
                        object_type.as_str(),
                        id.to_string(),
                    ])?;
                let webhooks = outbox::append(connection, Change::Update, &object, &origin)?;
                Ok(Written { object, webhooks })
            })
            .await
    }

    /// Deletes the object and says what it last was.
    pub async fn delete_object(
        &self,
        object_type: ObjectType,
        id: ObjectId,
        origin: Origin,
    ) -> Result<Written> {
        self.database
            .write_when_low(move |connection| {
                let object = get(connection, &object_type, id)?;
                connection
                    .prepare_cached("DELETE FROM objects WHERE type = ? AND id = ?")?
                    .execute(params![object_type.as_str(), id.to_string()])?;
                let webhooks = outbox::append(connection, Change::Delete, &object, &origin)?;
                Ok(Written { object, webhooks })
            })
            .await
    }

    /// The texts of the objects that match, in order. A type that nobody used yet has none.
    pub async fn list_objects(
        &self,
        object_type: ObjectType,
        filter: Filter,
        sort: Sort,
        page: Page,
    ) -> Result<Vec<String>> {
        self.read_query(filter, sort, move |connection, compiled| {
            let sql = format!(
                "SELECT doc FROM objects WHERE type = ? AND ({}) ORDER BY {} LIMIT ? OFFSET ?",
                compiled.condition, compiled.order
            );
            let mut values = vec![Value::from(object_type.as_str().to_owned())];
            values.extend_from_slice(&compiled.values);
            values.push(i64::from(page.limit).into());
            values.push(i64::try_from(page.offset).unwrap_or(i64::MAX).into());
            collect_page(connection, &sql, values)
        })
        .await
    }

    /// How many objects match.
    pub async fn count_objects(&self, object_type: ObjectType, filter: Filter) -> Result<u64> {
        // The default order binds no values.
        self.read_query(filter, Sort::default(), move |connection, compiled| {
            let condition = &compiled.condition;
            let sql = format!("SELECT count(*) FROM objects WHERE type = ? AND ({condition})");
            let mut values = vec![Value::from(object_type.as_str().to_owned())];
            values.extend_from_slice(&compiled.values);
            let mut statement = connection.prepare_cached(&sql)?;
            Ok(statement.query_row(params_from_iter(values), |row| row.get(0))?)
        })
        .await
    }
}

fn collect_page(
    connection: &Connection,
    sql: &str,
    values: Vec<Value>,
) -> error::Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        bytes += text.len();
        if bytes > PAGE_MAX_BYTES {
            let message = "this page of results is larger than 32 MiB; ask for fewer with `limit`";
            return Err(DomainError::too_large(message).into());
        }
        texts.push(text);
    }
    Ok(texts)
}

fn get(connection: &Connection, object_type: &ObjectType, id: ObjectId) -> error::Result<Object> {
    find(connection, object_type, id)?.ok_or_else(|| {
        DomainError::not_found(format!("there is no object {id} of type {object_type}")).into()
    })
}

fn find(
    connection: &Connection,
    object_type: &ObjectType,
    id: ObjectId,
) -> error::Result<Option<Object>> {
    let mut statement = connection.prepare_cached(
        "SELECT created_at, updated_at, doc FROM objects WHERE type = ? AND id = ?",
    )?;
    let found = statement
        .query_row(params![object_type.as_str(), id.to_string()], |row| {
            Ok(Object {
                id,
                object_type: object_type.clone(),
                created_at: timestamp(row, 0)?,
                updated_at: timestamp(row, 1)?,
                text: row.get(2)?,
            })
        })
        .optional()?;
    Ok(found)
}

/// Reads a moment that this crate wrote as text.
pub(super) fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    Timestamp::from_millis_text(&text).ok_or_else(|| {
        let fault = format!("`{text}` is no moment");
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, fault.into())
    })
}
