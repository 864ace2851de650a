//! What signing in and mailing need beside the store.

use std::sync::Arc;

use pilvi_base::{Clock, TaskGroup};
use pilvi_core::throttle::{LOGINS, Throttle};
use pilvi_core::{Mailer, Passwords};
use tokio::sync::Semaphore;

use crate::auth::{LETTER_BOX_RULES, MAIL_RULES};

/// Requests for mail that are looked into at the same moment.
const MAILING_MAX: usize = 64;

/// Passwords, mails, and the patience with whoever gets them wrong.
#[derive(Debug)]
pub struct People {
    pub(crate) passwords: Passwords,
    pub(crate) mailer: Mailer,
    pub(crate) logins: Throttle,
    /// Counts requests for mail.
    pub(crate) mails: Throttle,
    /// Counts mails by address.
    pub(crate) letter_boxes: Throttle,
    pub(crate) mailing: Arc<Semaphore>,
    pub(crate) tasks: TaskGroup,
}

impl People {
    pub fn new(passwords: Passwords, mailer: Mailer, clock: &Clock, tasks: TaskGroup) -> Self {
        Self {
            passwords,
            mailer,
            logins: Throttle::new(LOGINS, clock.clone()),
            mails: Throttle::new(MAIL_RULES, clock.clone()),
            letter_boxes: Throttle::new(LETTER_BOX_RULES, clock.clone()),
            mailing: Arc::new(Semaphore::new(MAILING_MAX)),
            tasks,
        }
    }
}
