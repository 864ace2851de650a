//! The way from SQL back into the evaluator, for what SQL cannot decide.
//!
//! The functions take as their first argument a bound text that stays the same for a whole statement; SQLite
//! keeps what was parsed from it, so it is parsed once and not for each row. What they are called with was made
//! by this crate. Anything else ends the statement with an error.

use std::error::Error;

use pilvi_model::query::sort::SortValue;
use pilvi_model::query::{Filter, Nearest, Path, Sort};
use pilvi_model::search::{Search, Searchable};
use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::Value;
use serde_json::json;

use super::sql::Sql;

type Fault = Box<dyn Error + Send + Sync>;

/// Adds the functions to a connection.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("eds_matches", 2, flags, eds_matches)?;
    connection.create_scalar_function("eds_key", 2, flags, eds_key)?;
    connection.create_scalar_function("eds_search", 3, flags, eds_search)?;
    connection.create_scalar_function("eds_distance", 2, flags, eds_distance)
}

/// Whether the document passes the filter, as 0 or 1.
pub(super) fn matches(filter: &serde_json::Value) -> Sql {
    Sql::fill("eds_matches({}, doc)", &[&Sql::value(filter.to_string())])
}

/// The key of the path (see `place`), with numbers leading to the elements of arrays.
pub(super) fn key(path: &Path) -> Sql {
    let sort = json!({"sortBy": path.to_string()}).to_string();
    Sql::fill("eds_key({}, doc)", &[&Sql::value(sort)])
}

/// How far the document is from what the filter calls near; `NULL` when it has no location there.
pub(super) fn distance(nearest: &Nearest) -> Sql {
    let filter = Sql::value(nearest.source.to_string());
    Sql::fill("eds_distance({}, doc)", &[&filter])
}

fn eds_matches(context: &Context<'_>) -> rusqlite::Result<bool> {
    let filter = context.get_or_create_aux(0, |text| -> Result<_, Fault> {
        Ok(Filter::parse(text.as_str()?)?)
    })?;
    Ok(filter.matches(&document(context, 1)?))
}

fn eds_key(context: &Context<'_>) -> rusqlite::Result<Value> {
    let sort = context.get_or_create_aux(0, |text| -> Result<_, Fault> {
        Ok(Sort::parse(text.as_str()?)?)
    })?;
    let document = document(context, 1)?;
    let value = sort
        .keys()
        .first()
        .map(|key| SortValue::at(&document, &key.path));
    Ok(match value {
        None | Some(SortValue::Nothing) => Value::Null,
        Some(SortValue::Integer(integer)) => Value::Integer(integer),
        Some(SortValue::Real(real)) => Value::Real(real),
        Some(SortValue::Text(text)) => Value::Text(text.to_owned()),
        Some(SortValue::Object) => Value::Blob(vec![1]),
        Some(SortValue::Array) => Value::Blob(vec![2]),
        Some(SortValue::Boolean(flag)) => Value::Blob(vec![3 + u8::from(flag)]),
    })
}

fn eds_distance(context: &Context<'_>) -> rusqlite::Result<Option<f64>> {
    let nearest = context.get_or_create_aux(0, |text| -> Result<_, Fault> {
        Ok(Filter::parse(text.as_str()?)?.nearest())
    })?;
    let document = document(context, 1)?;
    Ok(nearest
        .as_ref()
        .as_ref()
        .and_then(|nearest: &Nearest| nearest.distance(&document)))
}

/// Whether the document has what a search looks for in those of its texts that are searchable.
fn eds_search(context: &Context<'_>) -> rusqlite::Result<bool> {
    let search = context.get_or_create_aux(0, |text| -> Result<_, Fault> {
        Ok(Search::parse(text.as_str()?)?)
    })?;
    let searchable = context.get_or_create_aux(1, |text| -> Result<_, Fault> {
        let searchable = Searchable::from_text(text.as_str()?);
        searchable.ok_or_else(|| "it is not said what is searchable".into())
    })?;
    Ok(search.matches(&searchable, &document(context, 2)?))
}

fn document(context: &Context<'_>, place: usize) -> rusqlite::Result<serde_json::Value> {
    let text = context.get_raw(place).as_str()?;
    serde_json::from_str(text).map_err(|fault| rusqlite::Error::UserFunctionError(fault.into()))
}
