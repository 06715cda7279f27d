//! One direction of one connection: reads ahead a little, and hands on when and as fast as it may.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::settings::{Cut, Direction, FlowSettings, Settings, Shared};

/// The most bytes that are read at once, and how many such pieces may be on the way: one mebibyte.
const PIECE_BYTES: usize = 16 * 1024;
const PIECES: usize = 64;

/// A throttled direction hands on so many times per second.
const SLICES_PER_SECOND: u64 = 50;

/// Why a connection ended, other than by both peers ending it.
#[derive(Debug)]
pub(super) enum End {
    /// A peer reset it or is gone.
    Broken,
    /// Its last permitted byte went through.
    Cut(Cut),
}

/// What was read and is to be handed on; an empty one is the end.
struct Piece {
    bytes: Vec<u8>,
    read: Instant,
    /// Its part of the jitter, 0 to 1.
    jitter: f64,
}

/// Whether a piece may go on its way.
#[derive(PartialEq, Eq)]
enum Gate {
    Open,
    /// The direction was ended.
    Closed,
}

pub(super) struct Pump<'a> {
    shared: &'a Shared,
    direction: Direction,
    settings: watch::Receiver<Settings>,
    /// How often the direction had been ended when the connection began.
    half_closes: u64,
    /// When a throttled direction may send again.
    free: Instant,
}

impl<'a> Pump<'a> {
    pub(super) fn new(shared: &'a Shared, direction: Direction) -> Self {
        let settings = shared.settings.subscribe();
        let half_closes = settings.borrow().flow(direction).half_closes;
        Self {
            shared,
            direction,
            settings,
            half_closes,
            free: Instant::now(),
        }
    }

    /// Runs until the sender has ended its side and the receiver has been told so.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), End> {
        let (pieces, waiting) = mpsc::channel(PIECES);
        let reading = read(self.shared, from, pieces);
        tokio::try_join!(reading, self.write(waiting, to)).map(drop)
    }

    async fn write(mut self, mut waiting: mpsc::Receiver<Piece>, mut to: WriteHalf<'_>) -> Result<(), End> {
        while let Some(piece) = self.next(&mut waiting).await {
            let mut left = piece.bytes.as_slice();
            if self.pass(&piece).await == Gate::Closed || left.is_empty() {
                break;
            }
            while !left.is_empty() && self.pass(&piece).await == Gate::Open {
                let allowed = self.shared.allowance(self.direction, self.slice(left.len()));
                let written = if allowed == 0 {
                    0
                } else {
                    to.write(&left[..allowed]).await.map_err(|_| End::Broken)?
                };
                left = &left[written..];
                self.charge(written);
                if let Some(how) = self.shared.sent(self.direction, written) {
                    return Err(End::Cut(how));
                }
            }
        }
        // What is read from now on finds nobody waiting for it and goes nowhere.
        to.shutdown().await.map_err(|_| End::Broken)
    }

    /// The next piece; none when the direction was ended.
    async fn next(&mut self, waiting: &mut mpsc::Receiver<Piece>) -> Option<Piece> {
        loop {
            if self.flow().half_closes != self.half_closes {
                return None;
            }
            tokio::select! {
                biased;
                // The sender is in `shared`, which outlives this.
                _ = self.settings.changed() => {}
                piece = waiting.recv() => return piece,
            }
        }
    }

    /// Waits until a piece may be handed on, by what is asked now and not by what was asked when it came.
    async fn pass(&mut self, piece: &Piece) -> Gate {
        loop {
            let flow = self.flow();
            if flow.half_closes != self.half_closes {
                return Gate::Closed;
            }
            if flow.stalled {
                let _ = self.settings.changed().await;
                continue;
            }
            let delay = flow.delay.saturating_add(flow.jitter.mul_f64(piece.jitter));
            let mut due = piece.read.checked_add(delay).unwrap_or_else(far);
            if flow.bytes_per_second.is_some() {
                due = due.max(self.free);
            }
            if due <= Instant::now() {
                return Gate::Open;
            }
            tokio::select! {
                () = sleep_until(due) => {}
                _ = self.settings.changed() => {}
            }
        }
    }

    /// How many of `bytes` are sent in one go.
    fn slice(&mut self, bytes: usize) -> usize {
        let Some(rate) = self.flow().bytes_per_second else {
            return bytes;
        };
        let slice = (rate.get() / SLICES_PER_SECOND).max(1);
        usize::try_from(slice).map_or(bytes, |slice| bytes.min(slice))
    }

    /// Notes when a throttled direction may send again.
    fn charge(&mut self, bytes: usize) {
        if let Some(rate) = self.flow().bytes_per_second {
            let begins = self.free.max(Instant::now());
            self.free = begins.checked_add(time_for(bytes, rate)).unwrap_or_else(far);
        }
    }

    fn flow(&mut self) -> FlowSettings {
        *self.settings.borrow_and_update().flow(self.direction)
    }
}

async fn read(shared: &Shared, mut from: ReadHalf<'_>, pieces: mpsc::Sender<Piece>) -> Result<(), End> {
    loop {
        let mut bytes = vec![0; PIECE_BYTES];
        let count = from.read(&mut bytes).await.map_err(|_| End::Broken)?;
        bytes.truncate(count);
        bytes.shrink_to_fit();
        let piece = Piece {
            bytes,
            read: Instant::now(),
            jitter: shared.draw(),
        };
        // Nobody takes it when the direction was ended: it goes nowhere, and the sender is not held up.
        let _ = pieces.send(piece).await;
        if count == 0 {
            return Ok(());
        }
    }
}

fn time_for(bytes: usize, rate: NonZeroU64) -> Duration {
    let nanos = (bytes as u128 * 1_000_000_000).div_ceil(u128::from(rate.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// As good as never: the clock cannot say more.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(365 * 24 * 3600)
}
