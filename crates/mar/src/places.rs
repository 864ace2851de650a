//! So many at a time for each app, and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pilvi_model::AppId;

/// Places that are taken, by app.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// A plain mutex: held for counting.
    taken: Arc<Mutex<HashMap<AppId, usize>>>,
}

/// One place, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    app: AppId,
    taken: Arc<Mutex<HashMap<AppId, usize>>>,
}

impl Places {
    /// A place of an app that has `most`. `None`: all are taken.
    pub(crate) fn enter(&self, app: &AppId, most: usize) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.get(app).is_some_and(|count| *count >= most) {
            return None;
        }
        *taken.entry(app.clone()).or_default() += 1;
        Some(Place {
            app: app.clone(),
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.app) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.app);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_has_so_many_places_and_no_more() {
        let places = Places::default();
        let [one, other]: [AppId; 2] =
            ["mar-eu-1-aaaaaaaa", "mar-eu-1-bbbbbbbb"].map(|id| id.parse().unwrap());
        let first = places.enter(&one, 1).unwrap();
        assert!(places.enter(&one, 1).is_none());
        assert!(places.enter(&other, 1).is_some());
        drop(first);
        assert!(places.enter(&one, 1).is_some());
        assert!(places.taken.lock().unwrap().is_empty());
    }
}
