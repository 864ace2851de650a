//! Invitations: somebody is asked to join an account, by a code in a mail.

use pilvi_model::{AccountId, Error, PersonId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::tokens::Digest;
use super::{Moment, Resource, Role, Text, members, quotas};
use crate::Store;
use crate::error::Result as StoreResult;

/// An invitation that is about to exist.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    pub account: AccountId,
    pub email: String,
    pub role: Role,
    /// SHA-256 of the code in the mail.
    pub digest: [u8; 32],
    pub invited_by: PersonId,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// An invitation that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    pub id: i64,
    pub account: AccountId,
    pub account_name: String,
    pub email: String,
    pub role: Role,
    /// The address of whoever invited; `None`: they are gone.
    pub invited_by: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Which invitation somebody answers.
#[derive(Clone, Debug)]
pub enum Answered {
    /// The one whose code hashes to this, whoever it was sent to: who has the code has the mail.
    ByCode([u8; 32]),
    /// One that was sent to the person's address, which must be known to be theirs.
    ByNumber(i64),
}

/// How many invitations an account may have open, and members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvitationBounds {
    pub open_max: u32,
    /// Mails that one person may have sent to others in a day. They are counted in the audit log.
    pub mails_per_day: u32,
    pub members_max: u32,
    pub accounts_per_person: u32,
}

const COLUMNS: &str = "invitations.id, invitations.account, accounts.name, invitations.email, \
     invitations.role, inviter.email, invitations.created_at, invitations.expires_at";
const TABLES: &str = "invitations JOIN accounts ON accounts.id = invitations.account \
     LEFT JOIN persons AS inviter ON inviter.id = invitations.invited_by";

impl Store {
    /// Adds an invitation. Whoever has one to this account already gets the new one in its place, with a code of its
    /// own. A conflict: the address is a member's. The inviter must still be an owner.
    pub async fn insert_invitation(
        &self,
        new: NewInvitation,
        bounds: InvitationBounds,
    ) -> Result<Invitation> {
        self.platform
            .write(move |connection| {
                check_new(connection, &new, bounds)?;
                connection
                    .prepare_cached(
                        "DELETE FROM invitations WHERE account = ? AND lower(email) = lower(?)",
                    )?
                    .execute(params![Text(new.account), new.email])?;
                connection
                    .prepare_cached(
                        "INSERT INTO invitations (account, email, role, digest, invited_by, created_at, expires_at)
                         VALUES (?, ?, ?, ?, ?, ?, ?)",
                    )?
                    .execute(params![
                        Text(new.account),
                        new.email,
                        new.role.as_str(),
                        Digest(new.digest),
                        Text(new.invited_by),
                        Moment(new.created_at),
                        Moment(new.expires_at)
                    ])?;
                let id = connection.last_insert_rowid();
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM {TABLES} WHERE invitations.id = ?"
                    ))?
                    .query_row([id], invitation_of)?)
            })
            .await
    }

    /// The invitations of an account that are still good, oldest first.
    pub async fn list_invitations(
        &self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<Vec<Invitation>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM {TABLES}
                     WHERE invitations.account = ? AND invitations.expires_at > ? ORDER BY invitations.id"
                ))?;
                let rows = statement.query_map(params![Text(account), Moment(now)], invitation_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// The invitations that wait for a person whose address is known to be theirs; for others there is none.
    pub async fn list_invitations_of(
        &self,
        person: PersonId,
        now: Timestamp,
    ) -> Result<Vec<Invitation>> {
        self.platform
            .read(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM {TABLES}
                     JOIN persons ON lower(persons.email) = lower(invitations.email)
                     WHERE persons.id = ? AND persons.email_verified_at IS NOT NULL
                         AND invitations.expires_at > ? ORDER BY invitations.id"
                ))?;
                let rows =
                    statement.query_map(params![Text(person), Moment(now)], invitation_of)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    /// The invitation that a code belongs to, while it is good.
    pub async fn find_invitation_by_code(
        &self,
        digest: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<Invitation>> {
        self.platform
            .read(move |connection| {
                Ok(connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM {TABLES}
                         WHERE invitations.digest = ? AND invitations.expires_at > ?"
                    ))?
                    .query_row(params![Digest(digest), Moment(now)], invitation_of)
                    .optional()?)
            })
            .await
    }

    /// Makes a person a member by an invitation, which is used up. A conflict: they are one already, and the invitation
    /// stays.
    pub async fn accept_invitation(
        &self,
        person: PersonId,
        answered: Answered,
        bounds: InvitationBounds,
        now: Timestamp,
    ) -> Result<Invitation> {
        self.platform
            .write(move |connection| {
                let invitation = take(connection, person, &answered, now)?;
                add_member(connection, person, &invitation, bounds)?;
                Ok(invitation)
            })
            .await
    }

    /// Deletes an invitation that the person does not want.
    pub async fn decline_invitation(
        &self,
        person: PersonId,
        answered: Answered,
        now: Timestamp,
    ) -> Result<Invitation> {
        self.platform
            .write_when_low(move |connection| take(connection, person, &answered, now))
            .await
    }

    /// Takes an invitation back. `None`: the account has no such invitation.
    pub async fn delete_invitation(&self, account: AccountId, id: i64) -> Result<Option<String>> {
        self.platform
            .write_when_low(move |connection| {
                Ok(connection
                    .prepare_cached(
                        "DELETE FROM invitations WHERE account = ? AND id = ? RETURNING email",
                    )?
                    .query_row(params![Text(account), id], |row| row.get(0))
                    .optional()?)
            })
            .await
    }

    /// Deletes the invitations that are not good any more.
    pub async fn delete_expired_invitations(&self, now: Timestamp) -> Result<usize> {
        self.platform
            .write_when_low(move |connection| {
                Ok(connection
                    .prepare_cached("DELETE FROM invitations WHERE expires_at <= ?")?
                    .execute([Moment(now)])?)
            })
            .await
    }
}

fn check_new(
    connection: &Connection,
    new: &NewInvitation,
    bounds: InvitationBounds,
) -> StoreResult<()> {
    // The inviter's rights may have changed since they were looked at.
    if members::role_of(connection, new.account, new.invited_by)? != Some(Role::Owner) {
        return Err(Error::not_found("there is no such account").into());
    }
    let is_member: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM members JOIN persons ON persons.id = members.person
             WHERE members.account = ? AND lower(persons.email) = lower(?))",
        )?
        .query_row(params![Text(new.account), new.email], |row| row.get(0))?;
    if is_member {
        return Err(Error::conflict(
            "somebody with this address is a member of the account already; change their role instead",
        )
        .into());
    }
    let (open, members): (u32, u32) = connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM invitations
                     WHERE account = ?1 AND expires_at > ?2 AND lower(email) <> lower(?3)),
                 (SELECT count(*) FROM members WHERE account = ?1)",
        )?
        .query_row(
            params![Text(new.account), Moment(new.created_at), new.email],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
    if open >= bounds.open_max {
        return Err(Error::over_limit(format!(
            "{} invitations to this account wait for an answer already; take one back first",
            bounds.open_max
        ))
        .into());
    }
    check_room(connection, new.account, members, bounds)?;
    check_mails(connection, new, bounds)
}

/// Whoever could invite without end could fill the mailboxes of strangers.
fn check_mails(
    connection: &Connection,
    new: &NewInvitation,
    bounds: InvitationBounds,
) -> StoreResult<()> {
    const DAY_MILLIS: u64 = 24 * 60 * 60 * 1000;
    let since = Timestamp::from_millis(new.created_at.as_millis().saturating_sub(DAY_MILLIS));
    let sent: u32 = connection
        .prepare_cached(
            "SELECT count(*) FROM audit WHERE person = ? AND event = 'invitation.create' AND at > ?",
        )?
        .query_row(params![Text(new.invited_by), Moment(since)], |row| {
            row.get(0)
        })?;
    match sent >= bounds.mails_per_day {
        true => Err(Error::over_limit(format!(
            "you have invited {sent} times in the last 24 hours, which is the most; invite the others tomorrow"
        ))
        .into()),
        false => Ok(()),
    }
}

fn check_room(
    connection: &Connection,
    account: AccountId,
    members: u32,
    bounds: InvitationBounds,
) -> StoreResult<()> {
    let default = bounds.members_max.into();
    let most = quotas::most(connection, account, Resource::Members, default)?;
    match u64::from(members) >= most {
        true => Err(Error::over_limit(format!(
            "an account may have {most} members; remove one first"
        ))
        .into()),
        false => Ok(()),
    }
}

/// Finds an invitation that this person may answer, and deletes it.
fn take(
    connection: &Connection,
    person: PersonId,
    answered: &Answered,
    now: Timestamp,
) -> StoreResult<Invitation> {
    let found = match answered {
        Answered::ByCode(digest) => connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM {TABLES}
                 WHERE invitations.digest = ? AND invitations.expires_at > ?"
            ))?
            .query_row(params![Digest(*digest), Moment(now)], invitation_of)
            .optional()?,
        Answered::ByNumber(id) => connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM {TABLES}
                 JOIN persons ON lower(persons.email) = lower(invitations.email)
                 WHERE invitations.id = ? AND invitations.expires_at > ? AND persons.id = ?
                     AND persons.email_verified_at IS NOT NULL"
            ))?
            .query_row(params![id, Moment(now), Text(person)], invitation_of)
            .optional()?,
    };
    let invitation = found.ok_or_else(|| {
        Error::not_found(
            "there is no such invitation; it may have been answered, taken back, or have expired: ask for another",
        )
    })?;
    connection
        .prepare_cached("DELETE FROM invitations WHERE id = ?")?
        .execute([invitation.id])?;
    Ok(invitation)
}

fn add_member(
    connection: &Connection,
    person: PersonId,
    invitation: &Invitation,
    bounds: InvitationBounds,
) -> StoreResult<()> {
    if members::role_of(connection, invitation.account, person)?.is_some() {
        return Err(Error::conflict("you are a member of this account already").into());
    }
    let (members, accounts): (u32, u32) = connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM members WHERE account = ?1),
                 (SELECT count(*) FROM members WHERE person = ?2)",
        )?
        .query_row(params![Text(invitation.account), Text(person)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    check_room(connection, invitation.account, members, bounds)?;
    if accounts >= bounds.accounts_per_person {
        return Err(Error::over_limit(format!(
            "a person may belong to {} accounts; leave one first",
            bounds.accounts_per_person
        ))
        .into());
    }
    connection
        .prepare_cached("INSERT INTO members (account, person, role) VALUES (?, ?, ?)")?
        .execute(params![
            Text(invitation.account),
            Text(person),
            invitation.role.as_str()
        ])?;
    Ok(())
}

fn invitation_of(row: &Row<'_>) -> rusqlite::Result<Invitation> {
    let role: String = row.get(4)?;
    Ok(Invitation {
        id: row.get(0)?,
        account: row.get::<_, Text<_>>(1)?.0,
        account_name: row.get(2)?,
        email: row.get(3)?,
        role: Role::named(&role),
        invited_by: row.get(5)?,
        created_at: row.get::<_, Moment>(6)?.0,
        expires_at: row.get::<_, Moment>(7)?.0,
    })
}
