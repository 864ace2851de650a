//! Sessions: browsers that a person has signed in with. No secret is in here, only what finds one.

use std::time::Duration;

use pilvi_model::{PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::logins;
use super::persons::{COLUMNS as PERSON_COLUMNS, person_from};
use super::tokens::Digest;
use super::{Moment, Person, Text};
use crate::Store;
use crate::error::Result as StoreResult;

/// A session that is about to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    pub person: PersonId,
    /// SHA-256 of the secret that the browser keeps.
    pub digest: [u8; 32],
    /// What the browser calls itself.
    pub agent: String,
    /// From where it came.
    pub peer: String,
    pub created_at: Timestamp,
}

/// A browser that somebody has signed in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub id: i64,
    pub person: PersonId,
    pub agent: String,
    pub peer: String,
    pub created_at: Timestamp,
    /// Not more often than once in [`SessionLife::noted_every`].
    pub used_at: Timestamp,
}

/// How long a session lives, and how exactly it is known when it was used last.
#[derive(Clone, Copy, Debug)]
pub struct SessionLife {
    /// It ends when nobody used it for so long.
    pub idle: Duration,
    /// It ends after so long however much it is used.
    pub whole: Duration,
    pub noted_every: Duration,
}

const COLUMNS: &str = "sessions.id, sessions.person, sessions.agent, sessions.peer, sessions.created_at, \
     sessions.used_at";
const COLUMN_COUNT: usize = 6;

impl Store {
    /// Begins a session. A person who has `sessions_max` loses the one that was not used for longest.
    pub async fn insert_session(&self, session: NewSession, sessions_max: u32) -> Result<Session> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE person = ?
                         ORDER BY used_at DESC, id DESC LIMIT -1 OFFSET ?)",
                    )?
                    .execute(params![
                        Text(session.person),
                        sessions_max.saturating_sub(1)
                    ])?;
                connection
                    .prepare_cached(
                        "INSERT INTO sessions (digest, person, agent, peer, created_at, used_at)
                         VALUES (?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        Digest(session.digest),
                        Text(session.person),
                        session.agent,
                        session.peer,
                        Moment(session.created_at),
                        Moment(session.created_at)
                    ])?;
                Ok(Session {
                    id: connection.last_insert_rowid(),
                    person: session.person,
                    agent: session.agent.clone(),
                    peer: session.peer.clone(),
                    created_at: session.created_at,
                    used_at: session.created_at,
                })
            })
            .await
    }

    /// The session with this digest and whose it is, unless its life is over.
    pub async fn find_session(
        &self,
        digest: [u8; 32],
        life: SessionLife,
        now: Timestamp,
    ) -> Result<Option<(Session, Person)>> {
        let found = self
            .platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS}, {PERSON_COLUMNS}
                         FROM sessions JOIN persons ON persons.id = sessions.person WHERE sessions.digest = ?"
                    ))?
                    .query_row([Digest(digest)], |row| {
                        Ok((session_of(row)?, person_from(row, COLUMN_COUNT)?))
                    })
                    .optional()?)
            })
            .await?;
        let Some((mut session, person)) = found.filter(|(session, _)| is_alive(session, life, now))
        else {
            return Ok(None);
        };
        if session.used_at.plus(life.noted_every) <= now {
            session.used_at = now;
            // A disk that is full keeps nobody out.
            let _ = self.note_use(session.id, now).await;
        }
        Ok(Some((session, person)))
    }

    async fn note_use(&self, id: i64, now: Timestamp) -> Result<()> {
        self.platform
            .write_when_low(move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE sessions SET used_at = ?2 WHERE id = ?1 AND used_at < ?2",
                    )?
                    .execute(params![id, Moment(now)])?;
                Ok(())
            })
            .await
    }

    /// The person's living sessions, the one used last first.
    pub async fn list_sessions(
        &self,
        person: PersonId,
        life: SessionLife,
        now: Timestamp,
    ) -> Result<Vec<Session>> {
        let all: Vec<Session> = self
            .platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM sessions WHERE person = ? ORDER BY used_at DESC, id DESC"
                ))?;
                let rows = statement.query_map([Text(person)], session_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await?;
        let living = all
            .into_iter()
            .filter(|session| is_alive(session, life, now));
        Ok(living.collect())
    }

    /// Ends one session of the person. `false`: the person has no such session.
    pub async fn delete_session(&self, person: PersonId, id: i64) -> Result<bool> {
        self.platform
            .write_when_low(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM sessions WHERE person = ? AND id = ?")?
                    .execute(params![Text(person), id])?;
                Ok(deleted > 0)
            })
            .await
    }

    /// Ends all sessions of the person but `kept`.
    pub async fn delete_other_sessions(&self, person: PersonId, kept: Option<i64>) -> Result<()> {
        self.platform
            .write_when_low(move |connection| delete_others(connection, person, kept))
            .await
    }

    /// Forgets sessions that nobody can use any more.
    pub async fn delete_ended_sessions(&self, life: SessionLife, now: Timestamp) -> Result<usize> {
        let (idle_since, begun) = (before(now, life.idle), before(now, life.whole));
        self.platform
            .write_when_low(move |connection| {
                let deleted = connection
                    .prepare_cached("DELETE FROM sessions WHERE used_at < ? OR created_at < ?")?
                    .execute(params![Moment(idle_since), Moment(begun)])?;
                Ok(deleted)
            })
            .await
    }
}

pub(super) fn delete_others(
    connection: &Connection,
    person: PersonId,
    kept: Option<i64>,
) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM sessions WHERE person = ? AND id IS NOT ?")?
        .execute(params![Text(person), kept])?;
    Ok(logins::delete_all(connection, person)?)
}

fn is_alive(session: &Session, life: SessionLife, now: Timestamp) -> bool {
    now < session.used_at.plus(life.idle) && now < session.created_at.plus(life.whole)
}

fn before(now: Timestamp, duration: Duration) -> Timestamp {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(millis))
}

fn session_of(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.get(0)?,
        person: row.get::<_, Text<_>>(1)?.0,
        agent: row.get(2)?,
        peer: row.get(3)?,
        created_at: row.get::<_, Moment>(4)?.0,
        used_at: row.get::<_, Moment>(5)?.0,
    })
}
