//! An app's rows on their way out of one database and into another, as JSON.

use std::collections::HashMap;

use pilvi_base::secret::{hex, unhex};
use pilvi_model::{AppId, BackendId, Error, Instance, Result};
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value, json};

use super::instances::{COLUMNS, instance_of};
use super::{Text, quotas, releases, slugs};
use crate::Store;
use crate::error::Result as StoreResult;

/// What an app has in which tables, beside `app` itself; in the order in which it can be inserted. Only what is ready
/// or over travels: what was under way belongs to the server that began it.
const TABLES: [(&str, &[&str], &str); 6] = [
    ("app_vars", &["name", "value"], "TRUE"),
    (
        "slugs",
        &[
            "id",
            "tag",
            "origin",
            "state",
            "process_types",
            "default_vars",
            "stack",
            "bytes",
            "created_at",
            "deployed_at",
        ],
        "state = 'ready'",
    ),
    (
        "releases",
        &[
            "number",
            "slug",
            "slug_tag",
            "vars",
            "process_types",
            "stack",
            "reason",
            "author",
            "state",
            "created_at",
        ],
        "state <> 'pending'",
    ),
    ("formation", &["position", "type", "quantity"], "TRUE"),
    ("domains", &["name", "created_at"], "TRUE"),
    ("certificates", &["chain", "key", "expires_at"], "TRUE"),
];

/// The columns of an app itself.
const APP: &[&str] = &["size", "stack", "wanted", "release", "releases"];

/// Rows of one table that are taken in: more than any app has.
const ROWS_MAX: usize = 10_000;

/// What came of the rows of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedApp {
    /// Slugs by the number that they had, with the one that they have now.
    pub slugs: Vec<(i64, i64)>,
    /// Domains that another app has meanwhile.
    pub domains_taken: Vec<String>,
}

impl Store {
    /// All rows of an app, from one moment. Secrets in it are sealed.
    pub async fn export_app(&self, app: &AppId) -> Result<Value> {
        let app = app.clone();
        self.platform
            .read(move |connection| {
                let select = |table: &str, key: &str, columns: &[&str], condition: &str| {
                    let columns = columns.join(", ");
                    rows(
                        connection,
                        &format!("SELECT {columns} FROM {table} WHERE {key} = ? AND {condition}"),
                        app.as_str(),
                    )
                };
                let found = select("apps", "id", APP, "TRUE")?;
                let found = found.into_iter().next();
                let mut all = Map::new();
                all.insert(
                    "app".to_owned(),
                    found.ok_or_else(super::apps::no_such_app)?,
                );
                for (table, columns, condition) in TABLES {
                    let rows = select(table, "app", columns, condition)?;
                    all.insert(table.to_owned(), rows.into());
                }
                Ok(Value::Object(all))
            })
            .await
    }

    /// Adds the rows of an app to an instance that is being created, all or none. Slugs get new numbers. Domains that
    /// the app has whose place this one will take are not counted as taken, and stay with it.
    pub async fn import_app(
        &self,
        app: &AppId,
        replaces: Option<AppId>,
        records: Value,
    ) -> Result<ImportedApp> {
        let app = app.clone();
        self.platform
            .write(move |connection| {
                let mut imported = import(connection, &app, &records)?;
                if let Some(replaces) = &replaces {
                    let mut its = connection.prepare_cached(
                        "SELECT EXISTS (SELECT 1 FROM domains WHERE name = ? AND app = ?)",
                    )?;
                    let mut taken = Vec::new();
                    for domain in imported.domains_taken {
                        if !its.query_row([&*domain, replaces.as_str()], |row| row.get(0))? {
                            taken.push(domain);
                        }
                    }
                    imported.domains_taken = taken;
                }
                Ok(imported)
            })
            .await
    }

    /// Gives the rows of one app to another in the place of its own, all or none; `domains` are those that it may keep.
    /// Returns the slugs that nobody has any more. `memory_max` is what the apps of an account may take together,
    /// unless its quota is another.
    pub async fn replace_app(
        &self,
        app: &AppId,
        with: &AppId,
        domains: Vec<String>,
        memory_max: u64,
    ) -> Result<Vec<i64>> {
        let (app, with) = (app.clone(), with.clone());
        self.platform
            .write(move |connection| {
                let slugs = replace(connection, &app, &with, &domains)?;
                quotas::check_app_memory(connection, &app, memory_max, 0)?;
                Ok(slugs)
            })
            .await
    }
}

fn import(connection: &Connection, app: &AppId, records: &Value) -> StoreResult<ImportedApp> {
    let mut imported = ImportedApp::default();
    insert(connection, "apps", "id", app, APP, &records["app"], "")?;
    let mut numbers = HashMap::new();
    for (table, columns, _) in TABLES {
        let rows = records[table]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        if rows.len() > ROWS_MAX {
            return Err(unusable(table).into());
        }
        for row in rows {
            match table {
                "slugs" => {
                    let old = row["id"].as_i64().ok_or_else(|| unusable(table))?;
                    insert(connection, table, "app", app, &columns[1..], row, "")?;
                    let new = connection.last_insert_rowid();
                    numbers.insert(old, new);
                    imported.slugs.push((old, new));
                }
                "releases" => {
                    let mut row = row.clone();
                    row["slug"] = match row["slug"].as_i64() {
                        Some(old) => json!(numbers.get(&old)),
                        None => Value::Null,
                    };
                    insert(connection, table, "app", app, columns, &row, "")?;
                }
                "domains" => {
                    let conflict = "ON CONFLICT (name) DO NOTHING";
                    if insert(connection, table, "app", app, columns, row, conflict)? == 0 {
                        let name = row["name"].as_str().unwrap_or_default();
                        imported.domains_taken.push(name.to_owned());
                    }
                }
                _ => {
                    insert(connection, table, "app", app, columns, row, "")?;
                }
            }
        }
    }
    read_back(connection, app)?;
    Ok(imported)
}

fn replace(
    connection: &Connection,
    app: &AppId,
    with: &AppId,
    domains: &[String],
) -> StoreResult<Vec<i64>> {
    let (app, with) = (app.as_str(), with.as_str());
    let mut statement = connection.prepare_cached("SELECT id FROM slugs WHERE app = ?")?;
    let slugs = statement.query_map([app], |row| row.get(0))?;
    let slugs = slugs.collect::<rusqlite::Result<_>>()?;
    for (table, ..) in TABLES {
        match table {
            "domains" => {
                let kept = Value::from(domains).to_string();
                connection
                    .prepare_cached(
                        "DELETE FROM domains WHERE app = ? AND name NOT IN (SELECT value FROM json_each(?))",
                    )?
                    .execute([app, &kept])?;
            }
            _ => {
                connection.execute(&format!("DELETE FROM {table} WHERE app = ?"), [app])?;
            }
        }
        connection.execute(
            &format!("UPDATE {table} SET app = ? WHERE app = ?"),
            [app, with],
        )?;
    }
    let columns = APP.join(", ");
    let changed = connection.execute(
        &format!(
            "UPDATE apps SET ({columns}) = (SELECT {columns} FROM apps WHERE id = ?2) WHERE id = ?1"
        ),
        [app, with],
    )?;
    connection.execute("DELETE FROM apps WHERE id = ?", [with])?;
    match changed {
        0 => Err(super::apps::no_such_app().into()),
        _ => Ok(slugs),
    }
}

/// Reads what was inserted as everybody will: what cannot be read must not stay.
fn read_back(connection: &Connection, app: &AppId) -> StoreResult<()> {
    slugs::read_all(connection, app)?;
    releases::read_all(connection, app)?;
    super::formation::read(connection, app)?;
    super::apps::stack_of(connection, app)?;
    for (table, column) in [("domains", "name"), ("app_vars", "name")] {
        let mut statement =
            connection.prepare(&format!("SELECT {column} FROM {table} WHERE app = ?"))?;
        let mut rows = statement.query([app.as_str()])?;
        while let Some(row) = rows.next()? {
            match table {
                "domains" => drop(row.get::<_, Text<pilvi_model::app::Domain>>(0)?),
                _ => drop(row.get::<_, Text<pilvi_model::app::VarName>>(0)?),
            }
        }
    }
    Ok(())
}

fn unusable(table: &str) -> Error {
    Error::bad_request(format!(
        "the archive's record of an app is of no use: its {table} are not as a server writes them"
    ))
}

fn insert(
    connection: &Connection,
    table: &str,
    key: &str,
    app: &AppId,
    columns: &[&str],
    row: &Value,
    conflict: &str,
) -> StoreResult<usize> {
    let mut values = vec![Sql::Text(app.to_string())];
    for column in columns {
        values.push(sql_of(&row[*column]).ok_or_else(|| unusable(table))?);
    }
    let marks = vec!["?"; values.len()].join(", ");
    let columns = columns.join(", ");
    let inserted = connection
        .prepare_cached(&format!(
            "INSERT INTO {table} ({key}, {columns}) VALUES ({marks}) {conflict}"
        ))?
        .execute(params_from_iter(values));
    inserted.map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::ConstraintViolation | rusqlite::ErrorCode::TypeMismatch) => {
            unusable(table).caused_by(error).into()
        }
        _ => error.into(),
    })
}

fn rows(connection: &Connection, sql: &str, app: &str) -> StoreResult<Vec<Value>> {
    let mut statement = connection.prepare(sql)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map(params![app], |row| {
        let mut object = Map::new();
        for (column, name) in names.iter().enumerate() {
            object.insert(name.clone(), json_of(row.get_ref(column)?));
        }
        Ok(Value::Object(object))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn json_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => json!({ "hex": hex(bytes) }),
    }
}

fn sql_of(value: &Value) -> Option<Sql> {
    Some(match value {
        Value::Null => Sql::Null,
        Value::Number(number) => Sql::Integer(number.as_i64()?),
        Value::String(text) => Sql::Text(text.clone()),
        Value::Object(object) => Sql::Blob(unhex(object.get("hex")?.as_str()?)?),
        Value::Bool(_) | Value::Array(_) => return None,
    })
}

/// See [`crate::snapshot::instances_in`].
pub(crate) fn instances_in(connection: &Connection) -> StoreResult<Vec<Instance>> {
    let mut statement = connection.prepare(&format!(
        "SELECT {COLUMNS} FROM instances WHERE state = 'ready' ORDER BY created_at, id"
    ))?;
    let rows = statement.query_map([], instance_of)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// See [`crate::snapshot::mark_removed_in`].
pub(crate) fn mark_removed(connection: &Connection, id: &str) -> StoreResult<()> {
    connection.execute("DELETE FROM tokens WHERE instance = ?", [id])?;
    connection.execute("UPDATE instances SET state = 'removing' WHERE id = ?", [id])?;
    Ok(())
}

/// See [`crate::snapshot::note_webhooks_in`].
pub(crate) fn note_webhooks(connection: &Connection, backends: &[BackendId]) -> StoreResult<()> {
    for backend in backends {
        connection.execute(
            "INSERT INTO webhook_backends (backend) SELECT id FROM instances WHERE id = ?
             ON CONFLICT DO NOTHING",
            [Text(*backend)],
        )?;
    }
    Ok(())
}
