//! Just enough HTTP/1.1 to load a server and to set it up: requests as bytes, responses framed without copying.

pub(crate) mod client;
pub(crate) mod load;
pub(crate) mod request;
pub(crate) mod response;
