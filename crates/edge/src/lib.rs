//! The router in front of apps: from a host to a process that answers.
//!
//! It knows hosts, the upstreams behind them, and HTTP; it knows nothing of releases, accounts or sandboxes. Whoever
//! does publishes a whole [`Route`] per app, and the table that requests are looked up in is replaced in one step:
//! no request waits for it, and none sees half of it.
//!
//! Bodies are never collected. What one side sends is validated and written to the other, and a side that reads
//! slowly slows the other one down. Nothing ambiguous passes: a request whose length two readers could understand
//! differently is refused.
//!
//! Start reading in `serve.rs`: the requests of one connection. `exchange.rs` is one request and its response,
//! `head.rs` says what a head must be like and what becomes of it.

mod absence;
mod client;
mod edge;
mod exchange;
mod forward;
pub mod framing;
pub mod head;
mod journal;
mod note;
mod reach;
mod route;
mod serve;
mod settings;
mod slot;
mod spare;
mod table;
mod timer;
mod trouble;
mod tunnel;

pub use absence::Absence;
pub use edge::{After, Edge, Ends};
pub use forward::{BoxError, ResponseBody};
pub use journal::{Code, Journal, RouterEvent};
pub use route::{BoxFuture, Route, Upstream};
pub use settings::Settings;
