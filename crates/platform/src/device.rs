//! How a program without a browser signs in: in somebody's browser (the device flow of RFC 8628, in the shapes of this
//! interface).
//!
//! The program gets two codes. It polls with the long one, which nobody can guess; the person types the short one on a
//! page of the console, sees what asks and from where, and decides. The page is the guard against the flow's known
//! trick, somebody sending their own code around: whoever decides is signed in, sees the words, and is asked whether
//! the program is their own.

mod pace;
mod routes;

use std::net::IpAddr;
use std::time::Duration;

use pilvi_base::Secret;
use pilvi_base::secret::{random_bytes, random_hex};
use pilvi_core::throttle::{Attempt, Patience, Rules, Throttle};
use pilvi_core::{Act, Actor};
use pilvi_model::{BackendId, Error, Kind, PersonId, Result};
use pilvi_store::platform::{
    Decision, DeviceCode, DeviceCodeBounds, DeviceCodeState, NewDeviceCode,
};

use crate::drafts::Faults;
use crate::oidc::Visit;
use crate::{IssuedToken, Platform, SignInFailure};
use pace::Pace;

pub(crate) use routes::routes;

/// How long a person may take.
const LIFE: Duration = Duration::from_secs(600);
/// How long a program waits between two polls.
const INTERVAL: Duration = Duration::from_secs(5);
const BOUNDS: DeviceCodeBounds = DeviceCodeBounds {
    total_max: 2000,
    per_peer_max: 100,
};
/// No vowels, so that no words come out, and nothing that looks like a digit: twenty letters, eight of them are one of
/// 25,600,000,000 codes.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LETTERS_PER_CODE: usize = 8;

/// How often a person may type a code that nobody waits with. It gives nothing away but somebody else's sign-in to
/// decide about.
const GUESSES: Rules = Rules {
    pair: Patience {
        failures: 10,
        forgotten: Duration::from_secs(60),
    },
    pair_under_attack: 5,
    peer: Patience {
        failures: 100,
        forgotten: Duration::from_secs(6),
    },
    name: Patience {
        failures: 30,
        forgotten: Duration::from_secs(60),
    },
};

/// What signing in by device needs beside the store.
#[derive(Clone)]
pub(crate) struct Devices {
    pace: Pace,
    guesses: Throttle,
}

impl Devices {
    pub(crate) fn new(clock: &pilvi_base::Clock) -> Self {
        Self {
            pace: Pace::new(clock.clone()),
            guesses: Throttle::new(GUESSES, clock.clone()),
        }
    }
}

/// The two codes of a sign-in that begins.
#[derive(Debug)]
pub struct DeviceCodes {
    /// What the program polls with.
    pub device_code: Secret,
    /// What the person types, such as `WDJB-MJHT`.
    pub user_code: String,
    pub expires_in: Duration,
    pub interval: Duration,
}

/// What a program hears that polls.
#[derive(Debug)]
pub enum Polled {
    Issued(PersonId, IssuedToken),
    /// Nobody has decided yet.
    Pending,
    /// It asks too often, and is to wait five seconds longer from now on.
    TooFast,
    Denied,
    /// Expired, spent, or never made.
    Over,
}

impl Platform {
    /// Begins a sign-in for a program that calls itself `client`.
    pub async fn begin_device_login(&self, client: &str, peer: IpAddr) -> Result<DeviceCodes> {
        let client = client.trim();
        let mut faults = Faults::default();
        faults.check_name_of("client", client);
        faults.finish()?;
        loop {
            let device_code = Secret::new(format!("pilvi_dev_{}", random_hex::<20>()));
            let user_code = new_user_code();
            let now = self.now();
            let new = NewDeviceCode {
                digest: device_code.digest(),
                user_code: user_code.clone(),
                client: client.to_owned(),
                peer: peer.to_canonical(),
                created_at: now,
                expires_at: now.plus(LIFE),
            };
            match self.store.insert_device_code(new, BOUNDS).await {
                // Once in ten million: somebody waits with these letters already.
                Err(error) if error.kind == Kind::Conflict => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    return Ok(DeviceCodes {
                        device_code,
                        user_code,
                        expires_in: LIFE,
                        interval: INTERVAL,
                    });
                }
            }
        }
    }

    /// Where a program's sign-in stands. An approved one is spent by this.
    pub async fn poll_device_login(&self, device_code: &Secret, visit: &Visit) -> Result<Polled> {
        let digest = device_code.digest();
        let state = self
            .store
            .find_device_code_state(digest, self.now())
            .await?;
        if state == DeviceCodeState::Unknown {
            return Ok(Polled::Over);
        }
        if !self.devices.pace.is_kept(digest) {
            return Ok(Polled::TooFast);
        }
        let person = match state {
            DeviceCodeState::Approved { person, .. } => person,
            DeviceCodeState::Waiting => return Ok(Polled::Pending),
            DeviceCodeState::Denied => return Ok(Polled::Denied),
            DeviceCodeState::Unknown => return Ok(Polled::Over),
        };
        let (token, secret) = self.new_person_token(person, None, None);
        let tokens_max = self.settings.limits.tokens_per_holder;
        let redeemed = self.store.redeem_device_code(digest, token, tokens_max);
        let Some((person, record)) = redeemed.await? else {
            return Ok(Polled::Over);
        };
        let act = Act::new(Actor::Person(person), "person.token.create", record.id)
            .with("by", "device")
            .with("name", record.name.clone().unwrap_or_default());
        let act = act.asked_by(&visit.request, Some(visit.peer));
        self.audit.note(act).await;
        Ok(Polled::Issued(person, IssuedToken { record, secret }))
    }

    /// The sign-in that waits under the letters that somebody typed. Whoever guesses is stopped.
    pub async fn find_device_login(
        &self,
        person: PersonId,
        typed: &str,
        peer: IpAddr,
    ) -> Result<DeviceCode, SignInFailure> {
        let attempt = guess(person, peer);
        self.devices.guesses.check(&attempt)?;
        let found = match tidy_user_code(typed) {
            Some(code) => self.store.find_device_code(code, self.now()).await?,
            None => None,
        };
        found.ok_or_else(|| {
            self.devices.guesses.failed(&attempt);
            nothing_waits().into()
        })
    }

    /// Writes down what a person decided about a sign-in.
    pub async fn decide_device_login(
        &self,
        person: PersonId,
        typed: &str,
        decision: Decision,
        visit: &Visit,
    ) -> Result<DeviceCode, SignInFailure> {
        let waiting = self.find_device_login(person, typed, visit.peer).await?;
        let code = waiting.user_code;
        let decided = self
            .store
            .decide_device_code(code, person, decision, self.now());
        let decided = decided.await?.ok_or_else(nothing_waits)?;
        let event = match decision {
            Decision::Approved => "device.approve",
            Decision::Denied => "device.deny",
        };
        let act = Act::new(Actor::Person(person), event, &decided.client)
            .with("asked_from", decided.peer.as_str());
        let act = act.asked_by(&visit.request, Some(visit.peer));
        self.audit.note(act).await;
        Ok(decided)
    }
}

fn guess(person: PersonId, peer: IpAddr) -> Attempt {
    let nowhere = BackendId::from_bytes([0; 12]);
    Attempt::new(nowhere, &person.to_string(), peer)
}

fn nothing_waits() -> Error {
    Error::not_found(
        "no program waits with this code: it may be mistyped, older than ten minutes, or decided about already",
    )
}

fn new_user_code() -> String {
    let mut code = String::with_capacity(LETTERS_PER_CODE + 1);
    while code.len() < LETTERS_PER_CODE + 1 {
        let [byte] = random_bytes::<1>();
        // Bytes beyond the last whole round would make some letters likelier.
        if usize::from(byte) >= 256 / LETTERS.len() * LETTERS.len() {
            continue;
        }
        if code.len() == LETTERS_PER_CODE / 2 {
            code.push('-');
        }
        code.push(char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    }
    code
}

/// A code as it is kept, however it was typed. `None`: it cannot be one.
fn tidy_user_code(typed: &str) -> Option<String> {
    const TYPED_BYTES_MAX: usize = 64;
    if typed.len() > TYPED_BYTES_MAX {
        return None;
    }
    let letters = typed
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != '-');
    let letters: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
    let is_code = letters.len() == LETTERS_PER_CODE
        && letters.bytes().all(|letter| LETTERS.contains(&letter));
    let (first, second) = letters.split_at_checked(LETTERS_PER_CODE / 2)?;
    is_code.then(|| format!("{first}-{second}"))
}
