//! What the services share: who a token belongs to, which instances there are, how one comes and goes, how Pilvi calls
//! out and mails, and how the passwords of app users are kept and guessing at them is slowed.
//!
//! Services never call one another. What one needs of another is a small type or trait in here, wired together by
//! the binary.

mod api_key;
pub mod app_users;
pub mod audit;
mod completion;
mod directory;
pub mod egress;
pub mod fairness;
mod identity;
pub mod mail;
pub mod passwords;
pub mod portable;
pub mod provisioner;
pub mod quotas;
pub mod rate;
pub mod signing;
pub mod throttle;

pub use api_key::api_key;
pub use app_users::{AppUser, AppUsers, Asking};
pub use audit::{Act, Actor, Audit};
pub use completion::complete;
pub use directory::Directory;
pub use egress::Egress;
pub use fairness::{Fairness, InFlight};
pub use identity::{Identity, Principal, role_too_low};
pub use mail::{Mail, Mailer};
pub use passwords::Passwords;
pub use portable::{Exporting, Extent, Importing, Incoming, Secrets};
pub use provisioner::{Provisioner, Provisioning};
pub use quotas::{Quotas, Resource, Usage};
pub use rate::Rates;
pub use throttle::Throttle;
