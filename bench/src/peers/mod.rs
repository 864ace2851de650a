//! Pilvi and the servers that it is measured against, each started and spoken to in its own way.

pub(crate) mod gateways;
pub(crate) mod parse;
pub(crate) mod pilvi;
pub(crate) mod pilvi_store;
pub(crate) mod pocketbase;
pub(crate) mod postgresql;
pub(crate) mod store;
