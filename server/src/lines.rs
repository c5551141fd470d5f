//! Live lines: each holds a connection for hours, so that it is counted whose they are.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::gauge::Gauge;
use sync_core::id::DeviceId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::error::Problem;
use crate::limits::{LINES_MAX, LINES_OF_DEVICE_MAX, LINES_OF_SESSION_MAX, too_many_lines};
use crate::store::accounts::SecretHash;

/// Whose a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A phone's.
    Device(DeviceId),
    /// A page's, by its session.
    Session(SecretHash),
}

/// The lines that are open, and how each is ended.
type Open = Mutex<HashMap<Holder, VecDeque<Arc<Notify>>>>;

/// All live lines.
pub struct Lines {
    open: Arc<Open>,
    room: Arc<Semaphore>,
    gauge: Gauge,
}

/// A line that is open. Dropped, it is closed.
pub struct Line {
    holder: Holder,
    open: Arc<Open>,
    end: Arc<Notify>,
    gauge: Gauge,
    _room: [OwnedSemaphorePermit; 2],
}

impl Lines {
    /// None yet; `gauge` counts them.
    pub fn new(gauge: Gauge) -> Self {
        Self { open: Arc::default(), room: Arc::new(Semaphore::new(LINES_MAX)), gauge }
    }

    /// Opens a line, in the room of its organisation. The oldest of a holder that has as many as it may have ends: a phone that has lost its network
    /// comes back before the server hears of it.
    ///
    /// # Errors
    /// `busy` (503) when there is room for no more, or for none of this organisation's.
    pub fn open(&self, holder: Holder, of_one: &Arc<Semaphore>) -> Result<Line, Problem> {
        let most = match holder {
            Holder::Device(_) => LINES_OF_DEVICE_MAX,
            Holder::Session(_) => LINES_OF_SESSION_MAX,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(older) = open.get_mut(&holder).filter(|older| older.len() >= most)
            && let Some(oldest) = older.pop_front()
        {
            oldest.notify_one();
        }
        let of_one = Arc::clone(of_one).try_acquire_owned();
        let (Ok(of_one), Ok(of_all)) = (of_one, Arc::clone(&self.room).try_acquire_owned()) else {
            return Err(too_many_lines());
        };
        let end = Arc::new(Notify::new());
        open.entry(holder).or_default().push_back(Arc::clone(&end));
        let gauge = self.gauge.clone();
        gauge.inc();
        Ok(Line { holder, open: Arc::clone(&self.open), end, gauge, _room: [of_one, of_all] })
    }
}

impl Line {
    /// Waits until a newer line takes the place of this one.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let end = Arc::clone(&self.end);
        async move { end.notified().await }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.gauge.dec();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = open.get_mut(&self.holder) {
            lines.retain(|line| !Arc::ptr_eq(line, &self.end));
            if lines.is_empty() {
                open.remove(&self.holder);
            }
        }
    }
}
