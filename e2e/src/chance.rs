//! Chance that can be repeated: every number comes from one printed seed.

/// The variable that repeats a run.
const SEED: &str = "PILVI_SEED";

/// A source of numbers. They need only be well mixed, not secret.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Starts from `PILVI_SEED`, else from the clock, and prints which, so that a failed run can be repeated.
    ///
    /// # Panics
    /// When the variable is set and is no number.
    #[expect(
        clippy::disallowed_methods,
        clippy::print_stdout,
        reason = "tests are started from outside like a door; the runner shows the seed beside a failure"
    )]
    pub fn of_this_run() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text
                .parse()
                .unwrap_or_else(|_| panic!("{SEED} must be a number, and is {text:?}")),
            Err(_) => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_or(1, |since| since.as_nanos() as u64),
        };
        println!("repeat with {SEED}={seed}");
        Self::from_seed(seed)
    }

    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Another source, which goes its own way.
    #[must_use]
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        assert!(bound > 0, "no number is below 0");
        usize::try_from(self.next() % bound as u64).expect("it is below a bound that fits")
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of several.
    ///
    /// # Panics
    /// When there is none.
    pub fn one_of<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// The next number of SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_row_of_numbers() {
        let row = |seed| {
            let mut chance = Chance::from_seed(seed);
            (0..100).map(|_| chance.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
        let mut seen = row(7);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 10, "every number comes up");
    }
}
