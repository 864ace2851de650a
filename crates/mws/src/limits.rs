//! Every bound of the gateway, in one place.

use std::time::Duration;

/// What one gateway, one socket and one request may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How long an URI can be redeemed.
    pub reservation_life: Duration,
    pub reservations_max: usize,
    pub reservations_per_gateway_max: usize,
    /// The tags of all reservations of a gateway together.
    pub reserved_tag_bytes_per_gateway_max: usize,
    /// Sockets at once, also those that are turned away or closing: so many descriptors are kept for them. One more is
    /// answered 503.
    pub sockets_max: usize,
    pub sockets_per_gateway_max: usize,
    pub tags_per_socket_max: usize,
    pub tag_bytes_max: usize,
    /// Sockets and tags that one message may name.
    pub receivers_max: usize,
    pub data_bytes_max: usize,
    /// A whole request body: room for the data however its JSON spells it, and for the receivers.
    pub body_bytes_max: usize,
    /// How many sockets one page of a list holds at most, and when nothing is asked.
    pub page_max: usize,
    /// What may wait for one socket that the kernel takes no more for, before it counts as a slow reader.
    pub queue_messages_max: usize,
    pub queue_bytes_max: usize,
    /// What may be on the way from a gateway to its sockets; one more message waits. It is also the most that a turn
    /// joins into one write, so it must be less than a queue holds.
    pub batch_messages_max: usize,
    pub batch_bytes_max: usize,
    /// Messages of one gateway that wait for that, and what they may hold together; one more is answered 503 at once.
    pub waiting_messages_max: usize,
    pub waiting_bytes_max: usize,
    /// How long a message waits for that before it is answered 503.
    pub publish_patience: Duration,
    /// Threads that read and write the sockets.
    pub reactors: usize,
    /// What clients may send in one message that is told as an event.
    pub event_message_bytes_max: u32,
    /// What may wait of one socket before it is not read for a while. The message that is one too many waits as well.
    pub event_line_messages_max: usize,
    pub event_line_bytes_max: usize,
    /// The same for all sockets of a gateway, and for all gateways; and what of one may wait even when all of that is
    /// taken by others.
    pub event_bytes_per_gateway_max: usize,
    pub event_bytes_max: usize,
    pub event_bytes_kept_per_gateway: usize,
    /// Posts of events under way, of one gateway and of all. Those that a gateway has to itself come on top.
    pub event_posts_per_gateway_max: usize,
    pub event_posts_max: usize,
    /// Of these, such as may be longer than 64 KiB, half of them of one gateway: a message of 1 MiB takes up to six in
    /// JSON.
    pub event_long_posts_max: usize,
    pub event_posts_kept_per_gateway: usize,
    /// How long one post of an event and its answer may take.
    pub event_patience: Duration,
    /// How long to wait before each further attempt to post an event.
    pub event_retry_after: [Duration; 3],
    /// How long a socket waits until its gateway's app has let it in.
    pub event_admission_patience: Duration,
    /// How long a socket may go unread because what it says finds no room, before it is given up.
    pub event_stall_max: Duration,
    /// What clients may send in one message, though nobody reads it.
    pub client_message_bytes_max: u32,
    /// Must stay below the minute after which routers cut silent connections.
    pub ping_every: Duration,
    /// How often an event stream is sent a line that says nothing. Many that pass streams on cut silent ones after half
    /// a minute.
    pub comment_every: Duration,
    /// How long a listener to an event stream, who never says anything, may leave unacknowledged what it is sent.
    pub unacknowledged_max: Duration,
    /// What the histories of all gateways, and of one, may keep.
    pub history_bytes_max: usize,
    pub history_bytes_per_gateway_max: usize,
    /// Of how many tags one gateway may keep messages.
    pub history_tags_per_gateway_max: usize,
    /// How long a closing socket waits for the peer's part.
    pub close_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reservation_life: Duration::from_secs(300),
            reservations_max: 200_000,
            reservations_per_gateway_max: 50_000,
            reserved_tag_bytes_per_gateway_max: 16 << 20,
            sockets_max: 250_000,
            sockets_per_gateway_max: 100_000,
            tags_per_socket_max: 100,
            tag_bytes_max: 256,
            receivers_max: 10_000,
            data_bytes_max: 1 << 20,
            body_bytes_max: 8 << 20,
            page_max: 1_000,
            queue_messages_max: 1_024,
            queue_bytes_max: 4 << 20,
            batch_messages_max: 64,
            batch_bytes_max: 64 << 10,
            waiting_messages_max: 1_024,
            waiting_bytes_max: 32 << 20,
            publish_patience: Duration::from_secs(10),
            reactors: default_reactors(),
            event_message_bytes_max: 1 << 20,
            event_line_messages_max: 16,
            event_line_bytes_max: 256 << 10,
            event_bytes_per_gateway_max: 16 << 20,
            event_bytes_max: 128 << 20,
            event_bytes_kept_per_gateway: 256 << 10,
            event_posts_per_gateway_max: 64,
            event_posts_max: 256,
            event_long_posts_max: 16,
            event_posts_kept_per_gateway: 2,
            event_patience: Duration::from_secs(5),
            event_retry_after: [1, 3, 6].map(Duration::from_secs),
            event_admission_patience: Duration::from_secs(10),
            event_stall_max: Duration::from_secs(60),
            client_message_bytes_max: 64 << 10,
            ping_every: Duration::from_secs(45),
            comment_every: Duration::from_secs(25),
            unacknowledged_max: Duration::from_secs(90),
            history_bytes_max: 256 << 20,
            history_bytes_per_gateway_max: 16 << 20,
            history_tags_per_gateway_max: 1_000,
            close_patience: Duration::from_secs(3),
        }
    }
}

/// More than a few only pay with very many sockets, and the rest of the server wants its share of the cores.
fn default_reactors() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}
