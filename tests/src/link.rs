//! A TCP link to the server: far, narrow and lossy, and cut where a story wants it.
//!
//! TCP hides loss, so a lost segment is what becomes of it: it and all that follows on its connection come
//! later. Where a story wants something to happen is said in messages and shares of their bytes, never in
//! time, so that a seed hits the same place again however slow the machine is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::chance::Chance;

/// Bytes of a segment.
const SEGMENT_BYTES: usize = 1_400;
/// Segments on their way in one direction of a connection; the sender waits for room.
const WINDOW: usize = 16;
/// A longer head is no HTTP of ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How good a link is.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// There and back.
    pub round_trip: Duration,
    /// Each way, shared by all connections.
    pub bytes_per_s: u32,
    /// Segments that have to be sent again, in percent.
    pub loss: u64,
    /// After how long a segment is sent again.
    pub again: Duration,
}

impl Line {
    /// A village: 800 ms there and back, 64 kbit/s, 5 % loss.
    pub const VILLAGE: Self = Self {
        round_trip: Duration::from_millis(800),
        bytes_per_s: 8_000,
        loss: 5,
        again: Duration::from_millis(1_000),
    };
    /// The same a hundred times as quick, for suites that must end soon.
    pub const QUICK: Self = Self {
        round_trip: Duration::from_millis(8),
        bytes_per_s: 800_000,
        loss: 5,
        again: Duration::from_millis(10),
    };
    /// As good as none.
    pub const CLEAR: Self = Self {
        round_trip: Duration::ZERO,
        bytes_per_s: 1_000_000_000,
        loss: 0,
        again: Duration::ZERO,
    };
}

/// What a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// A push.
    Push,
    /// A pull.
    Pull,
    /// A piece of a photo.
    Photo,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To the server.
    Up,
    /// To the phone.
    Down,
}

/// Where something is to happen: when so many thousandths of the message have arrived, and no byte more.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// In which messages.
    pub what: What,
    /// Going where.
    pub way: Way,
    /// How many of these come before it.
    pub after: u32,
    /// Of its bytes, head and body.
    pub permille: u64,
}

/// What becomes of the connection in which a trap springs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both sides hear of it.
    Cut,
    /// Neither does: nothing passes any more, until the phone gives up.
    Silence,
}

struct Trap {
    point: Point,
    end: End,
    act: Box<dyn FnOnce() + Send>,
}

#[derive(Default)]
struct Seen {
    resumed: u32,
    lost: u64,
    bytes: u64,
}

struct State {
    target: SocketAddr,
    line: Mutex<Line>,
    chance: Mutex<Chance>,
    /// When each way has room for the next segment.
    free: [Mutex<Instant>; 2],
    trap: Mutex<Option<Trap>>,
    seen: Mutex<Seen>,
}

/// A link that listens.
pub struct Link {
    address: SocketAddr,
    state: Arc<State>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "a link takes time: that is what it is for")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a link takes time: that is what it is for")]
fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(now());
    if !left.is_zero() {
        std::thread::sleep(left);
    }
}

impl Link {
    /// Listens on a port of its own for as long as the process lives.
    pub fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State {
            target,
            line: Mutex::new(Line::CLEAR),
            chance: Mutex::new(Chance::new(seed)),
            free: [Mutex::new(now()), Mutex::new(now())],
            trap: Mutex::new(None),
            seen: Mutex::default(),
        });
        let listening = Arc::clone(&state);
        std::thread::spawn(move || {
            for phone in listener.incoming().flatten() {
                // Without a server the connection ends at once, as one that is refused.
                let Ok(server) = TcpStream::connect(listening.target) else { continue };
                let _ = connect(&listening, phone, server); // a socket that ended already
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it is so good.
    pub fn set(&self, line: Line) {
        *lock(&self.state.line) = line;
    }

    /// Ends the connection at this point, once, and then does `act`.
    pub fn trap(&self, point: Point, end: End, act: impl FnOnce() + Send + 'static) {
        *lock(&self.state.trap) = Some(Trap { point, end, act: Box::new(act) });
    }

    /// Takes the trap away; whether it had sprung.
    pub fn untrap(&self) -> bool {
        lock(&self.state.trap).take().is_none()
    }

    /// Pieces of photos that went on where an earlier request was cut off.
    pub fn resumed(&self) -> u32 {
        lock(&self.state.seen).resumed
    }

    /// Segments that were sent again, and bytes that passed, both ways.
    pub fn carried(&self) -> (u64, u64) {
        let seen = lock(&self.state.seen);
        (seen.lost, seen.bytes)
    }
}

/// What is asked on a connection: HTTP/1.1 without pipelining.
#[derive(Clone, Copy, Default)]
struct Asked {
    what: Option<What>,
    head: bool,
}

struct Segment {
    due: Instant,
    bytes: Vec<u8>,
    /// The trap that springs once it has arrived; nothing comes after it.
    last: Option<Trap>,
}

fn connect(state: &Arc<State>, phone: TcpStream, server: TcpStream) -> std::io::Result<()> {
    phone.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let asked = Arc::new(Mutex::new(Asked::default()));
    let silent = Arc::new(AtomicBool::new(false));
    let begin = now() + lock(&state.line).round_trip; // the handshake
    for (way, from, to) in
        [(Way::Up, phone.try_clone()?, server.try_clone()?), (Way::Down, server, phone)]
    {
        let (segments, arriving) = sync_channel(WINDOW);
        let (state, asked) = (Arc::clone(state), Arc::clone(&asked));
        let (both, silent) = ((from.try_clone()?, to.try_clone()?), Arc::clone(&silent));
        std::thread::spawn(move || {
            let mut lane = Lane { state, asked, way, segments, due: begin, silent: false };
            let _ = lane.carry(&from); // the other side has gone, or a trap has sprung
            if lane.silent {
                let _ = std::io::copy(&mut &from, &mut std::io::sink());
            }
        });
        std::thread::spawn(move || arrive(way, &arriving, to, &both, &silent));
    }
    Ok(())
}

/// Hands over what is due; at the end both connections end. Of those that have fallen silent the phone hears nothing.
fn arrive(
    way: Way,
    arriving: &Receiver<Segment>,
    mut to: TcpStream,
    both: &(TcpStream, TcpStream),
    silent: &AtomicBool,
) {
    for segment in arriving {
        wait_until(segment.due);
        if silent.load(Ordering::SeqCst) {
            continue;
        }
        let sent = to.write_all(&segment.bytes);
        if let Some(trap) = segment.last {
            silent.store(trap.end == End::Silence, Ordering::SeqCst);
            (trap.act)();
            if trap.end == End::Cut {
                break;
            }
        } else if sent.is_err() {
            break;
        }
    }
    if silent.load(Ordering::SeqCst) && way == Way::Down {
        return;
    }
    for end in [&both.0, &both.1] {
        let _ = end.shutdown(Shutdown::Both); // it may have ended already
    }
}

/// One way of a connection.
struct Lane {
    state: Arc<State>,
    asked: Arc<Mutex<Asked>>,
    way: Way,
    segments: SyncSender<Segment>,
    due: Instant,
    /// It has fallen silent, and its sender does not know.
    silent: bool,
}

/// The other end is gone, or the trap has sprung.
struct Over;

impl Lane {
    fn carry(&mut self, mut from: &TcpStream) -> Result<(), Over> {
        let mut buffer = vec![0; 16 * 1024];
        let mut head = Vec::new();
        // Of the message that passes: bytes that are left of it, and after how many the trap springs.
        let (mut left, mut springs) = (0_u64, None::<u64>);
        loop {
            let length = match from.read(&mut buffer) {
                Ok(length @ 1..) => length,
                _ => return Err(Over),
            };
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                if left == 0 {
                    let (byte, after) = (rest[0], &rest[1..]);
                    head.push(byte);
                    rest = after;
                    if head.len() > HEAD_BYTES_MAX {
                        return Err(Over);
                    }
                    if head.ends_with(b"\r\n\r\n") {
                        let body = self.read_head(&head);
                        left = head.len() as u64 + body;
                        springs = self.springs(left);
                        let whole = std::mem::take(&mut head);
                        self.pass(&whole, &mut left, &mut springs)?;
                    }
                    continue;
                }
                let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (piece, after) = rest.split_at(taken);
                self.pass(piece, &mut left, &mut springs)?;
                rest = after;
            }
        }
    }

    /// What a head says: how long its body is.
    fn read_head(&self, head: &[u8]) -> u64 {
        let text = String::from_utf8_lossy(head).to_lowercase();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().parse::<u64>().ok()
        };
        let length = field("content-length").unwrap_or(0);
        let mut asked = lock(&self.asked);
        if self.way == Way::Down {
            return if asked.head { 0 } else { length };
        }
        let what = match text.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["post", "/api/v1/push"] => Some(What::Push),
            ["post", "/api/v1/pull"] => Some(What::Pull),
            ["patch", _] => Some(What::Photo),
            _ => None,
        };
        *asked = Asked { what, head: text.starts_with("head ") };
        if what == Some(What::Photo) && field("upload-offset").is_some_and(|offset| offset > 0) {
            lock(&self.state.seen).resumed += 1;
        }
        length
    }

    /// After how many bytes of a message of this length the trap springs, if it is for this message.
    fn springs(&self, length: u64) -> Option<u64> {
        let what = lock(&self.asked).what?;
        let mut trap = lock(&self.state.trap);
        let point = &mut trap.as_mut()?.point;
        if (point.what, point.way) != (what, self.way) {
            return None;
        }
        match point.after {
            0 => Some(length * point.permille.min(1_000) / 1_000),
            _ => {
                point.after -= 1;
                None
            }
        }
    }

    /// Sends a piece of a message.
    fn pass(
        &mut self,
        mut piece: &[u8],
        left: &mut u64,
        springs: &mut Option<u64>,
    ) -> Result<(), Over> {
        if let Some(more) = springs {
            let taken = piece.len().min(usize::try_from(*more).unwrap_or(usize::MAX));
            *more -= taken as u64;
            if *more == 0 {
                piece = &piece[..taken];
            }
        }
        *left -= piece.len() as u64;
        let mut pieces = piece.chunks(SEGMENT_BYTES).peekable();
        while let Some(bytes) = pieces.next() {
            let last = pieces.peek().is_none() && *springs == Some(0);
            self.send(bytes, last)?;
        }
        if *springs == Some(0) {
            if piece.is_empty() {
                self.send(&[], true)?;
            }
            return Err(Over);
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8], last: bool) -> Result<(), Over> {
        let line = *lock(&self.state.line);
        let takes = Duration::from_secs(1) * bytes.len() as u32 / line.bytes_per_s;
        let mut lost = 0;
        {
            let mut chance = lock(&self.state.chance);
            while !bytes.is_empty() && chance.percent(line.loss) {
                lost += 1;
            }
        }
        let departs = {
            let mut free = lock(&self.state.free[usize::from(self.way == Way::Down)]);
            *free = (*free).max(now()) + takes * (1 + lost);
            *free
        };
        self.due = self.due.max(departs + line.round_trip / 2 + line.again * lost);
        {
            let mut seen = lock(&self.state.seen);
            seen.lost += u64::from(lost);
            seen.bytes += bytes.len() as u64;
        }
        let last = last.then(|| lock(&self.state.trap).take()).flatten();
        self.silent = last.as_ref().is_some_and(|trap| trap.end == End::Silence);
        let segment = Segment { due: self.due, bytes: bytes.to_vec(), last };
        self.segments.send(segment).map_err(|_| Over)
    }
}
