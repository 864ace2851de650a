//! How a path becomes an SQL expression.
//!
//! # The key
//!
//! SQLite's `->>` alone would mix types: `true` is 1 and an object is its text. The *key* of a path maps every
//! JSON value to one that SQLite compares as the query language wants: its storage classes never equal one
//! another and have a fixed order, in which each JSON type gets its own stretch.
//!
//! | JSON | key | stretch |
//! |---|---|---|
//! | missing, `null` | `NULL` | `IS NULL` |
//! | number | `INTEGER`, or `REAL` for doubles and what is beyond 64 bits | `< ''` |
//! | text | `TEXT` | `>= '' AND < x''` |
//! | object | `x'01'` | |
//! | array, or an array on the way | `x'02'` | |
//! | `false`, `true` | `x'03'`, `x'04'` | |
//!
//! That is also the order in which lists sort, so the key is the sort order's term.

use pilvi_model::query::Path;
use serde_json::Value;

use super::functions;
use super::sql::Sql;

pub(super) const OBJECT: &str = "x'01'";
pub(super) const ARRAY: &str = "x'02'";
pub(super) const FALSE: &str = "x'03'";
pub(super) const TRUE: &str = "x'04'";

/// Names longer than this are bound: the text of a statement should not grow with what callers send.
const LITERAL_NAME_MAX: usize = 64;

/// Where a path leads, as SQL sees it.
pub(super) enum Place {
    /// One of the system properties that have a column; it always holds a text.
    Column(Sql),
    Property(Property),
    /// A name that SQLite's JSON paths cannot spell. Only the evaluator finds it.
    Unreachable,
}

/// A place in the document.
pub(super) struct Property {
    pub(super) key: Sql,
    /// The JSON type of what is there, `NULL` when nothing is, or when an array is met before.
    pub(super) kind: Sql,
    /// The length of the array that is there.
    pub(super) length: Sql,
    /// Whether an array is met before the end of the path; `None` when nothing comes before.
    pub(super) array_before: Option<Sql>,
}

impl Place {
    pub(super) fn of(path: &Path) -> Self {
        if let Some(column) = column(path) {
            return Self::Column(Sql::text(column));
        }
        match json_paths(path) {
            Some(paths) => Self::Property(Property::new(&paths)),
            None => Self::Unreachable,
        }
    }

    /// The term that sorts by the path.
    pub(super) fn for_sort(path: &Path) -> Sql {
        // In the order of a list, unlike in a filter, a number leads to one element of an array.
        let places = path
            .segments()
            .iter()
            .any(|segment| segment.index.is_some());
        match Self::of(path) {
            Self::Column(column) => column,
            Self::Property(property) if !places => property.key,
            _ => functions::key(path),
        }
    }
}

/// The key of a path that [`Place::of`] found to be a property's, or of what is below it.
pub(super) fn document_key(path: &Path) -> Sql {
    match json_paths(path) {
        Some(paths) => Property::new(&paths).key,
        None => functions::key(path),
    }
}

/// How the keys of an index come about and what they stand for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Indexed {
    /// The key, as an expression over `doc` alone.
    pub(crate) key: String,
    /// What a compiled query says where it means the key.
    pub(super) term: String,
}

/// What an index of the path would hold. `None` where an index is of no use or cannot be made: the id and the type
/// have theirs, a name may not be plain, and where a number is among the names a list and a filter mean different
/// things.
pub(crate) fn indexed(path: &Path) -> Option<Indexed> {
    if path
        .segments()
        .iter()
        .any(|segment| segment.index.is_some())
    {
        return None;
    }
    let column = column(path);
    if matches!(column, Some("id" | "type")) {
        return None;
    }
    let paths = json_paths(path)?;
    let key = Property::new(&paths).key;
    key.values.is_empty().then(|| Indexed {
        term: column.map_or_else(|| key.text.clone(), str::to_owned),
        key: key.text,
    })
}

/// The rectangles of an index of locations: a `SELECT` of `seq`, west, east, south and north of every row of `rows`, an
/// SQL table with `seq` and `doc`, that may have a location at the path. `None` for names that are not plain.
///
/// It is generous: whoever has a location there that a query can find lies in its rectangle. A single location that is
/// no larger than a plane's usual numbers is its own rectangle; everything less simple gets the whole plane.
pub(crate) fn location_rectangles(path: &Path, rows: &str) -> Option<String> {
    let paths = json_paths(path)?;
    if paths.iter().any(|path| !path.values.is_empty()) {
        return None;
    }
    let (place, before) = paths.split_last()?;
    let place = place.text.strip_suffix('\'')?;
    let array_before: Vec<String> = before
        .iter()
        .map(|path| format!("json_type(doc, {}) = 'array'", path.text))
        .collect();
    let meets_array = match array_before.is_empty() {
        true => "0".to_owned(),
        false => array_before.join(" OR "),
    };
    let number = |number: u8| {
        format!(
            "CASE json_type(doc, {place}') \
             WHEN 'array' THEN iif(json_array_length(doc, {place}') = 2, doc ->> {place}[{number}]', NULL) \
             WHEN 'object' THEN doc ->> {place}.coordinates[{number}]' END"
        )
    };
    let (x, y) = (number(0), number(1));
    Some(format!(
        "SELECT seq, iif(fits, x, -9e999), iif(fits, x, 9e999), iif(fits, y, -9e999), iif(fits, y, 9e999) FROM ( \
         SELECT seq, x, y, typeof(x) IN ('integer', 'real') AND typeof(y) IN ('integer', 'real') \
         AND x BETWEEN -1e6 AND 1e6 AND y BETWEEN -1e6 AND 1e6 AS fits FROM ( \
         SELECT seq, {x} AS x, {y} AS y FROM {rows} \
         WHERE ({meets_array}) OR json_type(doc, {place}') = 'array' \
         OR json_type(doc, {place}.coordinates') = 'array'))"
    ))
}

/// The key that a value of a [`pilvi_model::query::Position`] stands for; `None` for `NULL`.
pub(super) fn key_of(value: &Value) -> Option<Sql> {
    match value {
        Value::Null => None,
        Value::Bool(flag) => Some(Sql::text(if *flag { TRUE } else { FALSE })),
        Value::Object(_) => Some(Sql::text(OBJECT)),
        Value::Array(_) => Some(Sql::text(ARRAY)),
        Value::String(text) => Some(Sql::value(text.clone())),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(Sql::value(integer)),
            None => number.as_f64().map(Sql::value),
        },
    }
}

fn column(path: &Path) -> Option<&'static str> {
    let [segment] = path.segments() else {
        return None;
    };
    match segment.name.as_str() {
        "id" => Some("id"),
        "objectType" => Some("type"),
        "createdAt" => Some("created_at"),
        "updatedAt" => Some("updated_at"),
        _ => None,
    }
}

impl Property {
    /// `paths` lead one by one to the place, the last one all the way.
    fn new(paths: &[Sql]) -> Self {
        let (path, before) = paths.split_last().expect("a path has a segment");
        let kind = Sql::fill("json_type(doc, {})", &[path]);
        let array_before = (!before.is_empty()).then(|| {
            let kinds: Vec<Sql> = before
                .iter()
                .map(|path| Sql::fill("json_type(doc, {})", &[path]))
                .collect();
            Sql::fill("'array' IN ({})", &[&Sql::list(&kinds)])
        });
        let mut key = Sql::fill(
            &format!(
                "CASE {{}} WHEN 'object' THEN {OBJECT} WHEN 'array' THEN {ARRAY} \
                 WHEN 'false' THEN {FALSE} WHEN 'true' THEN {TRUE} ELSE doc ->> {{}} END"
            ),
            &[&kind, path],
        );
        if let Some(before) = &array_before {
            let template = format!("CASE WHEN {{}} THEN {ARRAY} ELSE {{}} END");
            key = Sql::fill(&template, &[before, &key]);
        }
        Self {
            key,
            kind,
            length: Sql::fill("json_array_length(doc, {})", &[path]),
            array_before,
        }
    }
}

/// The path's beginnings and at last the path itself in SQLite's notation, `$."a"."b"`; `None` if a name does not
/// fit into it.
fn json_paths(path: &Path) -> Option<Vec<Sql>> {
    let mut text = "$".to_owned();
    let mut literal = true;
    let mut paths = Vec::new();
    for segment in path.segments() {
        let name = segment.name.as_str();
        // SQLite would take a backslash for an escape, and these are stored escaped.
        if name.contains(['"', '\\']) || name.contains(char::is_control) {
            return None;
        }
        literal &= is_plain(name);
        text.push_str(&format!(".\"{name}\""));
        paths.push(match literal {
            true => Sql::text(format!("'{text}'")),
            false => Sql::value(text.clone()),
        });
    }
    Some(paths)
}

/// Whether the name may stand in the text of a statement: it cannot end the literal that it is in.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    name.len() <= LITERAL_NAME_MAX && name.bytes().all(plain)
}
