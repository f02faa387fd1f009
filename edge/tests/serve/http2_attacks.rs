//! What an HTTP/2 client can do to a server, frame by frame: each attack is run as fast as
//! it is taken, beside a client that is served in turns with it, and the process must not
//! grow.
#![expect(clippy::unwrap_used, reason = "a helper that fails is a failed test")]

use crate::harness::{Edge, HEAD, WAIT_MAX, one, probe, until};
use crate::neighbour::{self, Count, Neighbour};
use std::cell::Cell;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What one attack may make the process grow by.
const GROWTH_BYTES_MAX: usize = 64 << 20;
/// Frames of one run of an attack.
const FRAMES: u32 = 100_000;
/// Turns that an attack and a neighbour take: frames are written, then an answer comes.
const TURNS: usize = 20;

// RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const PADDED: u8 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// `GET path`, without a table and without Huffman's code (RFC 7541 §6).
fn head(path: &str, method: &str) -> Vec<u8> {
    let mut block = vec![0x86];
    for (index, value) in [(2_u8, method), (4, path), (1, "attack")] {
        block.extend([index, u8::try_from(value.len()).unwrap()]);
        block.extend(value.as_bytes());
    }
    block
}

/// A connection on which anything may be written. What comes back is read and dropped, as
/// long as `reads`.
struct Attacker {
    write: tokio::net::tcp::OwnedWriteHalf,
    reader: tokio::task::JoinHandle<()>,
}

impl Attacker {
    async fn connect(edge: &Edge, settings: &[u8], reads: bool) -> Self {
        let stream = TcpStream::connect(edge.address()).await.unwrap();
        let (mut read, mut write) = stream.into_split();
        write
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        write
            .write_all(&frame(SETTINGS, 0, 0, settings))
            .await
            .unwrap();
        let reader = tokio::spawn(async move {
            if !reads {
                std::future::pending::<()>().await;
            }
            let mut buffer = vec![0; 64 << 10];
            while matches!(read.read(&mut buffer).await, Ok(bytes) if bytes > 0) {}
        });
        Self { write, reader }
    }

    /// Writes what `make` makes of 0, 1, 2, … until so many, or until it is not taken any
    /// more; counts what was taken.
    async fn flood(&mut self, taken: &Count, frames: u32, make: impl Fn(u32) -> Vec<u8>) {
        for batch in 0..frames / 100 {
            let frames: Vec<u8> = (0..100).flat_map(|n| make(100 * batch + n)).collect();
            let written =
                tokio::time::timeout(Duration::from_secs(2), self.write.write_all(&frames));
            if !matches!(written.await, Ok(Ok(()))) {
                return;
            }
            taken.add(100);
        }
    }

    /// Was the connection ended by the server?
    async fn was_turned_away(self) -> bool {
        tokio::time::timeout(WAIT_MAX, self.reader).await.is_ok()
    }
}

/// Runs an attack at least once, and again until a neighbour was answered in turns with it:
/// what came of each run.
async fn endured<T>(edge: &Edge, name: &str, attack: impl AsyncFn(&Count) -> T) -> Vec<T> {
    let before = edge.resident_bytes();
    let (taken, is_enough) = (Count::new(), Cell::new(false));
    let neighbour = Neighbour::of(edge);
    let attacking = async {
        let mut ended = vec![attack(&taken).await];
        while !is_enough.get() {
            ended.push(attack(&taken).await);
        }
        ended
    };
    let watching = async {
        neighbour.takes_turns(&taken, TURNS).await;
        is_enough.set(true);
    };
    let (ended, ()) = tokio::join!(attacking, watching);
    neighbour.leaves().await;
    let after = edge.resident_bytes();
    assert!(
        after < before + GROWTH_BYTES_MAX,
        "{name}: {before} bytes were {after}"
    );
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_by_frames_end_their_own_connection_alone() {
    let edge = Edge::start(&one(""));
    assert_eq!(edge.get("/served").await.0, 200);

    let rapid_reset = async |taken: &Count| {
        let mut attacker = Attacker::connect(&edge, &[], true).await;
        let get = head("/stream?2,600000", "GET");
        attacker
            .flood(taken, FRAMES, |n| {
                let stream = 2 * n + 1;
                let open = frame(HEADERS, END_HEADERS | END_STREAM, stream, &get);
                [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
            })
            .await;
        attacker.was_turned_away().await
    };
    let ended = endured(&edge, "rapid reset", rapid_reset).await;
    assert!(ended.iter().all(|away| *away), "{ended:?}");

    let continuation = async |taken: &Count| {
        let mut attacker = Attacker::connect(&edge, &[], true).await;
        let open = frame(HEADERS, END_STREAM, 1, &head("/served", "GET"));
        attacker.write.write_all(&open).await.unwrap();
        let field = [&[0, 1, b'x', 120][..], &[b'y'; 120]].concat();
        attacker
            .flood(taken, FRAMES, |_| frame(CONTINUATION, 0, 1, &field))
            .await;
        attacker.was_turned_away().await
    };
    let ended = endured(&edge, "CONTINUATION without an end", continuation).await;
    assert!(ended.iter().all(|away| *away), "{ended:?}");

    let empty_continuation = async |taken: &Count| {
        let mut attacker = Attacker::connect(&edge, &[], true).await;
        let open = frame(HEADERS, END_STREAM, 1, &head("/served", "GET"));
        attacker.write.write_all(&open).await.unwrap();
        attacker
            .flood(taken, FRAMES, |_| frame(CONTINUATION, 0, 1, &[]))
            .await;
        attacker.was_turned_away().await
    };
    let ended = endured(&edge, "empty CONTINUATION", empty_continuation).await;
    assert!(ended.iter().all(|away| *away), "{ended:?}");

    let window = async |taken: &Count| {
        let mut attacker = Attacker::connect(&edge, &[], true).await;
        let most = (u32::MAX >> 1).to_be_bytes();
        attacker
            .flood(taken, 200, |_| frame(WINDOW_UPDATE, 0, 0, &most))
            .await;
        attacker.was_turned_away().await
    };
    let ended = endured(&edge, "a window that overflows", window).await;
    assert!(ended.iter().all(|away| *away), "{ended:?}");
    until("streams are gone", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}

/// What opens a flood, and its frames.
type Flood = (&'static str, Vec<u8>, fn(u32) -> Vec<u8>);

fn floods() -> [Flood; 10] {
    let post = || frame(HEADERS, END_HEADERS, 1, &head("/length", "POST"));
    [
        ("empty DATA", post(), |_| frame(DATA, 0, 1, &[])),
        ("tiny DATA", post(), |_| frame(DATA, 0, 1, b"x")),
        ("padding", post(), |_| frame(DATA, PADDED, 1, &[7; 8])),
        ("SETTINGS", Vec::new(), |_| {
            frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])
        }),
        ("PING", Vec::new(), |n| {
            frame(PING, 0, 0, &u64::from(n).to_be_bytes())
        }),
        ("PONG", Vec::new(), |n| {
            frame(PING, ACK, 0, &u64::from(n).to_be_bytes())
        }),
        // Each stream depends on the next one, and the last on the first.
        ("PRIORITY", Vec::new(), |n| {
            let next = 2 * ((n + 1) % FRAMES) + 1;
            let payload = [&next.to_be_bytes()[..], &[255]].concat();
            frame(PRIORITY, 0, 2 * n + 1, &payload)
        }),
        ("WINDOW_UPDATE of a connection", Vec::new(), |_| {
            frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())
        }),
        ("WINDOW_UPDATE of a stream", post(), |_| {
            frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())
        }),
        ("unknown", Vec::new(), |n| {
            frame(200 + u8::try_from(n % 50).unwrap(), 0, 0, b"?")
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_end_their_connection_and_refuse_nobody_else() {
    let edge = Edge::start(&one(""));
    assert_eq!(edge.get("/served").await.0, 200);
    for (name, opening, make) in floods() {
        for reads in [true, false] {
            let flood = async |taken: &Count| {
                let mut attacker = Attacker::connect(&edge, &[], reads).await;
                attacker.write.write_all(&opening).await.unwrap();
                attacker.flood(taken, FRAMES, make).await;
                !reads || attacker.was_turned_away().await
            };
            let ended = endured(&edge, name, flood).await;
            assert!(ended.iter().all(|away| *away), "{name}: {ended:?}");
        }
    }
    let refused = edge.figure("edge_refused_total{reason=\"control-frames\"");
    assert!(refused.await >= floods().len() as f64);
}

/// Frames as they come from the server.
struct Received(TcpStream);

impl Received {
    /// Kind, flags, stream and payload of the next one, unless the connection ends.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes([d, e, f, g]), payload))
    }

    async fn connect(edge: &Edge, opening: &[u8]) -> Self {
        let mut stream = TcpStream::connect(edge.address()).await.unwrap();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = frame(SETTINGS, 0, 0, &[]);
        let words = [preface, &settings[..], opening].concat();
        stream.write_all(&words).await.unwrap();
        Self(stream)
    }
}

#[tokio::test]
async fn who_floods_is_told_to_be_calm() {
    let edge = Edge::start(&one(""));
    for (name, opening, make) in floods() {
        let frames: Vec<u8> = (0..1_500).flat_map(make).collect();
        let mut received = Received::connect(&edge, &[opening, frames].concat()).await;
        let mut told = None;
        while let Some((kind, _, _, payload)) = received.next().await {
            if kind == GOAWAY {
                told = payload.get(4..8).map(<[u8]>::to_vec);
            }
        }
        assert_eq!(
            told,
            Some(ENHANCE_YOUR_CALM.to_be_bytes().to_vec()),
            "{name}"
        );
    }
}

/// A client that says of each frame of an answer, twice, that it has taken it: so do some.
#[tokio::test]
async fn who_says_that_it_takes_its_answer_is_no_flood() {
    const LINES: usize = 20_000;
    let limits = [
        "control-frames=10",
        "control-frames-per-second=1",
        "streams-per-connection=4",
    ];
    let limits = limits.map(|limit| ["--limit", limit]).concat();
    let edge = Edge::start_with(&one(""), &limits);
    let get = head(&format!("/stream?{LINES},0"), "GET");
    let open = frame(HEADERS, END_HEADERS | END_STREAM, 1, &get);
    let mut received = Received::connect(&edge, &open).await;
    let (mut frames, mut lines) = (0, 0);
    loop {
        let (kind, flags, stream, payload) = received.next().await.unwrap();
        assert_ne!(kind, GOAWAY, "after {frames} frames");
        if kind != DATA || stream != 1 {
            continue;
        }
        frames += 1;
        lines += payload.iter().filter(|byte| **byte == b'\n').count();
        if flags & END_STREAM != 0 {
            break;
        }
        if let Some(bytes) = u32::try_from(payload.len()).ok().filter(|bytes| *bytes > 0) {
            let taken = bytes.to_be_bytes();
            let windows = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &taken));
            received.0.write_all(&windows.concat()).await.unwrap();
        }
    }
    assert_eq!(lines, LINES);
    assert!(frames > 100, "{frames} frames");
}

/// Asks from another address of this machine than attackers have: the status.
async fn ask_from_elsewhere(edge: &Edge) -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let address = edge.address().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let ask = b"GET /served HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[9..]).into_owned()
}

/// The frames of a stream, by its number.
type Frames<'a> = &'a dyn Fn(u32) -> Vec<u8>;

/// Streams that cost their client nothing hold all places: bodies of which a byte comes, and
/// answers for which there is no window.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_only_hold_places_refuse_nobody_else() {
    let body = |stream: u32| {
        let open = frame(HEADERS, END_HEADERS, stream, &head("/length", "POST"));
        [open, frame(DATA, 0, stream, b"x")].concat()
    };
    let answer = |stream: u32| {
        let flags = END_HEADERS | END_STREAM;
        frame(HEADERS, flags, stream, &head("/served", "GET"))
    };
    let no_window = [0, 4, 0, 0, 0, 0];
    let kinds: [(&[u8], Frames<'_>); 2] = [(&[], &body), (&no_window, &answer)];
    for (settings, make) in kinds {
        let limits = [
            "--limit",
            "requests=64",
            "--limit",
            "control-frames=1000000",
        ];
        let edge = Edge::start_with(&one(""), &limits);
        let attack = async |_| {
            loop {
                let mut attacker = Attacker::connect(&edge, settings, true).await;
                for n in 0.. {
                    let open = make(2 * n + 1);
                    if attacker.write.write_all(&open).await.is_err() {
                        break;
                    }
                    if n >= 60 {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        };
        let neighbour = async {
            until("all places are taken", || async {
                edge.figure("edge_refused_total").await > 0.5
            })
            .await;
            for turn in 0..100 {
                assert_eq!(ask_from_elsewhere(&edge).await, "200", "turn {turn}");
            }
        };
        crate::fairness::beside(4, attack, neighbour).await;
        assert!(edge.figure("edge_refused_total{reason=\"gave-way\"").await > 0.5);
    }
}

/// A window of nothing: answers wait for a client that never takes them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_are_given_up() {
    const STREAMS: u32 = 100;
    let manifest = format!(
        "{HEAD}{}{}",
        probe("neighbour", neighbour::ROUTE, ""),
        probe("attacked", "/events", "")
    );
    let edge = Edge::start_with(&manifest, &["--limit", "stall-ms=500"]);
    let answered = || edge.figure("edge_requests_total{component=\"attacked\"");
    let held = async |taken: &Count| {
        let answered_before = answered().await;
        // SETTINGS_INITIAL_WINDOW_SIZE 0.
        let mut attacker = Attacker::connect(&edge, &[0, 4, 0, 0, 0, 0], true).await;
        let get = head("/events?1000000,0", "GET");
        for n in 0..STREAMS {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get);
            attacker.write.write_all(&open).await.unwrap();
            taken.add(1);
        }
        // An answer is counted at its end.
        until("all are given up", || async {
            taken.add(1);
            answered().await - answered_before >= f64::from(STREAMS)
        })
        .await;
    };
    endured(&edge, "no window", held).await;
    until("nothing is left", || async {
        edge.figure("edge_requests_in_flight").await < 0.5
    })
    .await;
}
