//! Every named limit of the host: its default, and why.
//!
//! `edge up --limit NAME=N` sets one. It knows numbers; it does NOT know what they limit.

use std::time::Duration;

/// A limit's value as an operator writes it: a number, of milliseconds for a time.
trait Value {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

macro_rules! whole {
    ($($kind:ty)*) => { $(
        impl Value for $kind {
            fn of(number: u64) -> Self {
                Self::try_from(number).unwrap_or(Self::MAX)
            }
            fn number(&self) -> u64 {
                u64::try_from(*self).unwrap_or(u64::MAX)
            }
        }
    )* };
}
whole!(u32 u64 usize);

impl Value for Duration {
    fn of(number: u64) -> Self {
        Self::from_millis(number)
    }
    fn number(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

macro_rules! limits {
    ($( $(#[$why:meta])* $name:literal $field:ident: $kind:ty = $default:expr; )*) => {
        /// The limits of one host.
        #[derive(Debug, Clone)]
        pub(crate) struct Limits {
            $( $(#[$why])* pub(crate) $field: $kind, )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl Limits {
            /// Every limit's name and value.
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$( ($name, Value::number(&self.$field)), )*]
            }

            fn put(&mut self, name: &str, number: u64) -> bool {
                match name {
                    $( $name => self.$field = Value::of(number), )*
                    _ => return false,
                }
                true
            }
        }
    };
}

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// What outbound connections are made for, too.
pub(crate) const REQUESTS_DEFAULT: usize = 4_096;

limits! {
    /// Connections in all: a connection costs some 20 KB.
    "connections" connections_max: usize = 10_000;
    /// Connections of one address: a proxy or an office behind one address fits.
    "connections-per-address" connections_per_address_max: usize = 2_000;
    /// Requests of clients at once, counted until their bodies end: 1,000 streams use some
    /// 500 MB.
    "requests" requests_max: usize = REQUESTS_DEFAULT;
    /// Parts of the requests at once, and of the memory for bodies, of which an address (IPv6: a
    /// /64) has one at most while others want what is left.
    "address-shares" address_shares: usize = 8;
    /// How long a request's client may keep everybody waiting, by its body or by taking nothing
    /// of its answer, before it gives way to one for which there is no room.
    "give-way-ms" give_way_time: Duration = ms(1_000);
    /// How long tasks may stand in line for a core, at the least, before requests are shed:
    /// a busy component yields after 2 ms, so that is fifty of them for each core.
    "queue-delay-ms" queue_delay_max: Duration = ms(100);
    /// Memory of the process, in MiB, from nine tenths of which on requests are shed; at
    /// first what its control group or the machine has.
    "memory-mib" memory_mib: usize = usize::MAX;
    /// Bytes of a request's head. Cookies and a token fit in 8 KB. (hyper takes at most 100
    /// fields on HTTP/1.1.)
    "header-bytes" header_bytes_max: usize = 64 << 10;
    /// Bytes of a request's body: a chat with a long document.
    "body-bytes" body_bytes_max: u64 = 4 << 20;
    /// The longest pause within a request's body.
    "body-pause-ms" body_pause_max: Duration = ms(30_000);
    /// Bytes that a body has to come with in each second that is waited for it, on average: a
    /// modem is faster.
    "body-bytes-per-second" body_bytes_per_second: u64 = 1 << 10;
    /// How long is waited for a body whatever comes.
    "body-grace-ms" body_grace: Duration = ms(10_000);
    /// How long is waited for a body in all. What its component needs in between is not counted.
    "body-ms" body_time_max: Duration = ms(600_000);
    /// Memory for bodies that components gather before they answer, in MiB: from the first 64 KiB
    /// of each on, a body waits until there is some.
    "bodies-mib" bodies_mib: u64 = 256;
    /// Bytes that an HTTP/2 client may send before somebody reads them, on one connection; half
    /// of them on one stream.
    "receive-window-bytes" receive_window_bytes: u32 = 256 << 10;
    /// Frames of an HTTP/2 connection that cost much more to answer than to send (SETTINGS,
    /// PING, windows, empty ones), at once: a browser sends some ten.
    "control-frames" control_frames_max: u32 = 1_000;
    /// How many more of them a second, besides those that a client owes for what it is sent.
    "control-frames-per-second" control_frames_per_second: u32 = 100;
    /// Credentials (values of `Authorization`) of one address that are on trial at once: that
    /// were refused, or not yet accepted. An office behind one address fits.
    "unproven-credentials" unproven_credentials_max: u32 = 100;
    /// How many more of them a minute, once so many were refused.
    "unproven-credentials-per-minute" unproven_credentials_per_minute: u32 = 60;
    /// How long a TLS handshake may take.
    "handshake-ms" handshake_time_max: Duration = ms(10_000);
    /// How long a new connection may be silent, or say too little to tell which HTTP it
    /// speaks.
    "opening-ms" opening_time_max: Duration = ms(10_000);
    /// How long a request's head may take, and how long a connection may rest before it.
    "head-ms" head_time_max: Duration = ms(30_000);
    /// How long a client may take nothing of what it is sent. A stream that rests because
    /// its component has nothing to say is not timed.
    "stall-ms" stall_time_max: Duration = ms(30_000);
    /// Streams of one HTTP/2 or HTTP/3 connection at once.
    "streams-per-connection" streams_per_connection_max: u32 = 256;
    /// Streams that an HTTP/2 client may reset before they are looked at (CVE-2023-44487).
    "resets-pending" resets_pending_max: usize = 20;
    /// Streams that the client of one HTTP/3 connection may break off in a second.
    "resets-per-second" resets_per_second_max: u32 = 100;
    /// How often a silent HTTP/2 or HTTP/3 connection is asked whether it lives.
    "ping-every-ms" ping_interval: Duration = ms(30_000);
    /// How long it may take to say so.
    "ping-ms" ping_time_max: Duration = ms(20_000);
    /// Bytes that one HTTP/2 stream may have waiting for its client.
    "send-buffer-bytes" send_buffer_bytes: usize = 64 << 10;
    /// Bytes of a refused body that are read, so that the refusal arrives.
    "swallow-bytes" swallow_bytes_max: usize = 32 << 20;
    /// How long that may take.
    "swallow-ms" swallow_time_max: Duration = ms(5_000);
    /// Requests that one instance serves in its life. Spin's default.
    "instance-requests" instance_requests_max: usize = 128;
    /// Requests in one instance at once, counted until their bodies end. Spin's default.
    "instance-concurrent-requests" instance_concurrent_requests_max: usize = 16;
    /// How long an instance without work is kept. Spin's default.
    "instance-idle-ms" instance_idle: Duration = ms(1_000);
    /// CPU that an instance may use with no progress in between. A healthy request reports
    /// progress every few milliseconds; the start of a large guest's runtime takes well
    /// under a second.
    "cpu-ms" cpu_max: Duration = ms(3_000);
    /// How long a component may take to begin its answer: a long generation that is not
    /// streamed, behind a full queue.
    "answer-ms" answer_time_max: Duration = ms(600_000);
    /// How long an instance may go on when all of its clients have gone: settling a bill
    /// takes some calls, each with its own limits.
    "afterwards-ms" afterwards_max: Duration = ms(60_000);
    /// Answers that are compressed at once, each with a window of at most 128 KiB; more go out
    /// as they are.
    "compressed-answers" compressed_answers_max: usize = 1_024;
    /// The first wait after an order of a certificate that failed; each further one is twice
    /// as long, up to an hour. Authorities count failures by the hour.
    "acme-retry-ms" acme_retry_wait: Duration = ms(60_000);
    /// How long what an old version of the application has begun may go on after a reload:
    /// as long as a component may take to begin.
    "old-version-ms" old_version_max: Duration = ms(600_000);
    /// Handles (streams, requests, stores) that one instance may hold at once.
    "instance-resources" instance_resources_max: usize = 10_000;
    /// Memory for the header fields of one message.
    "field-bytes" field_bytes_max: usize = 128 << 10;
}

/// Sets one limit, as `NAME=N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    name: String,
    number: u64,
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = text.split_once('=').ok_or("expected NAME=N")?;
        let known = Limits::default().all();
        if !known.iter().any(|(known, _)| *known == name) {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "no limit is called {name:?}; known: {}",
                names.join(", ")
            ));
        }
        match number.parse() {
            Ok(number) if number > 0 => Ok(Self {
                name: name.to_owned(),
                number,
            }),
            _ => Err(format!("{name}: expected a number from 1")),
        }
    }
}

impl Limits {
    /// The defaults, with these set.
    pub(crate) fn with(settings: &[Setting]) -> Self {
        let mut limits = Self::default();
        for setting in settings {
            let known = limits.put(&setting.name, setting.number);
            debug_assert!(known, "checked when it was read");
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_set_by_its_name() {
        let settings = ["header-bytes=1000", "head-ms=250", "header-bytes=2000"];
        let settings = settings.map(|text| text.parse().unwrap());
        let limits = Limits::with(&settings);
        assert_eq!(limits.header_bytes_max, 2_000);
        assert_eq!(limits.head_time_max, ms(250));
        assert_eq!(limits.connections_max, 10_000);
    }

    #[test]
    fn a_wrong_one_is_named() {
        let error = |text: &str| text.parse::<Setting>().unwrap_err();
        assert!(error("heads=1").contains("\"heads\"; known: connections,"));
        assert_eq!(error("head-ms=0"), "head-ms: expected a number from 1");
        assert_eq!(error("head-ms=soon"), "head-ms: expected a number from 1");
        assert_eq!(error("head-ms"), "expected NAME=N");
    }

    #[test]
    fn the_readme_has_every_limit_with_its_default() {
        let readme = include_str!("../README.md");
        for (name, value) in Limits::default().all() {
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}`")));
            let row = row.unwrap_or_else(|| panic!("no row for {name}"));
            let shown = row.split('|').nth(2).unwrap().trim().replace(',', "");
            let value = match value {
                u64::MAX => "–".to_owned(),
                value => value.to_string(),
            };
            assert_eq!(shown, value, "{name}");
        }
    }
}
