//! Passwords of app users: argon2id, on threads that may block, a few at a time.
//!
//! One hash takes tens of milliseconds and 19 MiB on purpose. So only as many run at once as there are cores, the
//! queue before them has a bound, and nobody waits in it for long. A name that nobody has costs the same time as one
//! with a wrong password, so that the time of an answer tells nothing about names.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use pilvi_base::Secret;
use pilvi_base::secret::random_hex;
use pilvi_model::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A longer password is refused. It protects nobody better, and reading it costs time.
pub const BYTES_MAX: usize = 1024;
/// So many callers may wait for their turn.
const WAITING_MAX: usize = 256;
/// So long each of them does.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What one hash costs. The default is the minimum that OWASP recommends for argon2id.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub memory_kib: u32,
    pub passes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
        }
    }
}

/// The most that comparing with a hash from elsewhere may take.
const FOREIGN_MEMORY_KIB_MAX: u32 = 256 << 10;
const FOREIGN_PASSES_MAX: u32 = 10;
const FOREIGN_LANES_MAX: u32 = 16;

/// Hashes and compares passwords. Cloning gives another handle on the same queue.
#[derive(Clone, Debug)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    params: Params,
    /// The hash of a password that nobody knows.
    decoy: Arc<str>,
}

/// The right to hash or compare now.
#[derive(Debug)]
pub struct Turn {
    _permit: OwnedSemaphorePermit,
    params: Params,
    decoy: Arc<str>,
}

impl Passwords {
    /// # Errors
    /// When argon2 cannot be run at this cost.
    pub fn new(cost: Cost) -> Result<Self> {
        let params = Params::new(cost.memory_kib, cost.passes, 1, None).map_err(Error::internal)?;
        let decoy = decoy(&params).into();
        let cores = std::thread::available_parallelism().map_or(2, NonZeroUsize::get);
        Ok(Self {
            running: Arc::new(Semaphore::new(cores)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            params,
            decoy,
        })
    }

    /// Waits until there is a core for one hash.
    ///
    /// # Errors
    /// [`pilvi_model::Kind::Unavailable`] when too many wait already, or nobody's turn comes.
    pub async fn turn(&self) -> Result<Turn> {
        let busy = || {
            Error::unavailable(
                "too many passwords are being checked just now; try again in a moment",
            )
        };
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let running = Arc::clone(&self.running).acquire_owned();
        let permit = tokio::time::timeout(WAIT_MAX, running)
            .await
            .map_err(|_| busy())?
            .map_err(Error::internal)?;
        Ok(Turn {
            _permit: permit,
            params: self.params.clone(),
            decoy: Arc::clone(&self.decoy),
        })
    }

    /// What is stored in place of a new password, in the PHC format.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        check(password)?;
        self.turn().await?.hash(password).await
    }
}

/// Refuses what cannot be a password.
///
/// # Errors
/// [`pilvi_model::Kind::Invalid`] with the property `password`.
pub fn check(password: &Secret) -> Result<()> {
    match password.expose().len() {
        0 => Err(Error::invalid("password", "can't be blank")),
        1..=BYTES_MAX => Ok(()),
        _ => Err(Error::invalid(
            "password",
            format!("can't be longer than {BYTES_MAX} bytes"),
        )),
    }
}

impl Turn {
    async fn hash(self, password: &Secret) -> Result<String> {
        let password = password.clone();
        let hashed = self.run(move |params, _| hash(params, password.expose()));
        Ok(hashed.await?.0)
    }

    /// Whether `password` is the one that `stored` was made of. Without `stored` it takes the same time and is not.
    ///
    /// The turn comes back: what the caller does before dropping it is done before the next one's turn.
    pub async fn verify(self, password: &Secret, stored: Option<&str>) -> Result<(bool, Self)> {
        if check(password).is_err() {
            return Ok((false, self));
        }
        let password = password.clone();
        let stored = stored.map(str::to_owned);
        self.run(move |_, decoy| {
            let against = stored.as_deref().unwrap_or(decoy);
            // The parameters are those of the stored text.
            let outcome = Argon2::default().verify_password(password.expose().as_bytes(), against);
            match outcome {
                Ok(()) => Ok(stored.is_some()),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(Error::internal(error)),
            }
        })
        .await
    }

    /// The turn goes with the work: it lasts until the thread is done, also when the caller has gone.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Params, &str) -> Result<T> + Send + 'static,
    ) -> Result<(T, Self)> {
        let task = tokio::task::spawn_blocking(move || {
            let outcome = work(&self.params, &self.decoy);
            outcome.map(|outcome| (outcome, self))
        });
        task.await.map_err(Error::internal)?
    }
}

/// Whether this is a hash that somebody else made, and one that takes no more to compare with than we would spend.
pub fn is_bearable_hash(hash: &str) -> bool {
    let mut parts = hash.split('$');
    let (Some(""), Some("argon2id"), Some("v=19"), Some(cost), Some(salt), Some(tag), None) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return false;
    };
    let mut costs = cost.split(',');
    let mut is_within = |name: &str, max: u32| {
        let value = costs.next().and_then(|cost| cost.strip_prefix(name));
        let value = value.and_then(|value| value.parse().ok());
        value.is_some_and(|value: u32| (1..=max).contains(&value))
    };
    let is_cheap = is_within("m=", FOREIGN_MEMORY_KIB_MAX)
        && is_within("t=", FOREIGN_PASSES_MAX)
        && is_within("p=", FOREIGN_LANES_MAX)
        && costs.next().is_none();
    let is_base64 = |text: &str, min: usize, max: usize| {
        (min..=max).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    };
    // It is what every comparison does first.
    is_cheap
        && is_base64(salt, 11, 64)
        && is_base64(tag, 14, 128)
        && argon2::PasswordHash::new(hash).is_ok()
}

/// What looks like a stored hash and costs as much to compare with, yet no password has it. To hash one would hold up
/// the start of the server.
fn decoy(params: &Params) -> String {
    // Hexadecimal digits are digits of base64, too: 12 bytes of salt, and 32 of hash with a last digit that ends them.
    format!(
        "$argon2id$v=19$m={},t={},p={}${}${}c",
        params.m_cost(),
        params.t_cost(),
        params.p_cost(),
        random_hex::<8>(),
        random_hex::<21>()
    )
}

fn hash(params: &Params, password: &str) -> Result<String> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let hash = argon2
        .hash_password(password.as_bytes())
        .map_err(Error::internal)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use pilvi_model::Kind;

    use super::*;

    fn cheap() -> Passwords {
        Passwords::new(Cost {
            memory_kib: 8,
            passes: 1,
        })
        .unwrap()
    }

    async fn verify(passwords: &Passwords, password: &str, stored: Option<&str>) -> bool {
        let turn = passwords.turn().await.unwrap();
        let password = Secret::new(password);
        turn.verify(&password, stored).await.unwrap().0
    }

    #[tokio::test]
    async fn only_the_right_password_passes() {
        let passwords = cheap();
        let stored = passwords.hash(&Secret::new("hunter 2 ä")).await.unwrap();
        assert!(verify(&passwords, "hunter 2 ä", Some(&stored)).await);
        for wrong in ["", "hunter 2", "hunter 2 ä ", &"x".repeat(BYTES_MAX + 1)] {
            assert!(!verify(&passwords, wrong, Some(&stored)).await, "{wrong}");
        }
        assert!(!verify(&passwords, "hunter 2 ä", None).await);
    }

    #[test]
    fn a_hash_from_elsewhere_must_be_bearable() {
        let own = hash(&Params::default(), "a").unwrap();
        assert!(is_bearable_hash(&own), "{own}");
        let changed = |from: &str, to: &str| own.replacen(from, to, 1);
        for wrong in [
            changed("argon2id", "argon2i"),
            changed("m=", "m=9"),
            changed("t=2", "t=99"),
            changed("p=1", "p=99"),
            changed("v=19", "v=16"),
            format!("{own}$x"),
            "$2b$10$abcdefghijklmnopqrstuv".to_owned(),
            String::new(),
        ] {
            assert!(!is_bearable_hash(&wrong), "{wrong}");
        }
    }

    #[test]
    fn the_decoy_has_the_form_and_the_cost_of_what_is_stored() {
        let params = Params::default();
        let shape = |hash: String| -> Vec<usize> {
            let parts = hash.split('$').map(str::len);
            parts.collect()
        };
        let (real, decoy) = (hash(&params, "a").unwrap(), decoy(&params));
        let head = |hash: &str| hash.rsplitn(3, '$').last().map(str::to_owned);
        assert_eq!(head(&real), head(&decoy));
        assert_eq!(shape(real).last(), shape(decoy).last());
    }

    #[tokio::test]
    async fn the_default_is_what_owasp_recommends_and_no_two_hashes_are_alike() {
        let passwords = Passwords::new(Cost::default()).unwrap();
        let first = passwords.hash(&Secret::new("a")).await.unwrap();
        assert!(
            first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{first}"
        );
        assert_ne!(first, passwords.hash(&Secret::new("a")).await.unwrap());
        assert!(verify(&passwords, "a", Some(&first)).await);
    }

    #[tokio::test]
    async fn a_password_has_bounds() {
        let passwords = cheap();
        for wrong in [String::new(), "x".repeat(BYTES_MAX + 1)] {
            let error = passwords.hash(&Secret::new(wrong)).await.unwrap_err();
            assert_eq!(error.kind, Kind::Invalid);
            assert_eq!(error.fields[0].property, "password");
        }
        assert!(check(&Secret::new("x".repeat(BYTES_MAX))).is_ok());
    }

    #[tokio::test]
    async fn what_is_stored_and_is_no_hash_is_a_fault_of_ours() {
        let turn = cheap().turn().await.unwrap();
        let error = turn
            .verify(&Secret::new("a"), Some("hunter2"))
            .await
            .unwrap_err();
        assert_eq!(error.kind, Kind::Internal);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_and_not_too_many_wait() {
        let passwords = cheap();
        let cores = passwords.running.available_permits();
        let mut held = Vec::new();
        for _ in 0..cores {
            held.push(passwords.turn().await.unwrap());
        }
        let waited = passwords.turn().await.unwrap_err();
        assert_eq!(waited.kind, Kind::Unavailable);

        let full = Arc::clone(&passwords.waiting);
        let _full = full.try_acquire_many(WAITING_MAX as u32).unwrap();
        drop(held);
        let refused = passwords.turn().await.unwrap_err();
        assert_eq!(refused.kind, Kind::Unavailable);
    }
}
