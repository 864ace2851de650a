//! What a caller may see of a collection, as part of a query.
//!
//! The audience of each object stands with it, so the condition is about one number: everybody's, or one of those
//! that the caller belongs to. Usually the query is carried out as it would be for an administrator and passes over
//! what the caller may not see. That is a long way in a large collection of which the caller may see little; there
//! the query starts from what they may see instead.

use pilvi_model::access::Subjects;
use pilvi_model::{Asker, ObjectType, Subject};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::{access, collections};
use crate::error::Result;
use crate::query::Compiled;

/// In a file with fewer objects the long way is short.
const LARGE: i64 = 1000;
/// The audiences that a caller belongs to.
const MINE: &str =
    "SELECT audience FROM audience_subjects WHERE subject IN (SELECT value FROM json_each(?))";
/// Whether a caller belongs to the audience of the row at hand. A caller may belong to thousands, so they are not
/// listed: those of the audience are few, and the plus keeps SQLite from beginning with the caller's all the same.
const IS_MINE: &str = "EXISTS (SELECT 1 FROM audience_subjects INDEXED BY audience_subjects_by_audience \
     WHERE audience = readers AND +subject IN (SELECT value FROM json_each(?)))";
/// How many objects of a type a caller may see, counted no further than asked.
const COUNT_SEEN: &str = "SELECT count(*) FROM (SELECT 1 FROM json_each(?1) AS mine \
     CROSS JOIN audience_subjects AS s ON s.subject = mine.value \
     CROSS JOIN objects INDEXED BY objects_by_readers ON objects.type = ?2 AND readers = s.audience LIMIT ?3)";

/// Leaves only what the asker may see. `plain`: the query asks for everything, in order of the ids.
pub(super) fn only(
    connection: &Connection,
    asker: &Asker,
    object_type: &ObjectType,
    compiled: &Compiled,
    plain: bool,
) -> Result<Compiled> {
    let compiled = compiled.clone();
    match asker {
        Asker::Admin => Ok(compiled),
        // The index by readers has this in order of the ids; for all else there may be a better one.
        Asker::Anonymous if plain => Ok(compiled.and("readers = 1", Vec::new())),
        Asker::Anonymous => Ok(compiled.and("+readers = 1", Vec::new())),
        Asker::User { .. } => {
            let mine = access::subjects_of(asker);
            if sees_little(connection, object_type, &mine)? {
                let values = vec![object_type.as_str().to_owned().into(), mine.into()];
                return Ok(compiled.of_rows(&seen(), values));
            }
            let condition = format!("(+readers = 1 OR {IS_MINE})");
            Ok(compiled.and(&condition, vec![Value::from(mine)]))
        }
    }
}

/// The condition that the asker may see the row at hand; `None`: they may see all.
pub(super) fn condition(asker: &Asker) -> Option<(String, Vec<Value>)> {
    match asker {
        Asker::Admin => None,
        Asker::Anonymous => Some(("+readers = 1".to_owned(), Vec::new())),
        Asker::User { .. } => {
            let mine = vec![Value::from(access::subjects_of(asker))];
            Some((format!("(+readers = 1 OR {IS_MINE})"), mine))
        }
    }
}

/// The rows of a type that somebody may see, from the index by readers.
fn seen() -> String {
    format!(
        "SELECT seq FROM objects INDEXED BY objects_by_readers WHERE type = ? AND readers IN ({MINE})"
    )
}

/// Whether the caller may see so few objects of a large collection that it is better to start from those. To find a
/// page of visible objects by passing over the others takes about `page × all / visible` steps, to start from the
/// visible ones takes `visible`: what is few grows with the root of all. It is counted no further than that.
fn sees_little(connection: &Connection, object_type: &ObjectType, mine: &str) -> Result<bool> {
    let newest: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM objects")?
        .query_row([], |row| row.get(0))?;
    let newest = newest.unwrap_or(0);
    if newest < LARGE || is_shown_to_all(connection, object_type)? {
        return Ok(false);
    }
    let few = newest.isqrt().saturating_mul(2);
    let counted: i64 = connection
        .prepare_cached(COUNT_SEEN)?
        .query_row(params![mine, object_type.as_str(), few + 1], |row| {
            row.get(0)
        })?;
    Ok(counted <= few)
}

/// Whether new objects of the type can be read by everybody, or everybody who is signed in: callers then see most.
fn is_shown_to_all(connection: &Connection, object_type: &ObjectType) -> Result<bool> {
    let rights = collections::rights(connection, object_type)?;
    let shown = |subjects: &Subjects| {
        subjects.contains(&Subject::Everyone) || subjects.contains(&Subject::Authenticated)
    };
    Ok(shown(&rights.template.read) || shown(&rights.template.admin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::indexes::choose::{Purpose, choose};
    use crate::backend::indexes::tests::{index_all, indexes_of};
    use crate::migrate::migrate;
    use crate::query;
    use pilvi_model::query::{Filter, Sort};
    use pilvi_model::{ObjectId, Readers, Timestamp};
    use rusqlite::params_from_iter;
    use std::path::Path;

    const OBJECTS: i64 = 4000;

    fn notes() -> ObjectType {
        ObjectType::custom("notes").unwrap()
    }

    fn user(number: u8) -> Asker {
        Asker::User {
            id: ObjectId::from_bytes([number; 12]),
            groups: Vec::new(),
        }
    }

    fn audience(connection: &Connection, number: u8) -> i64 {
        let subject = Subject::user(ObjectId::from_bytes([number; 12]));
        let readers = Readers::from_text(&Subjects::of([subject]).to_text()).unwrap();
        access::intern_readers(connection, &readers).unwrap()
    }

    /// A private file in which user 1 may read almost everything and user 2 a hundredth.
    fn large() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        query::register(&connection).unwrap();
        migrate(&connection, Path::new("x"), &super::super::SCHEMA).unwrap();
        collections::make_private(&connection, Timestamp::from_millis(1)).unwrap();
        let (most, few) = (audience(&connection, 1), audience(&connection, 2));
        for number in 0..OBJECTS {
            let readers = if number % 100 == 0 { few } else { most };
            connection
                .prepare_cached(
                    "INSERT INTO objects (type, id, created_at, updated_at, doc, readers) \
                     VALUES ('objects.notes', printf('%024x', ?1), '', '', json_object('n', ?1), ?2)",
                )
                .unwrap()
                .execute([number, readers])
                .unwrap();
        }
        connection
    }

    fn compiled(connection: &Connection, asker: &Asker, q: &str) -> Compiled {
        let filter = Filter::parse(q).unwrap();
        let plain = filter == Filter::default();
        let whole = query::compile(&filter, &Sort::default());
        only(connection, asker, &notes(), &whole, plain).unwrap()
    }

    #[derive(Clone, Copy)]
    enum What {
        Page,
        Count,
    }

    /// How SQLite goes about it.
    fn plan(connection: &Connection, asker: &Asker, what: What, q: &str) -> String {
        plan_of(connection, &compiled(connection, asker, q), what)
    }

    fn plan_of(connection: &Connection, compiled: &Compiled, what: What) -> String {
        let mut values = compiled.bound_for("objects.notes");
        let sql = match what {
            What::Page => {
                values.extend([Value::from(100), Value::from(0)]);
                compiled.page()
            }
            What::Count => compiled.count(),
        };
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        rows.unwrap()
            .map(Result::unwrap)
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn what_everybody_may_read_is_found_by_its_readers() {
        let connection = large();
        let list = plan(&connection, &Asker::Anonymous, What::Page, "{}");
        assert!(
            list.contains("COVERING INDEX objects_by_readers (type=? AND readers=?)"),
            "{list}"
        );
        assert!(!list.contains("TEMP B-TREE"), "{list}");
        let count = plan(&connection, &Asker::Anonymous, What::Count, "{}");
        assert!(
            count.contains("COVERING INDEX objects_by_readers (type=? AND readers=?)"),
            "{count}"
        );
    }

    #[test]
    fn the_index_of_a_property_serves_whoever_asks() {
        let connection = large();
        let indexes = indexes_of(&["n", "group"]);
        index_all(&connection, &indexes);
        let along = |asker: &Asker, q: &str, sort: &str| {
            let (filter, sort) = (Filter::parse(q).unwrap(), Sort::parse(sort).unwrap());
            let (asked, whole) = ((&filter, &sort), query::compile(&filter, &sort));
            let chosen = choose(&connection, &indexes, asked, whole, Purpose::Page).unwrap();
            let compiled = only(&connection, asker, &notes(), &chosen, false).unwrap();
            plan_of(&connection, &compiled, What::Page)
        };
        for asker in [Asker::Admin, Asker::Anonymous, user(1), user(2)] {
            let plan = along(&asker, r#"{"n":5}"#, "[]");
            assert!(
                plan.contains("index_keys USING PRIMARY KEY (of_index=? AND at_key=?)"),
                "{asker:?}: {plan}"
            );
        }
        // All of an index is a long way for whoever sees little.
        let sorted = r#"{"sortBy":"n"}"#;
        assert!(along(&user(1), "{}", sorted).contains("PRIMARY KEY (of_index=?)"));
        let little = along(&user(2), "{}", sorted);
        assert!(
            little.contains("objects_by_readers (type=? AND readers=?)"),
            "{little}"
        );
        assert!(!little.contains("index_keys"), "{little}");
    }

    #[test]
    fn whoever_sees_little_starts_from_that() {
        let connection = large();
        let little = plan(&connection, &user(2), What::Page, "{}");
        assert!(
            little.contains("SEARCH objects USING INTEGER PRIMARY KEY (rowid=?)"),
            "{little}"
        );
        assert!(
            little.contains("objects_by_readers (type=? AND readers=?)"),
            "{little}"
        );
        for most in [
            plan(&connection, &user(1), What::Page, "{}"),
            plan(&connection, &Asker::Admin, What::Page, "{}"),
        ] {
            assert!(most.contains("INDEX objects_by_id (type=?)"), "{most}");
            assert!(!most.contains("TEMP B-TREE FOR ORDER BY"), "{most}");
        }
        // Where new objects are for everybody, nobody counts.
        connection
            .execute("UPDATE collections SET rights = NULL", [])
            .unwrap();
        let open = plan(&connection, &user(2), What::Page, "{}");
        assert!(open.contains("INDEX objects_by_id (type=?)"), "{open}");
    }
}
