//! Sessions: who signed in, found by the digest of a token. No token is in here.

use pilvi_model::{Asker, ObjectId, ObjectType, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::outbox::millis;
use super::{Backend, members, objects, users};
use crate::error::Result as StoreResult;

/// So many sessions of one user are kept; the oldest go.
const PER_USER_MAX: i64 = 1000;
/// So many of the oldest sessions are looked at when a new one begins.
const PRUNE_MAX: i64 = 64;
/// So large may the groups be together that whoever signs in is shown.
const GROUPS_MAX_BYTES: usize = 1 << 20;

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// By OAuth2: an access token and one to renew it with.
    OAuth2,
    /// As clients did before OAuth2: one token.
    Identity,
}

impl SessionKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::OAuth2 => "oauth2",
            Self::Identity => "identity",
        }
    }
}

/// The digests of the tokens of a session, and until when they hold.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: [u8; 32],
    pub access_expires: Timestamp,
    pub refresh: Option<Refresh>,
}

/// What a session can be renewed with.
#[derive(Clone, Debug)]
pub struct Refresh {
    pub digest: [u8; 32],
    /// What all refresh tokens that go back to one login have in common, as a digest, too.
    pub family: [u8; 32],
    pub expires: Timestamp,
}

/// A refresh token that somebody came with.
#[derive(Clone, Copy, Debug)]
pub struct Presented {
    digest: [u8; 32],
    family: [u8; 32],
}

impl Presented {
    pub fn new(digest: [u8; 32], family: [u8; 32]) -> Self {
        Self { digest, family }
    }
}

/// What became of a refresh token.
#[derive(Clone, Debug)]
pub enum Renewal {
    Done(SignedIn),
    /// This user's token had served before, so somebody has it who should not: the sessions of its family have ended.
    Reused(ObjectId),
    /// It is none, or its time is over.
    Unknown,
}

/// A user with the groups they are in, as texts of the objects, or of references to them where the user may not read
/// them or they are too large.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub user: String,
    pub groups: Vec<String>,
    /// Whether the user has shown that the address is theirs.
    pub email_verified: bool,
}

/// Who holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: ObjectId,
    pub groups: Vec<ObjectId>,
}

impl Backend {
    /// Begins a session of the user whose stored password is still `password`; `None`: it is not, or there is no such
    /// user any more.
    pub async fn open_session(
        &self,
        user: ObjectId,
        password: String,
        kind: SessionKind,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<Option<SignedIn>> {
        self.database
            .write(move |connection| {
                if users::password_of(connection, user)? != Some(password) {
                    return Ok(None);
                }
                insert(connection, user, kind, &tokens, now)?;
                prune(connection, user, now)?;
                signed_in(connection, user)
            })
            .await
    }

    /// Gives new tokens for a refresh token, which from then on is worth nothing. The access token that it came with
    /// lasts as long as it would have: requests with it may be under way. One that comes a second time ends all
    /// sessions of its family, because nobody can tell the thief from the user.
    pub async fn renew_session(
        &self,
        presented: Presented,
        tokens: Tokens,
        now: Timestamp,
    ) -> Result<Renewal> {
        self.database
            .write(move |connection| {
                let spent: Option<String> = connection
                    .prepare_cached(
                        "UPDATE sessions SET refresh = NULL, refresh_expires = NULL \
                         WHERE refresh = ? AND refresh_expires > ? RETURNING user",
                    )?
                    .query_row(params![presented.digest, millis(now)], |row| row.get(0))
                    .optional()?;
                let Some(user) = spent else {
                    return refuse(connection, presented);
                };
                let user = user.parse()?;
                insert(connection, user, SessionKind::OAuth2, &tokens, now)?;
                prune(connection, user, now)?;
                Ok(signed_in(connection, user)?.map_or(Renewal::Unknown, Renewal::Done))
            })
            .await
    }

    /// Who holds this access token.
    pub async fn find_session(&self, access: [u8; 32], now: Timestamp) -> Result<Option<Member>> {
        self.database
            .read(move |connection| {
                let Some(id) = holder(connection, access, now)? else {
                    return Ok(None);
                };
                let groups = members::groups_of(connection, id)?;
                Ok(Some(Member { id, groups }))
            })
            .await
    }

    /// The user who holds this access token, and their groups.
    pub async fn find_signed_in(
        &self,
        access: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<SignedIn>> {
        self.database
            .read(move |connection| match holder(connection, access, now)? {
                Some(user) => signed_in(connection, user),
                None => Ok(None),
            })
            .await
    }

    /// A user and their groups.
    pub async fn find_user_with_groups(&self, user: ObjectId) -> Result<Option<SignedIn>> {
        self.database
            .read(move |connection| signed_in(connection, user))
            .await
    }

    /// Ends the session that this token belongs to; says whether it was still alive. With a refresh token go all
    /// sessions of its family, whose access tokens might last longer.
    pub async fn end_session(&self, token: [u8; 32], now: Timestamp) -> Result<bool> {
        self.database
            .write_when_low(move |connection| {
                let ended: Vec<bool> = connection
                    .prepare_cached(
                        "DELETE FROM sessions WHERE access = ?1 OR refresh = ?1 \
                         OR family = (SELECT family FROM sessions WHERE refresh = ?1) \
                         RETURNING max(access_expires, coalesce(refresh_expires, 0)) > ?2",
                    )?
                    .query_map(params![token, millis(now)], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                Ok(ended.contains(&true))
            })
            .await
    }
}

fn insert(
    connection: &Connection,
    user: ObjectId,
    kind: SessionKind,
    tokens: &Tokens,
    now: Timestamp,
) -> StoreResult<()> {
    let refresh = tokens.refresh.as_ref();
    connection
        .prepare_cached(
            "INSERT INTO sessions \
             (user, kind, access, access_expires, refresh, refresh_expires, family, created_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            user.to_string(),
            kind.as_str(),
            tokens.access,
            millis(tokens.access_expires),
            refresh.map(|refresh| refresh.digest),
            refresh.map(|refresh| millis(refresh.expires)),
            refresh.map(|refresh| refresh.family),
            millis(now),
        ])?;
    Ok(())
}

/// A token that renews nothing is past its time, or has served before, or never was one.
fn refuse(connection: &Connection, presented: Presented) -> StoreResult<Renewal> {
    let is_late: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM sessions WHERE refresh = ?)")?
        .query_row([presented.digest], |row| row.get(0))?;
    if is_late {
        return Ok(Renewal::Unknown);
    }
    let users: Vec<String> = connection
        .prepare_cached("DELETE FROM sessions WHERE family = ? RETURNING user")?
        .query_map([presented.family], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    match users.first() {
        Some(user) => Ok(Renewal::Reused(user.parse()?)),
        None => Ok(Renewal::Unknown),
    }
}

/// Deletes what has expired among the oldest sessions of all, and what one user has too many of. No session lasts
/// longer than any other by much, so the oldest are the ones to look at.
fn prune(connection: &Connection, user: ObjectId, now: Timestamp) -> StoreResult<()> {
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN \
             (SELECT id FROM (SELECT id, access_expires, refresh_expires FROM sessions ORDER BY id LIMIT ?) \
              WHERE max(access_expires, coalesce(refresh_expires, 0)) <= ?)",
        )?
        .execute(params![PRUNE_MAX, millis(now)])?;
    connection
        .prepare_cached(
            "DELETE FROM sessions WHERE id IN \
             (SELECT id FROM sessions WHERE user = ? ORDER BY id DESC LIMIT 16 OFFSET ?)",
        )?
        .execute(params![user.to_string(), PER_USER_MAX])?;
    Ok(())
}

fn holder(
    connection: &Connection,
    access: [u8; 32],
    now: Timestamp,
) -> StoreResult<Option<ObjectId>> {
    let user: Option<String> = connection
        .prepare_cached("SELECT user FROM sessions WHERE access = ? AND access_expires > ?")?
        .query_row(params![access, millis(now)], |row| row.get(0))
        .optional()?;
    Ok(user.map(|user| user.parse()).transpose()?)
}

fn signed_in(connection: &Connection, user: ObjectId) -> StoreResult<Option<SignedIn>> {
    let found: Option<(String, bool)> = connection
        .prepare_cached(
            "SELECT doc, email_verified_at IS NOT NULL FROM users \
             JOIN objects ON objects.type = 'users' AND objects.id = users.id WHERE users.id = ?",
        )?
        .query_row([user.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((found, email_verified)) = found else {
        return Ok(None);
    };
    let groups = groups(connection, user)?;
    Ok(Some(SignedIn {
        user: found,
        groups,
        email_verified,
    }))
}

/// The user's groups: whole as far as the user may read them and they are not too large together, otherwise as
/// references.
fn groups(connection: &Connection, user: ObjectId) -> StoreResult<Vec<String>> {
    let usergroups = ObjectType::usergroups();
    let ids = members::groups_of(connection, user)?;
    let asker = Asker::User {
        id: user,
        groups: ids.clone(),
    };
    let mut texts = Vec::with_capacity(ids.len());
    let mut room = GROUPS_MAX_BYTES;
    for id in ids {
        let readable = match room {
            0 => None,
            _ => objects::find_readable(connection, &asker, &usergroups, id)?,
        };
        let reference = || format!(r#"{{"id":"{id}","objectType":"{usergroups}"}}"#);
        texts.push(match readable.map(|stored| stored.object.text) {
            Some(text) if text.len() <= room => {
                room -= text.len();
                text
            }
            Some(_) => {
                room = 0;
                reference()
            }
            None => reference(),
        });
    }
    Ok(texts)
}

/// Ends what a user could renew; what they hold goes on until it expires. Whoever comes with a token of before is no
/// thief, so the families are forgotten, too.
pub(super) fn forget_refresh(connection: &Connection, user: ObjectId) -> StoreResult<()> {
    connection
        .prepare_cached(
            "UPDATE sessions SET refresh = NULL, refresh_expires = NULL, family = NULL \
             WHERE user = ? AND family IS NOT NULL",
        )?
        .execute([user.to_string()])?;
    Ok(())
}

/// Ends every session of a user.
pub(super) fn forget_all(connection: &Connection, user: ObjectId) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM sessions WHERE user = ?")?
        .execute([user.to_string()])?;
    Ok(())
}
