//! How large an app's processes may grow.

use crate::Error;

/// 1, 2, 4 or 8 units of 256 MB, which clients show as mini, small, medium and large (`mar.md` §2, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u8);

impl Size {
    pub const MINI: Self = Self(1);
    pub const ALL: [Self; 4] = [Self(1), Self(2), Self(4), Self(8)];

    /// The size of so many units.
    pub fn of_units(units: i64) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|size| i64::from(size.0) == units)
            .ok_or_else(|| Error::invalid("config.runtimeSize", "must be 1, 2, 4 or 8"))
    }

    pub fn units(self) -> u8 {
        self.0
    }

    /// What one process may use.
    pub fn memory_bytes(self) -> u64 {
        u64::from(self.0) * (256 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_of_256_megabytes() {
        assert_eq!(Size::MINI.memory_bytes(), 256 << 20);
        assert_eq!(Size::of_units(8).unwrap().memory_bytes(), 2 << 30);
        for wrong in [-1, 0, 3, 5, 16, 257] {
            assert!(Size::of_units(wrong).is_err(), "{wrong}");
        }
    }
}
