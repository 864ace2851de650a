//! Options of how much everybody may ask for and have.

use std::time::Duration;

use clap::Args;
use pilvi_core::quotas::{self, Resource};
use pilvi_core::rate::{self, Rate};
use pilvi_core::{Fairness, fairness};

/// How often somebody may ask, how much of the server one instance gets, and how much an account may have.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// So many requests a second to accounts, apps and git with one token, and ten times as many at once; 0: no bound
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_RATE_TOKEN",
        default_value_t = 100
    )]
    pub rate_token: u32,
    /// The same of one person, with all of their tokens together
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_RATE_PERSON",
        default_value_t = 200
    )]
    pub rate_person: u32,
    /// The same without a known token, from one address; behind a proxy everybody has the proxy's
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_RATE_ADDRESS",
        default_value_t = 60
    )]
    pub rate_address: u32,
    /// So many requests a second with wrong tokens from one address, and ten times as many at once; 0: no bound
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_RATE_FAILURES",
        default_value_t = 100
    )]
    pub rate_failures: u32,
    /// So many requests of one data backend or gateway are answered at the same time, the others wait; 0: no bound
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_SHARE_REQUESTS",
        default_value_t = 64
    )]
    pub share_requests: usize,
    /// So many instances may an account have, unless an operator sets another quota for it
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_QUOTA_INSTANCES",
        default_value_t = 200
    )]
    pub quota_instances: u64,
    /// So many members
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_QUOTA_MEMBERS",
        default_value_t = 100
    )]
    pub quota_members: u64,
    /// So many MB in all of its data backends
    #[arg(long, value_name = "MB", env = "PILVI_QUOTA_STORAGE", default_value_t = 50 << 10)]
    pub quota_storage: u64,
    /// So many MB of memory for all processes of its apps
    #[arg(long, value_name = "MB", env = "PILVI_QUOTA_MEMORY", default_value_t = 64 << 10)]
    pub quota_memory: u64,
    /// So many MB for the slugs, build caches and repositories of its apps
    #[arg(long, value_name = "MB", env = "PILVI_QUOTA_DISK", default_value_t = 100 << 10)]
    pub quota_disk: u64,
    /// So many open web sockets at all of its gateways
    #[arg(
        long,
        value_name = "N",
        env = "PILVI_QUOTA_SOCKETS",
        default_value_t = 100_000
    )]
    pub quota_sockets: u64,
    /// Keep what was deleted for so many days, in which it can be restored; 0 deletes for good at once
    #[arg(
        long,
        value_name = "DAYS",
        env = "PILVI_KEEP_DELETED",
        default_value_t = 7
    )]
    pub keep_deleted: u16,
}

impl LimitOptions {
    /// How long a deleted instance can be restored.
    pub(crate) fn deleted_instances_kept(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_deleted) * 24 * 60 * 60)
    }

    pub(crate) fn rates(&self) -> rate::Settings {
        let rate = |per_second: u32| Rate {
            burst: per_second.saturating_mul(10),
            per_second,
        };
        rate::Settings {
            token: rate(self.rate_token),
            person: rate(self.rate_person),
            peer: rate(self.rate_address),
            failures: rate(self.rate_failures),
        }
    }

    pub(crate) fn fairness(&self) -> Fairness {
        match self.share_requests {
            0 => Fairness::unbounded(),
            in_flight => Fairness::new(fairness::Settings {
                in_flight,
                ..fairness::Settings::default()
            }),
        }
    }

    /// The part of the bounds of the store that shares it out among tenants.
    pub(crate) fn share_store(&self, limits: pilvi_store::Limits) -> pilvi_store::Limits {
        match self.share_requests {
            0 => pilvi_store::Limits {
                reads_each: limits.reads_max,
                writes_each: limits.queue_max,
                ..limits
            },
            _ => limits,
        }
    }

    pub(crate) fn quotas(&self) -> quotas::Limits {
        let bytes = |mb: u64| mb.saturating_mul(1 << 20);
        let rows = [
            (Resource::Instances, self.quota_instances),
            (Resource::Members, self.quota_members),
            (Resource::EdsStorageBytes, bytes(self.quota_storage)),
            (Resource::AppMemoryBytes, bytes(self.quota_memory)),
            (Resource::AppDiskBytes, bytes(self.quota_disk)),
            (Resource::Sockets, self.quota_sockets),
        ];
        let quotas = quotas::Limits::default();
        rows.into_iter().fold(quotas, |quotas, (resource, most)| {
            quotas.with(resource, most)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitOptions,
    }

    #[test]
    fn what_nobody_chooses_is_what_the_services_think_best() {
        let options = Line::parse_from(["pilvi"]).limits;
        assert_eq!(options.rates(), rate::Settings::default());
        assert_eq!(options.quotas(), quotas::Limits::default());
        let shares = fairness::Settings::default();
        assert_eq!(options.share_requests, shares.in_flight);
    }

    #[test]
    fn a_bound_of_none_is_none() {
        let options = Line::parse_from(["pilvi", "--rate-token=0", "--share-requests=0"]).limits;
        assert_eq!(options.rates().token.per_second, 0);
        let limits = options.share_store(pilvi_store::Limits::default());
        assert_eq!(limits.reads_each, limits.reads_max);
    }
}
