//! What a type's schema means for a write, read once and kept until the schema changes.
//!
//! Schemas are JSON that people wrote, and every write asks what they mean. So what was read of one is kept in memory
//! under the file's *stamp*: a random number that the file draws anew whenever a schema in it changes. Whoever sees
//! the same stamp sees the same schemas, be it another connection, a transaction that was rolled back or a copy of
//! the file, so nothing ever has to be told to forget.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use pilvi_model::access::CollectionRights;
use pilvi_model::schema::{Dependency, Validators};
use pilvi_model::variant::{self, Recipe};
use pilvi_model::{Error, ObjectType};
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value};

use super::indexes::TypeIndexes;
use crate::error::Result;

/// Stands for all types about which nothing was said.
pub(super) const REST: &str = "*";
/// What is kept of all backends together: bytes of schemas, of which the facts are a few times as many.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// What facts cost beside the text that they were read from.
const FACTS_BYTES: usize = 1 << 10;
/// What the program of a regular expression may cost.
const PATTERN_BYTES: usize = 64 << 10;

pub(super) const STEP: &str = "
    -- `inferred` are the properties that somebody used without describing them, as a schema shows them. `bound` says
    -- by which properties `dependents` and `uniques` hold the objects of the type.
    ALTER TABLE collections ADD COLUMN inferred TEXT NOT NULL DEFAULT '[]';
    ALTER TABLE collections ADD COLUMN bound TEXT NOT NULL DEFAULT '';

    -- Which objects (by their `seq`) refer to which, by properties whose `target` says what becomes of them then.
    CREATE TABLE dependents (
        child INTEGER NOT NULL,
        property TEXT NOT NULL,
        target_type TEXT NOT NULL,
        target TEXT NOT NULL,
        PRIMARY KEY (child, property, target_type, target)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX dependents_by_target ON dependents (target_type, target);
    -- The values of properties that must be unique, as digests, and the object that has each.
    CREATE TABLE uniques (
        type TEXT NOT NULL,
        property TEXT NOT NULL,
        value BLOB NOT NULL,
        object INTEGER NOT NULL,
        PRIMARY KEY (type, property, value)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX uniques_by_object ON uniques (object);

    -- Drawn anew with every change of a schema. Whatever was read of the schemas holds as long as it stands.
    CREATE TABLE schema_stamp (stamp INTEGER NOT NULL) STRICT;
    INSERT INTO schema_stamp VALUES (random());
    CREATE TRIGGER schema_said AFTER INSERT ON collections WHEN NEW.rights IS NOT NULL OR NEW.doc <> '{}'
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    CREATE TRIGGER schema_changed AFTER UPDATE OF doc, rights, inferred ON collections
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    CREATE TRIGGER schema_gone AFTER DELETE ON collections
        BEGIN UPDATE schema_stamp SET stamp = random(); END;
    ";

/// What a type's schema means. Of a type that nobody described: what holds for all such types.
#[derive(Clone, Debug)]
pub(super) struct TypeFacts {
    pub(super) rights: Arc<CollectionRights>,
    /// What the properties must be like.
    pub(super) validators: Validators,
    /// The properties by which objects of the type are bound to others.
    pub(super) dependencies: Vec<Dependency>,
    /// The names of all properties that somebody described or used.
    pub(super) properties: HashSet<String>,
    /// How many of them were only used.
    pub(super) inferred: usize,
    /// What is to be made of the files that a property refers to, where there is anything.
    pub(super) processors: Vec<(String, Vec<(String, Recipe)>)>,
    /// The indexes of the type, those that are being made included.
    pub(super) indexes: Arc<TypeIndexes>,
}

/// A row of `collections`, as far as it says what the type is.
struct Written {
    rights: Option<String>,
    schema: String,
    inferred: String,
}

impl Written {
    fn bytes(&self) -> usize {
        let rights = self.rights.as_ref().map_or(0, String::len);
        rights + self.schema.len() + self.inferred.len()
    }

    fn says_nothing(&self) -> bool {
        self.rights.is_none() && self.schema == "{}" && self.inferred == "[]"
    }
}

impl TypeFacts {
    fn read(name: &str, written: &Written, rest: Option<&Self>) -> Result<Self> {
        let schema: Map<String, Value> =
            serde_json::from_str(&written.schema).map_err(Error::internal)?;
        let inferred: Vec<Value> =
            serde_json::from_str(&written.inferred).map_err(Error::internal)?;
        let described = match schema.get("properties") {
            Some(Value::Array(properties)) => properties.as_slice(),
            _ => &[],
        };
        let named = |property: &Value| Some(property.get("name")?.as_str()?.to_owned());
        Ok(Self {
            rights: match (&written.rights, rest) {
                (Some(text), _) => Arc::new(CollectionRights::from_text(text)?),
                (None, Some(rest)) => Arc::clone(&rest.rights),
                (None, None) => Arc::clone(&OPEN),
            },
            validators: Validators::of(name, &schema),
            dependencies: described
                .iter()
                .filter_map(|property| Dependency::from_property(property).ok()?)
                .collect(),
            properties: described
                .iter()
                .chain(&inferred)
                .filter_map(named)
                .collect(),
            inferred: inferred.len(),
            processors: described
                .iter()
                .filter_map(|property| {
                    let recipes = variant::recipes_of(property);
                    (!recipes.is_empty()).then_some((named(property)?, recipes))
                })
                .collect(),
            indexes: Arc::default(),
        })
    }

    /// Whether something is kept of each object beside its document, because of what it refers to or must have alone.
    pub(super) fn binds(&self) -> bool {
        !self.dependencies.is_empty() || self.validators.unique().next().is_some()
    }
}

impl TypeFacts {
    /// What is to be made of the files that this property refers to.
    pub(super) fn recipes(&self, property: &str) -> &[(String, Recipe)] {
        let found = self.processors.iter().find(|(name, _)| name == property);
        found.map_or(&[], |(_, recipes)| recipes)
    }
}

static OPEN: LazyLock<Arc<CollectionRights>> = LazyLock::new(|| Arc::new(CollectionRights::open()));
static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(|| {
    Mutex::new(Known {
        all: LruCache::unbounded(),
        bytes: 0,
    })
});

/// Whether the type is written down, and what its schema means.
pub(super) fn facts(
    connection: &Connection,
    object_type: &ObjectType,
) -> Result<(bool, Arc<TypeFacts>)> {
    let stamp = stamp(connection)?;
    let name = object_type.as_str();
    if let Some(facts) = known().find(stamp, name) {
        return Ok((true, facts));
    }
    let mut statement = connection
        .prepare_cached("SELECT rights, doc, inferred FROM collections WHERE type = ?")?;
    let own = statement
        .query_row([name], |row| {
            Ok(Written {
                rights: row.get(0)?,
                schema: row.get(1)?,
                inferred: row.get(2)?,
            })
        })
        .optional()?;
    let rest = rest(connection, stamp)?;
    // Names that nobody wrote down are without number, so nothing is kept of them.
    let Some(own) = own else {
        return Ok((false, rest));
    };
    let indexes = TypeIndexes::of(connection, name)?;
    let facts = match own.says_nothing() && indexes.is_empty() {
        true => rest,
        false => Arc::new(TypeFacts {
            indexes: Arc::new(indexes),
            ..TypeFacts::read(name, &own, Some(&rest))?
        }),
    };
    known().keep(stamp, name, &facts, own.bytes());
    Ok((true, facts))
}

/// What holds for types about which nothing was said.
fn rest(connection: &Connection, stamp: i64) -> Result<Arc<TypeFacts>> {
    if let Some(facts) = known().find(stamp, REST) {
        return Ok(facts);
    }
    let written = Written {
        rights: super::collections::rest_text(connection)?,
        schema: "{}".to_owned(),
        inferred: "[]".to_owned(),
    };
    let facts = Arc::new(TypeFacts::read(REST, &written, None)?);
    known().keep(stamp, REST, &facts, written.bytes());
    Ok(facts)
}

/// The number under which everything holds that was read of this file's schemas.
pub(super) fn stamp(connection: &Connection) -> Result<i64> {
    let mut statement = connection.prepare_cached("SELECT stamp FROM schema_stamp")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

fn known() -> MutexGuard<'static, Known> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The facts of the files that were used last, by stamp.
struct Known {
    all: LruCache<i64, Sheet>,
    bytes: usize,
}

/// What is known of one file.
#[derive(Default)]
struct Sheet {
    types: HashMap<Box<str>, Arc<TypeFacts>>,
    bytes: usize,
}

impl Known {
    fn find(&mut self, stamp: i64, name: &str) -> Option<Arc<TypeFacts>> {
        self.all.get(&stamp)?.types.get(name).map(Arc::clone)
    }

    fn keep(&mut self, stamp: i64, name: &str, facts: &Arc<TypeFacts>, bytes: usize) {
        let sheet = self.all.get_or_insert_mut(stamp, Sheet::default);
        if sheet.types.insert(name.into(), Arc::clone(facts)).is_none() {
            let patterns = facts.validators.patterns() * PATTERN_BYTES;
            let bytes = bytes + name.len() + FACTS_BYTES + patterns;
            sheet.bytes += bytes;
            self.bytes += bytes;
        }
        while self.bytes > KEPT_BYTES_MAX
            && let Some((_, oldest)) = self.all.pop_lru()
        {
            self.bytes -= oldest.bytes;
        }
    }
}
