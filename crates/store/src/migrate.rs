//! Brings a database file to the newest format. Migrations are only ever added.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Error, Result};

/// The formats of one kind of file, oldest first; the file's `user_version` counts those it has.
#[derive(Debug)]
pub struct Schema {
    pub steps: &'static [&'static str],
}

/// Applies the steps that the file lacks, each in a transaction of its own.
pub(crate) fn migrate(connection: &Connection, path: &Path, schema: &Schema) -> Result<()> {
    let found = format_of(connection)?;
    let known = schema.steps.len();
    let Some(missing) = schema.steps.get(found..) else {
        return Err(Error::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    };
    for (offset, step) in missing.iter().enumerate() {
        let version = found + offset + 1;
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step}; PRAGMA user_version = {version}; COMMIT"
        ))?;
    }
    Ok(())
}

/// How many steps the file has; 0: it is empty.
pub(crate) fn format_of(connection: &Connection) -> Result<usize> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: Schema = Schema {
        steps: &["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y"],
    };
    const ONE: Schema = Schema {
        steps: &["CREATE TABLE a (x)"],
    };

    #[test]
    fn missing_steps_are_applied_once() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, Path::new("x"), &ONE).unwrap();
        connection.execute("INSERT INTO a VALUES (1)", []).unwrap();
        migrate(&connection, Path::new("x"), &TWO).unwrap();
        migrate(&connection, Path::new("x"), &TWO).unwrap();
        let columns: i64 = connection
            .query_row("SELECT count(*) FROM pragma_table_info('a')", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(columns, 2);
    }

    #[test]
    fn a_newer_file_is_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, Path::new("x"), &TWO).unwrap();
        assert!(matches!(
            migrate(&connection, Path::new("x"), &ONE),
            Err(Error::TooNew {
                found: 2,
                known: 1,
                ..
            })
        ));
    }
}
