//! Indexes of locations: a query for what is near or within, that was slow, gets an R*Tree for its property.
//!
//! The tree holds a rectangle for every object that may have a location at the path, and triggers keep it so. Its
//! numbers have 32 bits, rounded outwards, so a rectangle is never too small; what the tree finds is checked exactly
//! afterwards. Nothing in the schema calls a function of ours: any SQLite can write to such a file.

use pilvi_base::secret::{hex, sha256};
use pilvi_model::query::{Bounds, Filter, Path, Sort};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension};

use crate::error::Result;
use crate::query::{self, Compiled, location_rectangles};

/// Trees of one backend; each costs every write a little.
const TREES_MAX: u32 = 4;
/// Objects that a tree is made over without being asked to: a second or two.
const OBJECTS_MAX: i64 = 150_000;
const PREFIX: &str = "location_";

/// A tree that would have helped.
#[derive(Debug)]
pub(super) struct Wish {
    name: String,
    path: Path,
}

/// Has the query look only at what the trees find, where there are some.
pub(crate) fn narrow(
    connection: &Connection,
    filter: &Filter,
    mut compiled: Compiled,
) -> Result<Compiled> {
    for region in filter.regions() {
        if let Some(bounds) = region.bounds
            && is_there(connection, &tree_name(&region.path))?
        {
            compiled = only_within(compiled, &region.path, &bounds);
        }
    }
    Ok(compiled)
}

/// Looks for the first objects by distance in wider and wider circles, so that a query without a limit need not
/// measure all there is. `list` carries a query out; it is done when a page is full.
pub(super) fn list_by_distance<T>(
    connection: &Connection,
    sort: &Sort,
    compiled: &Compiled,
    limit: usize,
    list: impl Fn(&Compiled) -> Result<Vec<T>>,
) -> Result<Vec<T>> {
    if let Some(nearest) = sort.nearest()
        && is_there(connection, &tree_name(&nearest.path))?
    {
        for (radius, bounds) in nearest.rings() {
            let ring = only_within(compiled.clone(), &nearest.path, &bounds);
            let found = list(&ring.within(nearest, radius))?;
            if found.len() == limit {
                return Ok(found);
            }
        }
    }
    list(compiled)
}

/// Leaves only what has a location in one of the rectangles; there must be a tree for the path.
fn only_within(compiled: Compiled, path: &Path, bounds: &[Bounds]) -> Compiled {
    let name = tree_name(path);
    let search = format!(
        "SELECT id FROM {name} WHERE west <= ? AND east >= ? AND south <= ? AND north >= ?"
    );
    let searches = vec![search; bounds.len()].join(" UNION ALL ");
    let values = bounds
        .iter()
        .flat_map(|bounds| [bounds.east, bounds.west, bounds.north, bounds.south])
        .map(Value::from);
    compiled.of_rows(&searches, values.collect())
}

/// The first tree that the query could use and that is not there.
pub(super) fn wish(connection: &Connection, filter: &Filter) -> Result<Option<Wish>> {
    for region in filter.regions() {
        let name = tree_name(&region.path);
        if !is_there(connection, &name)? {
            let path = region.path;
            return Ok(location_rectangles(&path, "objects").map(|_| Wish { name, path }));
        }
    }
    Ok(None)
}

fn tree_name(path: &Path) -> String {
    format!("{PREFIX}{}", hex(&sha256(path.to_string().as_bytes())[..8]))
}

fn is_there(connection: &Connection, name: &str) -> Result<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?")?
        .query_row([name], |_| Ok(()))
        .optional()?;
    Ok(found.is_some())
}

pub(super) fn make(connection: &Connection, wish: &Wish) -> Result<()> {
    let Wish { name, path } = wish;
    let (held, newest): (u32, Option<i64>) = connection.query_row(
        "SELECT (SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name GLOB ? || '*_insert'), \
                (SELECT max(seq) FROM objects)",
        [PREFIX],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if held >= TREES_MAX || newest.unwrap_or(0) > OBJECTS_MAX || is_there(connection, name)? {
        tracing::debug!(
            index = name,
            held,
            newest,
            "no index of locations was made for a slow query"
        );
        return Ok(());
    }
    build(connection, path)?;
    tracing::info!(
        index = name,
        "made an index of locations for a query that was slow"
    );
    Ok(())
}

/// Makes the tree for a path with plain names.
pub(crate) fn build(connection: &Connection, path: &Path) -> Result<()> {
    let name = tree_name(path);
    let rectangles = |rows: &str| location_rectangles(path, rows).unwrap_or_default();
    let (all, new) = (
        rectangles("objects"),
        rectangles("(SELECT new.seq AS seq, new.doc AS doc)"),
    );
    connection.execute_batch(&format!(
        "CREATE VIRTUAL TABLE {name} USING rtree (id, west, east, south, north);
         INSERT INTO {name} {all};
         CREATE TRIGGER {name}_insert AFTER INSERT ON objects BEGIN INSERT INTO {name} {new}; END;
         CREATE TRIGGER {name}_update AFTER UPDATE OF doc ON objects BEGIN
             DELETE FROM {name} WHERE id = old.seq; INSERT INTO {name} {new}; END;
         CREATE TRIGGER {name}_delete AFTER DELETE ON objects BEGIN DELETE FROM {name} WHERE id = old.seq; END;
         {}",
        query::GATHER_STATISTICS
    ))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use pilvi_model::query::{After, Parameters, Query};
    use pilvi_model::{Asker, ObjectId, ObjectType};
    use rusqlite::params;
    use serde_json::json;

    use super::*;
    use crate::{Backend, Limits, Store};

    async fn backend(folder: &std::path::Path) -> Backend {
        let store = Store::open(folder, Limits::default()).await.unwrap();
        let id = ObjectId::from_bytes([1; 12]);
        store.create_backend(id).await.unwrap();
        store.backend(id)
    }

    /// A grid of places, a tenth of a degree apart.
    async fn fill(backend: &Backend, side: i64) {
        backend
            .database
            .write(move |connection| {
                for number in 0..side * side {
                    let at = [number % side, number / side].map(|steps| steps as f64 / 10.0);
                    put(connection, number, &json!({ "at": at, "n": number % 7 }))?;
                }
                Ok(())
            })
            .await
            .unwrap();
    }

    fn put(connection: &Connection, number: i64, properties: &serde_json::Value) -> Result<()> {
        let id = format!("{number:024x}");
        let mut document = json!({ "id": id });
        for (name, value) in properties.as_object().unwrap() {
            document[name] = value.clone();
        }
        connection
            .prepare_cached(
                "INSERT INTO objects (seq, type, id, created_at, updated_at, doc) \
                 VALUES (?, 'objects.places', ?, '', '', ?) \
                 ON CONFLICT (seq) DO UPDATE SET doc = excluded.doc",
            )?
            .execute(params![number + 1, id, document.to_string()])?;
        Ok(())
    }

    fn query(q: &str, limit: &str) -> Query {
        Query::parse(&Parameters {
            q: Some(q),
            limit: Some(limit),
            ..Parameters::default()
        })
        .unwrap()
    }

    async fn list(backend: &Backend, query: &Query) -> Vec<String> {
        let places = ObjectType::custom("places").unwrap();
        backend
            .list_objects(Asker::Admin, places, query)
            .await
            .unwrap()
    }

    async fn make_tree(backend: &Backend, q: &str) -> bool {
        let filter = Filter::parse(q).unwrap();
        backend
            .database
            .write(move |connection| {
                let wish = wish(connection, &filter)?;
                let wished = wish.is_some();
                wish.map(|wish| make(connection, &wish)).transpose()?;
                Ok(wished)
            })
            .await
            .unwrap()
    }

    const NEAR: &str = r#"{"at":{"$near":{"$geometry":{"type":"Point","coordinates":[2,2]}}}}"#;
    const WITHIN: &str = r#"{"at":{"$within":{"$centerSphere":[[1,1],0.01]}},"n":{"$gt":2}}"#;
    const PLANE: &str = r#"{"at":{"$near":[0,0],"$minDistance":0.3}}"#;

    #[tokio::test]
    async fn a_tree_changes_nothing_but_the_way_there() {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(folder.path()).await;
        fill(&backend, 30).await;
        let queries: Vec<Query> = [NEAR, WITHIN, PLANE]
            .iter()
            .flat_map(|q| ["1", "20", "1000"].map(|limit| query(q, limit)))
            .collect();
        make_tree(&backend, NEAR).await;
        assert!(!make_tree(&backend, WITHIN).await);
        let mut documents: Vec<serde_json::Value> = list(&backend, &query("", "1000"))
            .await
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        for query in &queries {
            documents.sort_by(|left, right| query.sort.compare(left, right));
            let passing = documents
                .iter()
                .filter(|document| query.filter.matches(document));
            let expected: Vec<String> = passing
                .take(query.page.limit as usize)
                .map(serde_json::Value::to_string)
                .collect();
            assert!(!expected.is_empty());
            assert_eq!(
                list(&backend, query).await,
                expected,
                "{:?}",
                query.filter.source()
            );
        }
        // Page by page it is the same list.
        let whole = list(&backend, &query(NEAR, "1000")).await;
        let (mut walked, mut page) = (Vec::new(), query(NEAR, "300"));
        loop {
            let results = list(&backend, &page).await;
            let last = results
                .last()
                .map(|text| serde_json::from_str(text).unwrap());
            let next = page.next(results.len(), last.as_ref());
            walked.extend(results);
            let Some(position) = last
                .filter(|_| next.is_some())
                .map(|last| page.sort.position(&last))
            else {
                break;
            };
            page.after = Some(After::Position(position));
        }
        assert_eq!(walked, whole);
        assert_eq!(walked.len(), 900);
    }

    #[tokio::test]
    async fn a_tree_follows_every_write() {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(folder.path()).await;
        fill(&backend, 2).await;
        assert!(make_tree(&backend, NEAR).await);
        let there = query(r#"{"at":{"$within":{"$box":[[49,49],[51,51]]}}}"#, "10");
        let strange = [
            json!(null),
            json!("x"),
            json!([]),
            json!([1, i64::MIN]),
            json!([[50, 50], [0, 0]]),
            json!({"type": "Point", "coordinates": [50, 50]}),
            json!([1e300, 50]),
            json!([true, false]),
            json!([50, 50]),
        ];
        for value in strange {
            let expected = usize::from(there.filter.matches(&json!({ "at": value })));
            let properties = json!({ "at": value });
            let write = backend
                .database
                .write(move |connection| put(connection, 2, &properties));
            write.await.unwrap();
            assert_eq!(list(&backend, &there).await.len(), expected, "{value}");
        }
        let delete = backend
            .database
            .write(|connection| Ok(connection.execute("DELETE FROM objects WHERE seq = 3", [])?));
        delete.await.unwrap();
        assert!(list(&backend, &there).await.is_empty());
        let rows = backend.database.read(|connection| {
            let sql = format!(
                "SELECT count(*) FROM {}",
                tree_name(&query(NEAR, "1").filter.regions()[0].path)
            );
            Ok(connection.query_row(&sql, [], |row| row.get::<_, i64>(0))?)
        });
        assert_eq!(rows.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn trees_are_few_and_have_plain_names() {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(folder.path()).await;
        for number in 0..10 {
            make_tree(&backend, &format!(r#"{{"p{number}":{{"$near":[0,0]}}}}"#)).await;
        }
        assert!(!make_tree(&backend, r#"{"it's":{"$near":[0,0]}}"#).await);
        assert!(!make_tree(&backend, r#"{"at":1}"#).await);
        let trees = backend.database.read(|connection| {
            let sql = "SELECT count(*) FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'";
            Ok(connection.query_row(sql, [], |row| row.get::<_, u32>(0))?)
        });
        assert_eq!(trees.await.unwrap(), TREES_MAX);
    }

    #[tokio::test]
    async fn a_list_is_the_same_with_a_tree_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let backend = backend(folder.path()).await;
        fill(&backend, 30).await;
        let queries = [NEAR, WITHIN, PLANE].map(|q| query(q, "100"));
        let mut without = Vec::new();
        for query in &queries {
            // As the list is without a tree; a list itself might have one made.
            let (filter, sort) = (query.filter.clone(), query.sort.clone());
            let read = backend.database.read(move |connection| {
                let compiled = crate::query::compile(&filter, &sort);
                let sql = format!(
                    "SELECT doc FROM objects WHERE type = 'objects.places' AND ({}) ORDER BY {} LIMIT 100",
                    compiled.condition, compiled.order
                );
                let mut statement = connection.prepare(&sql)?;
                let values = rusqlite::params_from_iter(compiled.values);
                let rows = statement.query_map(values, |row| row.get::<_, String>(0))?;
                Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
            });
            without.push(read.await.unwrap());
        }
        assert!(make_tree(&backend, NEAR).await);
        for (query, expected) in queries.iter().zip(without) {
            assert!(!expected.is_empty());
            assert_eq!(list(&backend, query).await, expected);
        }
    }
}
