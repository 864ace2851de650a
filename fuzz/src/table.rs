//! A table of objects in SQLite, and the same objects in memory: both engines of the query language over one content.

use pilvi_model::Properties;
use pilvi_model::query::{After, Filter, Page, Position, Query, Sort};
use pilvi_store::query::{Compiled, compile, register};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, params, params_from_iter};
use serde_json::{Map, Value, json};

/// What documents hold under `a`, `b` and `c`, so that queries about these names meet every kind of value.
const PROPERTIES: [&str; 20] = [
    r#"{}"#,
    r#"{"a":null,"b":true,"c":{}}"#,
    r#"{"a":1,"b":"x","c":[]}"#,
    r#"{"a":1.0,"b":false,"c":{"a":1}}"#,
    r#"{"a":-2.5,"b":"","c":[1,2,3]}"#,
    r#"{"a":"1","b":"1","c":[{"a":1},{"a":2,"b":"x"}]}"#,
    r#"{"a":"b","b":"B","c":[[1],[2]]}"#,
    r#"{"a":[1,"b",null],"b":["x"],"c":"c"}"#,
    r#"{"a":{"b":{"c":1}},"b":{"0":"zero"},"c":["zero"]}"#,
    r#"{"a":9007199254740993,"b":18446744073709551615,"c":9223372036854775808}"#,
    r#"{"a":9007199254740992.0,"b":1e300,"c":5e-324}"#,
    r#"{"a":-9223372036854775808,"b":-0.0,"c":0}"#,
    r#"{"a":"line\nline","b":"é","c":"🎈"}"#,
    r#"{"a":{"id":"51cdbc08989e975ec300772a","objectType":"objects.todos"},"b":[{"b":[]}]}"#,
    r#"{"a":[{"id":"51cdbc08989e975ec300772a","objectType":"objects.todos","x":1}],"x y":1}"#,
    r#"{"where":[24.94,60.17],"a":[1,2]}"#,
    r#"{"where":{"type":"Point","coordinates":[-179.9,-17.7]},"c":[2,2.5]}"#,
    r#"{"where":{"at":[0.1,0.2]},"c":[[24.9,60.2],[1,2]]}"#,
    r#"{"where":[[1.1,2.2],[24.93,60.16]],"b":0.1}"#,
    r#"{"it's":1,"q\"q":"x","0":0,"é":[{"0":{"a":1}}]}"#,
];

/// How many documents are made from one query.
const ECHOES_MAX: usize = 4;

/// A table that lives as long as the program.
pub(crate) struct Table {
    connection: Connection,
    documents: Vec<Value>,
}

impl Table {
    pub(crate) fn new() -> rusqlite::Result<Self> {
        let connection = Connection::open_in_memory()?;
        register(&connection)?;
        connection.execute_batch(
            "CREATE TABLE objects (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL,
                 created_at TEXT NOT NULL, updated_at TEXT NOT NULL, doc TEXT NOT NULL) STRICT;
             CREATE UNIQUE INDEX objects_by_id ON objects (type, id);",
        )?;
        let mut table = Self {
            connection,
            documents: Vec::new(),
        };
        for properties in PROPERTIES {
            let properties = serde_json::from_str(properties).expect("the constants are JSON");
            table.add(properties)?;
        }
        Ok(table)
    }

    /// Demands the same objects in the same order from both engines, with some documents more that hold what the
    /// filter asks for. Gives the cursor behind the page, if another may follow.
    pub(crate) fn compare(&mut self, query: &Query) -> Option<String> {
        let (filter, sort, page) = (&query.filter, &query.sort, query.page);
        for properties in echoes(filter.source()) {
            self.add(properties).expect("SQLite takes a document");
        }
        let after = query
            .after
            .as_ref()
            .and_then(|after| self.position(sort, after));
        let expected = self.evaluate(filter, sort, page, after.as_ref());
        let compiled = compile(filter, sort);
        let Compiled {
            condition,
            order,
            values,
            ..
        } = match &after {
            Some(position) => compiled.behind(sort, position),
            None => compiled,
        };
        let sql = format!(
            "SELECT doc FROM objects WHERE ({condition}) ORDER BY {order} LIMIT ? OFFSET ?"
        );
        let found = self
            .list(&sql, values, page)
            .unwrap_or_else(|error| panic!("SQLite says {error} to {sql}"));
        let texts: Vec<String> = expected
            .iter()
            .map(|document| document.to_string())
            .collect();
        assert_eq!(found, texts, "SQLite differs from the evaluator in {sql}");
        let next = query.next(expected.len(), expected.last().copied());
        self.shrink().expect("SQLite deletes documents");
        next
    }

    /// Where a cursor stands. An object that is gone leaves no trace, and then nothing is left out.
    fn position(&self, sort: &Sort, after: &After) -> Option<Position> {
        match after {
            After::Position(position) => Some(position.clone()),
            After::Object(id) => {
                let id = id.to_string();
                let mut documents = self.documents.iter();
                let document = documents.find(|document| document["id"] == *id);
                document.map(|document| sort.position(document))
            }
        }
    }

    fn add(&mut self, properties: Map<String, Value>) -> rusqlite::Result<()> {
        let number = self.documents.len();
        let time = format!("2013-06-28T16:38:32.{:03}Z", number % 7);
        let object_type = ["objects.todos", "objects.lists", "users"][number % 3];
        let id = format!("{number:024x}");
        let mut document = Map::new();
        document.insert("id".into(), json!(id));
        document.insert("objectType".into(), json!(object_type));
        document.insert("createdAt".into(), json!(time));
        document.insert("updatedAt".into(), json!(time));
        document.extend(properties);
        let text = Value::Object(document).to_string();
        self.connection
            .prepare_cached(
                "INSERT INTO objects (seq, type, id, created_at, updated_at, doc) VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![number as i64, object_type, id, time, time, text])?;
        let stored = serde_json::from_str(&text).expect("a document's text is JSON");
        self.documents.push(stored);
        Ok(())
    }

    fn shrink(&mut self) -> rusqlite::Result<()> {
        self.documents.truncate(PROPERTIES.len());
        self.connection
            .prepare_cached("DELETE FROM objects WHERE seq >= ?")?
            .execute([PROPERTIES.len() as i64])?;
        Ok(())
    }

    fn evaluate(
        &self,
        filter: &Filter,
        sort: &Sort,
        page: Page,
        after: Option<&Position>,
    ) -> Vec<&Value> {
        let is_behind = |document: &&Value| {
            let order = |position| sort.compare_positions(&sort.position(document), position);
            after.is_none_or(|position| order(position).is_gt())
        };
        let mut passing: Vec<&Value> = self
            .documents
            .iter()
            .filter(|document| filter.matches(document))
            .filter(is_behind)
            .collect();
        passing.sort_by(|left, right| sort.compare(left, right));
        let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
        passing
            .into_iter()
            .skip(offset)
            .take(page.limit as usize)
            .collect()
    }

    fn list(&self, sql: &str, values: Vec<Bound>, page: Page) -> rusqlite::Result<Vec<String>> {
        let page = [i64::from(page.limit), page.offset.cast_signed()].map(Bound::from);
        let mut statement = self.connection.prepare(sql)?;
        let values = params_from_iter(values.into_iter().chain(page));
        let rows = statement.query_map(values, |row| row.get(0))?;
        rows.collect()
    }
}

/// Properties that hold the values of a filter where it looks for them, plain and in arrays. Only what an object may
/// hold.
fn echoes(filter: &Value) -> Vec<Map<String, Value>> {
    let mut wishes = Vec::new();
    collect(filter, &mut wishes);
    let mut echoes = Vec::new();
    for (path, value) in wishes.into_iter().take(ECHOES_MAX / 2) {
        for value in [value.clone(), json!([value])] {
            let nested = path
                .rsplit('.')
                .fold(value, |value, name| json!({ name: value }));
            if let Ok(properties) = Properties::from_json(nested) {
                echoes.push(properties.as_map().clone());
            }
        }
    }
    echoes
}

/// Every path with a value that a filter compares it to. A parsed filter nests only so deep.
fn collect<'a>(condition: &'a Value, wishes: &mut Vec<(&'a str, &'a Value)>) {
    let Value::Object(members) = condition else {
        return;
    };
    for (name, value) in members {
        match value {
            Value::Array(conditions) if name.starts_with('$') => {
                conditions
                    .iter()
                    .for_each(|condition| collect(condition, wishes));
            }
            _ if name.starts_with('$') => {}
            Value::Object(tests) if tests.keys().any(|name| name.starts_with('$')) => {
                for operand in tests.values() {
                    let first = operand.get(0);
                    wishes.push((name, first.unwrap_or(operand)));
                }
            }
            _ => wishes.push((name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pilvi_model::query::Parameters;

    #[test]
    fn a_document_holds_what_the_filter_asks_for() {
        let filter = json!({"$or": [{"a.b": {"$in": [7, 8]}}, {"c": "x"}]});
        let echoes: Vec<String> = echoes(&filter)
            .into_iter()
            .map(|echo| Value::Object(echo).to_string())
            .collect();
        assert_eq!(
            echoes,
            [
                r#"{"a":{"b":7}}"#,
                r#"{"a":{"b":[7]}}"#,
                r#"{"c":"x"}"#,
                r#"{"c":["x"]}"#
            ]
        );
    }

    #[test]
    fn the_table_is_the_same_after_each_query() {
        let mut table = Table::new().unwrap();
        let parameters = Parameters {
            q: Some(r#"{"a":{"$gte":1}}"#),
            ..Parameters::default()
        };
        let query = Query::parse(&parameters).unwrap();
        for _ in 0..3 {
            table.compare(&query);
            assert_eq!(table.documents.len(), PROPERTIES.len());
        }
    }
}
