//! Vouchers: what was mailed to a user and is worth one thing once. Only digests are in here.

use std::time::Duration;

use pilvi_model::{ObjectId, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use super::Backend;
use super::outbox::millis;
use crate::error::Result as StoreResult;

/// What a voucher is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new password.
    Password,
    /// The proof that an address is the user's own.
    Email,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Email => "email",
        }
    }
}

/// A voucher that is about to be mailed.
#[derive(Clone, Debug)]
pub struct NewVoucher {
    pub digest: [u8; 32],
    pub user: ObjectId,
    pub purpose: Purpose,
    pub life: Duration,
    /// One that was issued no longer ago than this must do.
    pub spacing: Duration,
}

impl Backend {
    /// Stores a voucher in place of the user's earlier one. Says no, and stores nothing, when that is so fresh that its
    /// mail may still be on the way, or when there is no such user.
    pub async fn issue_voucher(&self, voucher: NewVoucher, now: Timestamp) -> Result<bool> {
        self.database
            .write(move |connection| issue(connection, &voucher, now))
            .await
    }

    /// Whose voucher this is, as long as it is worth something.
    pub async fn find_voucher(
        &self,
        digest: [u8; 32],
        purpose: Purpose,
        now: Timestamp,
    ) -> Result<Option<ObjectId>> {
        self.database
            .read(move |connection| {
                let user: Option<String> = connection
                    .prepare_cached(
                        "SELECT user FROM vouchers WHERE digest = ? AND purpose = ? AND expires > ?",
                    )?
                    .query_row(params![digest, purpose.as_str(), millis(now)], |row| {
                        row.get(0)
                    })
                    .optional()?;
                Ok(user.map(|user| user.parse()).transpose()?)
            })
            .await
    }
}

fn issue(connection: &Connection, voucher: &NewVoucher, now: Timestamp) -> StoreResult<bool> {
    let user = voucher.user.to_string();
    let fresh_beyond = now.plus(voucher.life.saturating_sub(voucher.spacing));
    let refused: bool = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM vouchers WHERE user = ?1 AND purpose = ?2 AND expires > ?3) \
             OR NOT EXISTS (SELECT 1 FROM users WHERE id = ?1)",
        )?
        .query_row(
            params![user, voucher.purpose.as_str(), millis(fresh_beyond)],
            |row| row.get(0),
        )?;
    if refused {
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM vouchers WHERE (user = ? AND purpose = ?) OR expires <= ?")?
        .execute(params![user, voucher.purpose.as_str(), millis(now)])?;
    connection
        .prepare_cached(
            "INSERT INTO vouchers (digest, user, purpose, expires) VALUES (?, ?, ?, ?)",
        )?
        .execute(params![
            voucher.digest,
            user,
            voucher.purpose.as_str(),
            millis(now.plus(voucher.life)),
        ])?;
    Ok(true)
}

/// Takes a voucher: it serves once.
pub(super) fn redeem(
    connection: &Connection,
    digest: [u8; 32],
    purpose: Purpose,
    now: Timestamp,
) -> StoreResult<Option<ObjectId>> {
    let user: Option<String> = connection
        .prepare_cached(
            "DELETE FROM vouchers WHERE digest = ? AND purpose = ? AND expires > ? RETURNING user",
        )?
        .query_row(params![digest, purpose.as_str(), millis(now)], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(user.map(|user| user.parse()).transpose()?)
}

/// What was mailed to an address is worth nothing once the address or the password is another.
pub(super) fn forget_all(connection: &Connection, user: ObjectId) -> StoreResult<()> {
    connection
        .prepare_cached("DELETE FROM vouchers WHERE user = ?")?
        .execute([user.to_string()])?;
    Ok(())
}
