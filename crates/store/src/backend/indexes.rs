//! Indexes that come by themselves: a query that was slow gets one for the property it asks for.
//!
//! Nobody declares what will be queried, so the first slow query says it. The index is made by the backend's writer
//! soon after, and all later queries of that kind find it. An index costs each write a little and its making holds
//! the backend's writes up, so there are few of them, and none is made where that would take long.

use std::time::{Duration, Instant};

use pilvi_base::secret::{hex, sha256};
use pilvi_model::query::{Filter, Sort};
use rusqlite::{Connection, OptionalExtension};

use super::{Backend, geo};
use crate::error::Result;
use crate::query;

/// A read that took longer is slow. It is some thousand documents looked through.
const SLOW: Duration = Duration::from_millis(10);
/// Indexes of one backend.
const INDEXES_MAX: u32 = 16;
/// Objects that an index is made over without being asked to: about half a second.
const OBJECTS_MAX: i64 = 250_000;
const PREFIX: &str = "property_";

/// An index that would have helped.
#[derive(Debug)]
struct Wish {
    name: String,
    key: String,
}

impl Backend {
    /// Runs a read of a query, and has an index made when it was slow and one would help.
    pub(super) async fn read_query<T: Send + 'static>(
        &self,
        filter: Filter,
        sort: Sort,
        read: impl Fn(&Connection, &query::Compiled) -> Result<T> + Send + 'static,
    ) -> pilvi_model::Result<T> {
        let database = self.database.clone();
        self.database
            .read(move |connection| {
                let compiled = geo::narrow(connection, &filter, query::compile(&filter, &sort))?;
                let started = Instant::now();
                let answer = read(connection, &compiled);
                if started.elapsed() > SLOW {
                    // When the writer has too much to do already, the next slow query asks again.
                    if let Some(wish) = geo::wish(connection, &filter)? {
                        database.write_sometime(move |connection| geo::make(connection, &wish));
                    } else if let Some(wish) = wish(connection, &filter, &sort)? {
                        database.write_sometime(move |connection| make(connection, &wish));
                    }
                }
                answer
            })
            .await
    }
}

/// The first index that the query could use and that is not there.
fn wish(connection: &Connection, filter: &Filter, sort: &Sort) -> Result<Option<Wish>> {
    for key in query::index_keys(filter, sort) {
        let name = format!("{PREFIX}{}", hex(&sha256(key.as_bytes())[..8]));
        let there = connection
            .prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?")?
            .query_row([&name], |_| Ok(()))
            .optional()?;
        if there.is_none() {
            return Ok(Some(Wish { name, key }));
        }
    }
    Ok(None)
}

fn make(connection: &Connection, wish: &Wish) -> Result<()> {
    let Wish { name, key } = wish;
    let (held, newest): (u32, Option<i64>) = connection.query_row(
        "SELECT (SELECT count(*) FROM sqlite_master WHERE type = 'index' AND name GLOB ? || '*'), \
                (SELECT max(seq) FROM objects)",
        [PREFIX],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if held >= INDEXES_MAX || newest.unwrap_or(0) > OBJECTS_MAX {
        tracing::debug!(
            index = name,
            held,
            newest,
            "no index was made for a slow query"
        );
        return Ok(());
    }
    connection.execute_batch(&format!(
        "CREATE INDEX IF NOT EXISTS {name} ON objects (type, {key}, id); {}",
        query::GATHER_STATISTICS
    ))?;
    tracing::info!(index = name, "made an index for a query that was slow");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, Store};
    use pilvi_model::ObjectId;

    async fn indexes(backend: &Backend) -> u32 {
        backend
            .database
            .read(|connection| {
                let sql = "SELECT count(*) FROM sqlite_master WHERE name GLOB 'property_*'";
                Ok(connection.query_row(sql, [], |row| row.get(0))?)
            })
            .await
            .unwrap()
    }

    /// Has the index made that a slow run of this query would ask for; says whether one was wished for.
    async fn after_slow(backend: &Backend, q: &str) -> bool {
        let filter = Filter::parse(q).unwrap();
        backend
            .database
            .write(move |connection| {
                let wish = wish(connection, &filter, &Sort::default())?;
                let wished = wish.is_some();
                wish.map(|wish| make(connection, &wish)).transpose()?;
                Ok(wished)
            })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_slow_query_gets_one_index_and_their_number_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Limits::default()).await.unwrap();
        store
            .create_backend(ObjectId::from_bytes([1; 12]))
            .await
            .unwrap();
        let backend = store.backend(ObjectId::from_bytes([1; 12]));

        assert!(after_slow(&backend, r#"{"title":"x"}"#).await);
        assert!(
            !after_slow(&backend, r#"{"title":"y"}"#).await,
            "it is there already"
        );
        assert!(
            !after_slow(&backend, r#"{"id":"y"}"#).await,
            "the id has an index"
        );
        assert!(
            !after_slow(&backend, "{}").await,
            "there is nothing to ask for"
        );
        assert_eq!(indexes(&backend).await, 1);
        let reference =
            r#"{"list":{"id":"51cdbc08989e975ec300772a","objectType":"objects.lists"}}"#;
        assert!(after_slow(&backend, reference).await);
        assert!(!after_slow(&backend, r#"{"list.id":"51cdbc08989e975ec300772a"}"#).await);
        for number in 0..20 {
            after_slow(&backend, &format!(r#"{{"p{number}":1}}"#)).await;
        }
        assert_eq!(indexes(&backend).await, INDEXES_MAX);
    }
}
