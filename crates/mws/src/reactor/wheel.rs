//! Coarse timers for many sockets: setting one and letting one pass cost the same however many there are.
//!
//! Time is cut into ticks and each tick has a list of the sockets to look at. A deadline that moves away is left where
//! it is: the socket is looked at in vain once and set anew.

use std::time::{Duration, Instant};

/// A number of ticks since the wheel was made; 0 is none.
pub(crate) type Tick = u64;

#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    tick: Duration,
    /// All ticks up to this one have passed.
    passed: Tick,
    /// The sockets of tick `t` are in slot `t % len`.
    slots: Box<[Vec<u32>]>,
}

impl Wheel {
    /// A wheel for deadlines up to about `horizon` away; farther ones are looked at earlier.
    pub(crate) fn new(tick: Duration, horizon: Duration, now: Instant) -> Self {
        let ticks = horizon.as_nanos().div_ceil(tick.as_nanos());
        let slots = usize::try_from(ticks).unwrap_or(usize::MAX).min(1 << 16);
        Self {
            start: now,
            tick,
            passed: 0,
            slots: vec![Vec::new(); slots + 2].into_boxed_slice(),
        }
    }

    /// The first tick that lies at or after `deadline` and has not passed.
    pub(crate) fn tick_of(&self, deadline: Instant) -> Tick {
        let since = deadline.saturating_duration_since(self.start);
        let tick = since.as_nanos().div_ceil(self.tick.as_nanos());
        let last = self.passed + self.slots.len() as u64 - 1;
        u64::try_from(tick)
            .unwrap_or(last)
            .clamp(self.passed + 1, last)
    }

    /// Has a socket looked at when `tick` passes.
    pub(crate) fn set(&mut self, socket: u32, tick: Tick) {
        debug_assert!(tick > self.passed);
        let slot = self.slot(tick);
        self.slots[slot].push(socket);
    }

    /// Lets the next tick pass if it is over at `now`. Its sockets come in `sockets`, which is cleared before.
    pub(crate) fn pass(&mut self, now: Instant, sockets: &mut Vec<u32>) -> Option<Tick> {
        sockets.clear();
        let since = now.saturating_duration_since(self.start);
        if since.as_nanos() / self.tick.as_nanos() <= u128::from(self.passed) {
            return None;
        }
        self.passed += 1;
        let slot = self.slot(self.passed);
        std::mem::swap(&mut self.slots[slot], sockets);
        Some(self.passed)
    }

    /// How long until a tick passes that has sockets.
    pub(crate) fn next(&self, now: Instant) -> Option<Duration> {
        let ticks = self.passed + 1..=self.passed + self.slots.len() as u64;
        let mut busy = ticks.filter(|tick| !self.slots[self.slot(*tick)].is_empty());
        let nanos = self.tick.as_nanos() * u128::from(busy.next()?);
        let at = self.start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(at.saturating_duration_since(now))
    }

    fn slot(&self, tick: Tick) -> usize {
        let slots = self.slots.len() as u64;
        usize::try_from(tick % slots).expect("less than the number of slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    fn wheel() -> (Wheel, Instant) {
        let now = Instant::now();
        (Wheel::new(TICK, Duration::from_secs(1), now), now)
    }

    fn all_passed(wheel: &mut Wheel, now: Instant) -> Vec<u32> {
        let mut all = Vec::new();
        let mut sockets = Vec::new();
        while wheel.pass(now, &mut sockets).is_some() {
            all.append(&mut sockets);
        }
        all
    }

    #[test]
    fn a_socket_is_looked_at_within_a_tick_after_its_deadline() {
        for millis in [0, 1, 99, 100, 101, 999, 1000] {
            let (mut wheel, start) = wheel();
            let deadline = start + Duration::from_millis(millis);
            wheel.set(7, wheel.tick_of(deadline));
            let before = deadline - Duration::from_nanos(1);
            assert!(all_passed(&mut wheel, before).is_empty(), "{millis}");
            let wait = wheel.next(before).unwrap();
            assert!(wait <= TICK + Duration::from_nanos(1), "{millis}: {wait:?}");
            assert_eq!(all_passed(&mut wheel, before + wait), [7], "{millis}");
            assert_eq!(wheel.next(before + wait), None);
        }
    }

    #[test]
    fn a_deadline_beyond_the_horizon_is_looked_at_earlier() {
        let (mut wheel, start) = wheel();
        let far = start + Duration::from_secs(60);
        wheel.set(1, wheel.tick_of(far));
        let wait = wheel.next(start).unwrap();
        assert!((Duration::from_secs(1)..Duration::from_secs(2)).contains(&wait));
        assert_eq!(all_passed(&mut wheel, start + wait), [1]);
    }

    #[test]
    fn the_wheel_goes_round() {
        let (mut wheel, start) = wheel();
        let mut now = start;
        for round in 0..50 {
            wheel.set(round, wheel.tick_of(now + Duration::from_millis(730)));
            now += Duration::from_millis(831);
            assert_eq!(all_passed(&mut wheel, now), [round]);
        }
    }

    #[test]
    fn sleeping_long_misses_nothing() {
        let (mut wheel, start) = wheel();
        for socket in 0..5 {
            let deadline = start + Duration::from_millis(u64::from(socket) * 200);
            wheel.set(socket, wheel.tick_of(deadline));
        }
        let late = start + Duration::from_secs(3600);
        assert_eq!(all_passed(&mut wheel, late), [0, 1, 2, 3, 4]);
    }
}
