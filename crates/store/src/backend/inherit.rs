//! Inheritance: the lists of some objects count for others too (`eds.md` §9.1).
//!
//! `inherits` says from which objects an object inherits, and `readers` of each object is the audience of its
//! effective list. Whatever changes a list or a parent calls [`refresh`] in the same transaction, which settles the
//! readers of all objects below. References may form circles; everybody in one then shares their readers.

use std::collections::{HashMap, HashSet, VecDeque};

use pilvi_model::access::CollectionRights;
use pilvi_model::{Error, Object, ObjectType, Readers};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::author::Author;
use super::{access, files, outbox};
use crate::error::Result;

/// Objects whose readers one write may settle, so that it ends within seconds.
const DESCENDANTS_MAX: usize = 50_000;
/// Objects that one object may inherit from.
const PARENTS_MAX: usize = 100;
/// Subjects that the audience of an object may have. Lists are bounded, but what is inherited from many adds up, and
/// those may inherit in their turn.
const READERS_MAX: usize = 10_000;
/// Subjects that the audiences have together that one write settles; they are put together in memory.
const SETTLED_MAX: usize = 500_000;

/// Objects of which the outbox tells one by one when a single write gave them other readers, and their bytes.
const TOLD_MAX: usize = 100;
const TOLD_BYTES_MAX: usize = 1 << 20;

/// `objectType` and `id` of an object that is inherited from.
type Parent = (String, String);

/// From whom an object with this document inherits.
pub(super) fn parents_of(rights: &CollectionRights, object: &Object) -> Result<Vec<Parent>> {
    // A file inherits from the object that it is attached to, whatever its type's schema says.
    if object.object_type == ObjectType::files() {
        return Ok(files::owner_in(&object.to_json()?).into_iter().collect());
    }
    if rights.extends.is_empty() {
        return Ok(Vec::new());
    }
    let document = object.to_json()?;
    let named = rights
        .extends
        .iter()
        .flat_map(|extends| extends.parents(&document));
    let distinct: HashSet<(&str, &str)> = named.collect();
    if distinct.len() > PARENTS_MAX {
        let message =
            format!("an object inherits the access lists of at most {PARENTS_MAX} others");
        return Err(Error::bad_request(message).into());
    }
    let mut parents: Vec<Parent> = distinct
        .into_iter()
        .map(|(object_type, id)| (object_type.to_owned(), id.to_owned()))
        .collect();
    parents.sort();
    Ok(parents)
}

/// Writes down from whom an object inherits. Says whether that changed.
pub(super) fn set_parents(connection: &Connection, child: i64, parents: &[Parent]) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT parent_type, parent_id FROM inherits WHERE child = ? ORDER BY parent_type, parent_id",
    )?;
    let rows = statement.query_map([child], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let before: Vec<Parent> = rows.collect::<Result<_, _>>()?;
    if before == parents {
        return Ok(false);
    }
    forget_parents(connection, child)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO inherits (child, parent_type, parent_id) VALUES (?, ?, ?)")?;
    for (object_type, id) in parents {
        insert.execute(params![child, object_type, id])?;
    }
    Ok(true)
}

/// The objects that an object inherits from directly, as far as they exist: `seq` and own list.
pub(super) fn parents(connection: &Connection, child: i64) -> Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT objects.seq, objects.access FROM inherits \
         CROSS JOIN objects ON objects.type = parent_type AND objects.id = parent_id \
         WHERE child = ?",
    )?;
    let rows = statement.query_map([child], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// After an object was deleted: nothing inherits from it any more, and it from nothing.
pub(super) fn detach(
    connection: &Connection,
    author: &Author,
    seq: i64,
    object: &Object,
) -> Result<()> {
    forget_parents(connection, seq)?;
    let parent = [object.object_type.as_str(), &object.id.to_string()];
    let children: Vec<i64> = connection
        .prepare_cached("SELECT child FROM inherits WHERE parent_type = ? AND parent_id = ?")?
        .query_map(parent, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if children.is_empty() {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM inherits WHERE parent_type = ? AND parent_id = ?")?
        .execute(parent)?;
    refresh(connection, author, &children, None)
}

/// Whether others inherit from this object. They may refer to an object that does not exist yet.
pub(super) fn is_inherited(connection: &Connection, object: &Object) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM inherits WHERE parent_type = ? AND parent_id = ?)",
    )?;
    let parent = [object.object_type.as_str(), &object.id.to_string()];
    Ok(statement.query_row(parent, |row| row.get(0))?)
}

fn forget_parents(connection: &Connection, child: i64) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM inherits WHERE child = ?")?
        .execute([child])?;
    Ok(())
}

/// Settles the readers of these objects and of all that inherit from them, and tells of those that have others now,
/// except of the one that the caller tells of. Their own lists must be with them.
pub(super) fn refresh(
    connection: &Connection,
    author: &Author,
    roots: &[i64],
    except: Option<i64>,
) -> Result<()> {
    let mut family = Family::gather(connection, roots)?;
    family.spread()?;
    let mut moved = family.write(connection)?;
    moved.retain(|moved| Some(moved.seq) != except);
    tell(connection, author, &moved)?;
    access::sweep(connection)
}

/// An object whose readers changed.
struct Moved {
    seq: i64,
    before: i64,
    after: i64,
}

/// Writes into the outbox whose readers changed: of each object, or of whole types when there are many.
fn tell(connection: &Connection, author: &Author, moved: &[Moved]) -> Result<()> {
    let mut told = 0;
    if moved.len() <= TOLD_MAX {
        let mut find =
            connection.prepare_cached("SELECT type, id, doc FROM objects WHERE seq = ?")?;
        let mut bytes = 0;
        for moved in moved {
            let (object_type, id, document): (String, String, String) = find
                .query_row([moved.seq], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?;
            bytes += document.len();
            if bytes > TOLD_BYTES_MAX && told > 0 {
                break;
            }
            let object = outbox::Moved {
                object_type: &object_type,
                id: &id,
                document: &document,
                readers: moved.after,
                readers_before: moved.before,
            };
            outbox::append_access(connection, &object, author)?;
            told += 1;
        }
    }
    let untold: Vec<i64> = moved[told..].iter().map(|moved| moved.seq).collect();
    if untold.is_empty() {
        return Ok(());
    }
    let untold = serde_json::Value::from(untold).to_string();
    let mut statement = connection.prepare_cached(
        "SELECT DISTINCT type FROM objects WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY type",
    )?;
    let types = statement.query_map([untold], |row| row.get::<_, String>(0))?;
    for object_type in types.collect::<Result<Vec<_>, _>>()? {
        outbox::append_resync(connection, &object_type, author)?;
    }
    Ok(())
}

/// Some objects together with all that inherit from them.
#[derive(Default)]
struct Family {
    members: Vec<Member>,
    audiences: Audiences,
}

struct Member {
    seq: i64,
    /// The audience that stands with the object.
    before: i64,
    /// Who may read it, as far as is known: a place in `audiences`.
    readers: usize,
    /// Members that inherit from it.
    children: Vec<usize>,
}

impl Family {
    /// Each member starts with the readers of its own list and those of its parents outside of the family, which
    /// inherit from no member, so that what stands with them is right.
    fn gather(connection: &Connection, roots: &[i64]) -> Result<Self> {
        let mut family = Self::default();
        let mut places = HashMap::new();
        let mut waiting: VecDeque<i64> = roots.iter().copied().collect();
        let mut lists = HashMap::new();
        let mut descents = Vec::new();
        while let Some(seq) = waiting.pop_front() {
            if places.contains_key(&seq) {
                continue;
            }
            let Some(row) = find(connection, seq)? else {
                continue;
            };
            let place = family.members.len();
            if place >= DESCENDANTS_MAX {
                let message = format!(
                    "more than {DESCENDANTS_MAX} objects inherit from this one, which is more than one change can reach"
                );
                return Err(Error::conflict(message).into());
            }
            places.insert(seq, place);
            let readers = match lists.get(&row.access) {
                Some(readers) => *readers,
                None => {
                    let readers = Readers::of(&access::list(connection, row.access)?);
                    let readers = family.audiences.place(readers)?;
                    lists.insert(row.access, readers);
                    readers
                }
            };
            family.members.push(Member {
                seq,
                before: row.readers,
                readers,
                children: Vec::new(),
            });
            let children = children(connection, &row.object_type, &row.id)?;
            descents.push(children.clone());
            waiting.extend(children);
        }
        for (parent, children) in descents.into_iter().enumerate() {
            family.members[parent].children = children
                .iter()
                .filter_map(|child| places.get(child).copied())
                .collect();
        }
        family.take_in_outside(connection, &places)?;
        Ok(family)
    }

    fn take_in_outside(
        &mut self,
        connection: &Connection,
        places: &HashMap<i64, usize>,
    ) -> Result<()> {
        let mut known: HashMap<i64, usize> = HashMap::new();
        for member in &mut self.members {
            for (parent, audience) in parent_audiences(connection, member.seq)? {
                if places.contains_key(&parent) {
                    continue;
                }
                let readers = match known.get(&audience) {
                    Some(readers) => *readers,
                    None => {
                        let readers = self
                            .audiences
                            .place(access::readers(connection, audience)?)?;
                        known.insert(audience, readers);
                        readers
                    }
                };
                member.readers = self.audiences.union(member.readers, readers)?;
            }
        }
        Ok(())
    }

    /// Readers flow down until nobody gains any. Sets only grow, so it ends, also in a circle.
    fn spread(&mut self) -> Result<()> {
        let mut waiting: VecDeque<usize> = (0..self.members.len()).collect();
        let mut queued = vec![true; self.members.len()];
        while let Some(place) = waiting.pop_front() {
            queued[place] = false;
            let readers = self.members[place].readers;
            let children = std::mem::take(&mut self.members[place].children);
            for &child in &children {
                let before = self.members[child].readers;
                let after = self.audiences.union(before, readers)?;
                if after != before {
                    self.members[child].readers = after;
                    if !std::mem::replace(&mut queued[child], true) {
                        waiting.push_back(child);
                    }
                }
            }
            self.members[place].children = children;
        }
        Ok(())
    }

    /// Writes down who may read what, and says where that is new.
    fn write(&self, connection: &Connection) -> Result<Vec<Moved>> {
        let mut moved = Vec::new();
        let mut ids: HashMap<usize, i64> = HashMap::new();
        let mut update =
            connection.prepare_cached("UPDATE objects SET readers = ? WHERE seq = ?")?;
        for member in &self.members {
            let id = match ids.get(&member.readers) {
                Some(id) => *id,
                None => {
                    let id = access::intern_readers(connection, self.audiences.at(member.readers))?;
                    ids.insert(member.readers, id);
                    id
                }
            };
            if id != member.before {
                update.execute([id, member.seq])?;
                moved.push(Moved {
                    seq: member.seq,
                    before: member.before,
                    after: id,
                });
            }
        }
        Ok(moved)
    }
}

/// The different audiences of a family, each in one place, so that thousands of objects compare numbers.
#[derive(Default)]
struct Audiences {
    all: Vec<Readers>,
    places: HashMap<Readers, usize>,
    unions: HashMap<(usize, usize), usize>,
    /// What all of them have together.
    subjects: usize,
}

impl Audiences {
    fn place(&mut self, readers: Readers) -> Result<usize> {
        if let Some(place) = self.places.get(&readers) {
            return Ok(*place);
        }
        self.subjects += readers.subjects().len();
        if self.subjects > SETTLED_MAX {
            let message = format!(
                "the objects that inherit from this one have more than {SETTLED_MAX} subjects who may read them, which \
                 is more than one change can reach"
            );
            return Err(Error::conflict(message).into());
        }
        let place = self.all.len();
        self.places.insert(readers.clone(), place);
        self.all.push(readers);
        Ok(place)
    }

    fn at(&self, place: usize) -> &Readers {
        &self.all[place]
    }

    fn union(&mut self, one: usize, other: usize) -> Result<usize> {
        if one == other {
            return Ok(one);
        }
        let pair = (one.min(other), one.max(other));
        if let Some(place) = self.unions.get(&pair) {
            return Ok(*place);
        }
        let union = self.all[one].union(&self.all[other]);
        if union.subjects().len() > READERS_MAX {
            let message = format!(
                "by the lists that it inherits an object would have more than {READERS_MAX} subjects who may read it; \
                 a usergroup is one subject, however many members it has"
            );
            return Err(Error::conflict(message).into());
        }
        let place = self.place(union)?;
        self.unions.insert(pair, place);
        Ok(place)
    }
}

struct Found {
    object_type: String,
    id: String,
    access: i64,
    readers: i64,
}

fn find(connection: &Connection, seq: i64) -> Result<Option<Found>> {
    let mut statement =
        connection.prepare_cached("SELECT type, id, access, readers FROM objects WHERE seq = ?")?;
    let found = |row: &Row<'_>| {
        Ok(Found {
            object_type: row.get(0)?,
            id: row.get(1)?,
            access: row.get(2)?,
            readers: row.get(3)?,
        })
    };
    Ok(statement.query_row([seq], found).optional()?)
}

fn children(connection: &Connection, object_type: &str, id: &str) -> Result<Vec<i64>> {
    let mut statement = connection
        .prepare_cached("SELECT child FROM inherits WHERE parent_type = ? AND parent_id = ?")?;
    let rows = statement.query_map([object_type, id], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn parent_audiences(connection: &Connection, child: i64) -> Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT objects.seq, objects.readers FROM inherits \
         CROSS JOIN objects ON objects.type = parent_type AND objects.id = parent_id \
         WHERE child = ?",
    )?;
    let rows = statement.query_map([child], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use pilvi_model::Subject;
    use pilvi_model::access::Subjects;

    use super::*;

    fn readers(from: usize, count: usize) -> Readers {
        let subjects = (from..from + count).map(|number| Subject::User(number.to_string()));
        Readers::from_text(&Subjects::of(subjects).to_text()).unwrap()
    }

    #[test]
    fn what_one_write_settles_fits_into_memory() {
        let mut audiences = Audiences::default();
        let fit = SETTLED_MAX / 1000;
        for number in 0..fit {
            assert_eq!(audiences.place(readers(number, 1000)).unwrap(), number);
        }
        assert_eq!(audiences.place(readers(0, 1000)).unwrap(), 0);
        assert!(audiences.place(readers(fit, 1000)).is_err());
    }
}
