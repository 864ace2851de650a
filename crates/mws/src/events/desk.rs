//! What one gateway has under way to its app: how many posts at once, and how much waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// A gateway's part of what the server does for events.
#[derive(Debug)]
pub(crate) struct Desk {
    /// One permit for each post that may be under way whatever the others do, so that apps that do not answer hold up
    /// no other gateway's.
    own: Semaphore,
    /// One permit for each that takes one of those that all share.
    posts: Semaphore,
    /// One for each of these that may be long. Those that wait for others' long ones leave most of `posts` to short
    /// ones.
    long_posts: Semaphore,
    bytes: AtomicUsize,
    /// What may wait whatever waits of others, so that they cannot keep this gateway's sockets from being read.
    own_bytes: usize,
    bytes_max: usize,
    hall: Arc<Hall>,
}

/// What all gateways share.
#[derive(Debug)]
pub(super) struct Hall {
    posts: Semaphore,
    /// How many of them may be long: each holds several times what its message does.
    long_posts: Semaphore,
    long_posts_per_gateway: usize,
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Hall {
    pub(super) fn new(posts_max: usize, long_posts_max: usize, bytes_max: usize) -> Self {
        Self {
            posts: Semaphore::new(posts_max),
            long_posts: Semaphore::new(long_posts_max),
            long_posts_per_gateway: long_posts_max.div_ceil(2),
            bytes: AtomicUsize::new(0),
            bytes_max,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Desk {
    /// Of at most `posts_max` posts it has `own_posts` to itself, and `own_bytes` of at most `bytes_max` bytes.
    pub(super) fn new(
        hall: &Arc<Hall>,
        own_posts: usize,
        posts_max: usize,
        own_bytes: usize,
        bytes_max: usize,
    ) -> Self {
        Self {
            own: Semaphore::new(own_posts),
            posts: Semaphore::new(posts_max.saturating_sub(own_posts)),
            long_posts: Semaphore::new(hall.long_posts_per_gateway),
            bytes: AtomicUsize::new(0),
            own_bytes,
            bytes_max,
            hall: Arc::clone(hall),
        }
    }

    /// Counts bytes that have arrived. They may be more than there is room for, by what was read at once.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.hall.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.hall.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether more may arrive.
    pub(super) fn has_room(&self) -> bool {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let shares = bytes < self.own_bytes || self.hall.bytes() < self.hall.bytes_max;
        shares && bytes < self.bytes_max
    }

    /// Waits until one more post may be under way, which may be a long one.
    pub(super) async fn turn(&self, is_long: bool) -> Turn<'_> {
        tokio::select! {
            biased;
            own = take(&self.own) => Turn { _own: own, _shared: None, long: None },
            // The gateway's own bound first: who has many under way waits for itself, not in the way of others.
            turn = async {
                let own_long = take_if(is_long, &self.long_posts).await;
                let own = take(&self.posts).await;
                let long = take_if(is_long, &self.hall.long_posts).await;
                let shared = take(&self.hall.posts).await;
                Turn { _own: own, _shared: Some(shared), long: own_long.zip(long) }
            } => turn,
        }
    }
}

/// The right to have a post under way; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _own: SemaphorePermit<'a>,
    _shared: Option<SemaphorePermit<'a>>,
    /// Of the gateway, and of all.
    long: Option<(SemaphorePermit<'a>, SemaphorePermit<'a>)>,
}

impl Turn<'_> {
    /// The post is not a long one after all.
    pub(super) fn is_short(&mut self) {
        self.long = None;
    }
}

async fn take_if(wanted: bool, semaphore: &Semaphore) -> Option<SemaphorePermit<'_>> {
    match wanted {
        true => Some(take(semaphore).await),
        false => None,
    }
}

async fn take(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    let taken = semaphore.acquire().await;
    taken.expect("nobody closes these semaphores")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_gateway_has_posts_that_no_other_can_take() {
        let hall = Arc::new(Hall::new(2, 0, 0));
        let [greedy, modest] = [5, 2].map(|posts_max| Desk::new(&hall, 1, posts_max, 0, 0));
        let mut turns = vec![
            greedy.turn(false).await,
            greedy.turn(false).await,
            greedy.turn(false).await,
        ];
        assert!(
            timeout(NEVER, greedy.turn(false)).await.is_err(),
            "all that are shared are taken"
        );
        let own = timeout(NEVER, modest.turn(false)).await.unwrap();
        assert!(timeout(NEVER, modest.turn(false)).await.is_err());
        turns.pop();
        let shared = timeout(NEVER, modest.turn(false)).await.unwrap();
        assert!(
            timeout(NEVER, modest.turn(false)).await.is_err(),
            "two are its bound"
        );
        drop(own);
        assert!(timeout(NEVER, modest.turn(false)).await.is_ok());
        drop(shared);
    }

    #[tokio::test(start_paused = true)]
    async fn long_posts_have_a_bound_of_their_own_and_hold_up_no_short_ones() {
        let hall = Arc::new(Hall::new(9, 1, 0));
        let [first, second] = [9, 9].map(|posts_max| Desk::new(&hall, 1, posts_max, 0, 0));
        let _own = first.turn(true).await;
        let mut long = first.turn(true).await;
        for desk in [&first, &second] {
            let _own = timeout(NEVER, second.turn(true)).await;
            assert!(timeout(NEVER, desk.turn(true)).await.is_err());
            assert!(timeout(NEVER, desk.turn(false)).await.is_ok());
        }
        long.is_short();
        assert!(timeout(NEVER, first.turn(true)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn long_posts_that_wait_for_others_leave_room_to_short_ones() {
        let hall = Arc::new(Hall::new(9, 4, 0));
        let [first, second, third] = [9, 9, 3].map(|most| Desk::new(&hall, 0, most, 0, 0));
        let _first = [first.turn(true).await, first.turn(true).await];
        assert!(
            timeout(NEVER, first.turn(true)).await.is_err(),
            "half of them"
        );
        let _second = [second.turn(true).await, second.turn(true).await];
        let long = || third.turn(true);
        let short = async {
            assert!(timeout(NEVER, third.turn(false)).await.is_ok());
        };
        // Of its three posts two wait, and a third long one takes no more.
        tokio::select! {
            biased;
            _ = long() => unreachable!("all long ones are under way"),
            _ = long() => unreachable!("all long ones are under way"),
            _ = long() => unreachable!("all long ones are under way"),
            () = short => {}
        }
    }

    #[test]
    fn a_gateway_has_its_own_bound_and_all_have_one_together() {
        let hall = Arc::new(Hall::new(1, 0, 100));
        let [first, second] = [60, 60].map(|bytes_max| Desk::new(&hall, 1, 1, 0, bytes_max));
        first.add(60);
        assert!(!first.has_room() && second.has_room());
        second.add(40);
        assert!(!second.has_room(), "all have as much as they may together");
        first.remove(60);
        assert!(first.has_room() && second.has_room());
        drop(second);
        assert_eq!(hall.bytes(), 40);
    }

    #[test]
    fn what_waits_of_others_leaves_a_gateway_its_own_part() {
        let hall = Arc::new(Hall::new(1, 0, 100));
        let [greedy, modest] = [100, 100].map(|bytes_max| Desk::new(&hall, 1, 1, 10, bytes_max));
        greedy.add(100);
        assert!(!greedy.has_room() && modest.has_room());
        modest.add(10);
        assert!(!modest.has_room());
        greedy.remove(20);
        assert!(greedy.has_room() && modest.has_room());
    }
}
