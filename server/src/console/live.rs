//! The live line of an open page: it says that something was written, and the page asks for itself again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use sync_core::id::OrgId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::app::{App, Poke};
use crate::auth::Viewer;
use crate::error::Problem;
use crate::lines;

/// At most one poke in this time: a page is drawn anew for each.
const POKE_INTERVAL: Duration = Duration::from_secs(1);
/// How often a line on which nothing happens asks whether its session still lasts.
const SESSION_INTERVAL: Duration = Duration::from_secs(60);

struct Line {
    app: Arc<App>,
    viewer: Viewer,
    pokes: Receiver<Poke>,
    pace: Interval,
    session: Interval,
    _open: lines::Line,
}

/// `GET /live`: an event after each commit of the organisation, those in one second as one. Ends with the
/// session, and when that opens more of them than it may.
pub(super) async fn live(
    State(app): State<Arc<App>>,
    mut viewer: Viewer,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let open = app.lines.open(viewer.line(), &viewer.tenant.lines)?;
    viewer.leave_room();
    let mut pace = interval(POKE_INTERVAL);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (pokes, session, stopping) = (app.pokes(), interval(SESSION_INTERVAL), Arc::clone(&app));
    let ended = open.ended();
    let line = Line { _open: open, app, viewer, pokes, pace, session };
    let events = stream::unfold(line, |mut line| async {
        line.next().await.then(|| (Ok(Event::default().data("poke")), line))
    });
    let events = events.take_until(async move {
        tokio::select! {
            () = stopping.stopped() => {}
            () = ended => {}
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(20))))
}

impl Line {
    /// Waits for a poke; `false` when the session is over.
    async fn next(&mut self) -> bool {
        let org = self.viewer.tenant.id;
        loop {
            let poked = tokio::select! {
                poked = poked(&mut self.pokes, org) => poked,
                _ = self.session.tick() => {
                    if !self.viewer.lasts(&self.app).await {
                        return false;
                    }
                    continue;
                }
            };
            if !poked {
                return false;
            }
            self.pace.tick().await;
            while !matches!(self.pokes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed))
            {
            }
            return self.viewer.lasts(&self.app).await;
        }
    }
}

/// Waits for a commit of `org`; `false` when there will be none.
async fn poked(pokes: &mut Receiver<Poke>, org: OrgId) -> bool {
    loop {
        match pokes.recv().await {
            Ok(poke) if poke.org != org => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}
