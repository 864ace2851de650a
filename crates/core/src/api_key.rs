//! The key that the first clients of a backend sent along with its id (`eds.md` §2.1, `Enginio-Backend-Secret`).

use pilvi_base::secret::{hex, sha256};

/// The key of a backend. It was in the code of every app, so it never was a secret, and it opens nothing: it only shows
/// that a client means this backend. So it follows from the id, and stays what it is wherever the backend goes.
pub fn api_key(backend: &str) -> String {
    hex(&sha256(format!("pilvi api key {backend}").as_bytes())[..20])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_backend_has_a_key_that_stays() {
        let key = api_key("51cdbc08989e975ec300772a");
        assert_eq!(key.len(), 40);
        assert_eq!(key, api_key("51cdbc08989e975ec300772a"));
        assert_ne!(key, api_key("51cdbc08989e975ec300772b"));
    }
}
