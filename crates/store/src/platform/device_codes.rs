//! Device codes: how a program without a browser signs in through one.
//!
//! The program holds the long code and polls with it; the person types the short one on a page and decides. Nothing
//! opens anything until both have happened: the token is made in the transaction that spends the code, so that one
//! decision is worth one token, however often and from wherever it is asked for.

use std::net::IpAddr;

use pilvi_model::{Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::tokens::Digest;
use super::{Holder, Moment, NewToken, Text, Token, tokens};
use crate::Store;
use crate::error::Result as StoreResult;

/// A code that is about to exist.
#[derive(Clone, Debug)]
pub struct NewDeviceCode {
    /// SHA-256 of the long code.
    pub digest: [u8; 32],
    /// What the person types.
    pub user_code: String,
    /// What the program calls itself.
    pub client: String,
    /// Where it asked from.
    pub peer: IpAddr,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// How many codes may wait at the same time.
#[derive(Clone, Copy, Debug)]
pub struct DeviceCodeBounds {
    pub total_max: u32,
    /// For one address.
    pub per_peer_max: u32,
}

/// A code that waits for a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCode {
    pub user_code: String,
    pub client: String,
    pub peer: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// What a person decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approved,
    Denied,
}

/// Where a code stands, for the program that polls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceCodeState {
    /// Never made, expired, or spent.
    Unknown,
    Waiting,
    /// The decision is made, by whom, and for a program of which name.
    Approved {
        person: PersonId,
        client: String,
    },
    Denied,
}

const COLUMNS: &str = "user_code, client, peer, created_at, expires_at";

impl Store {
    /// Adds a code, unless too many wait already. A short code that waits already is a conflict: draw another.
    pub async fn insert_device_code(
        &self,
        code: NewDeviceCode,
        bounds: DeviceCodeBounds,
    ) -> Result<()> {
        self.platform
            .write(move |connection| {
                connection
                    .prepare_cached("DELETE FROM device_codes WHERE expires_at <= ?")?
                    .execute([Moment(code.created_at)])?;
                let peer = code.peer.to_string();
                check_room(connection, &peer, bounds)?;
                let added = connection
                    .prepare_cached(
                        "INSERT INTO device_codes (digest, user_code, client, peer, state, created_at, expires_at)
                         VALUES (?, ?, ?, ?, 'waiting', ?, ?) ON CONFLICT (user_code) DO NOTHING",
                    )?
                    .execute(params![
                        Digest(code.digest),
                        code.user_code,
                        code.client,
                        peer,
                        Moment(code.created_at),
                        Moment(code.expires_at)
                    ])?;
                match added {
                    0 => Err(Error::conflict("this code is in use").into()),
                    _ => Ok(()),
                }
            })
            .await
    }

    /// The code that waits for a decision under these short letters.
    pub async fn find_device_code(
        &self,
        user_code: String,
        now: Timestamp,
    ) -> Result<Option<DeviceCode>> {
        self.platform
            .read(move |connection| Ok(find_waiting(connection, &user_code, now)?))
            .await
    }

    /// Writes down what a person decided. The first decision counts: `None`, no code waits under these letters.
    pub async fn decide_device_code(
        &self,
        user_code: String,
        person: PersonId,
        decision: Decision,
        now: Timestamp,
    ) -> Result<Option<DeviceCode>> {
        self.platform
            .write(move |connection| {
                let Some(code) = find_waiting(connection, &user_code, now)? else {
                    return Ok(None);
                };
                let state = match decision {
                    Decision::Approved => "approved",
                    Decision::Denied => "denied",
                };
                connection
                    .prepare_cached(
                        "UPDATE device_codes SET state = ?, person = ? WHERE user_code = ?",
                    )?
                    .execute(params![state, Text(person), user_code])?;
                Ok(Some(code))
            })
            .await
    }

    /// Where the long code with this digest stands.
    pub async fn find_device_code_state(
        &self,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<DeviceCodeState> {
        self.platform
            .read(move |connection| Ok(state_of(connection, digest, now)?))
            .await
    }

    /// Spends an approved code for a token: both, or neither. The token's holder is whoever approved, and its name
    /// what the program calls itself, whatever `token` says. `None`: the code is not approved, or not any more.
    pub async fn redeem_device_code(
        &self,
        digest: [u8; 32],
        token: NewToken,
        tokens_max: u32,
    ) -> Result<Option<(PersonId, Token)>> {
        self.platform
            .write(move |connection| {
                let state = state_of(connection, digest, token.created_at)?;
                let DeviceCodeState::Approved { person, client } = state else {
                    return Ok(None);
                };
                connection
                    .prepare_cached("DELETE FROM device_codes WHERE digest = ?")?
                    .execute([Digest(digest)])?;
                let token = NewToken {
                    holder: Holder::Person(person),
                    name: Some(client),
                    ..token
                };
                let token = tokens::insert_within(connection, &token, tokens_max)?;
                Ok(Some((person, token)))
            })
            .await
    }
}

fn check_room(connection: &Connection, peer: &str, bounds: DeviceCodeBounds) -> StoreResult<()> {
    let (total, of_peer): (u32, u32) = connection
        .prepare_cached("SELECT count(*), count(*) FILTER (WHERE peer = ?) FROM device_codes")?
        .query_row([peer], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if of_peer >= bounds.per_peer_max || total >= bounds.total_max {
        return Err(Error::over_limit(
            "too many sign-ins wait for a decision; finish one of them, or try again in some minutes",
        )
        .into());
    }
    Ok(())
}

fn find_waiting(
    connection: &Connection,
    user_code: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<DeviceCode>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM device_codes WHERE user_code = ? AND state = 'waiting' AND expires_at > ?"
        ))?
        .query_row(params![user_code, Moment(now)], code_of)
        .optional()
}

fn state_of(
    connection: &Connection,
    digest: [u8; 32],
    now: Timestamp,
) -> rusqlite::Result<DeviceCodeState> {
    let found = connection
        .prepare_cached(
            "SELECT state, person, client FROM device_codes WHERE digest = ? AND expires_at > ?",
        )?
        .query_row(params![Digest(digest), Moment(now)], |row| {
            Ok(match row.get_ref(0)?.as_str()? {
                "waiting" => DeviceCodeState::Waiting,
                "approved" => DeviceCodeState::Approved {
                    person: row.get::<_, Text<_>>(1)?.0,
                    client: row.get(2)?,
                },
                // The table's CHECK keeps other words out.
                _ => DeviceCodeState::Denied,
            })
        })
        .optional()?;
    Ok(found.unwrap_or(DeviceCodeState::Unknown))
}

fn code_of(row: &Row<'_>) -> rusqlite::Result<DeviceCode> {
    Ok(DeviceCode {
        user_code: row.get(0)?,
        client: row.get(1)?,
        peer: row.get(2)?,
        created_at: row.get::<_, Moment>(3)?.0,
        expires_at: row.get::<_, Moment>(4)?.0,
    })
}
