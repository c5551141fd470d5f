//! Asks witnesses to sign the checkpoints of logs, by <https://c2sp.org/tlog-witness>.
//!
//! It happens beside the work, from time to time, and nothing waits for it: a log whose witnesses are away goes on, and
//! what they have signed grows old.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, StatusCode};
use sync_core::evidence::Cursor;
use sync_core::tlog::{NOTE_BYTES_MAX, NoteKey, Signs};
use sync_core::witness::Submission;

use crate::app::{App, Tenant};
use crate::config::is_authority;
use crate::network;
use crate::now_ms;
use crate::store::witnesses::{self, Cosignature};
use crate::store::{StoreError, log};

/// How often it is looked whether there is something to sign.
const INTERVAL: Duration = Duration::from_secs(10);
/// A signature that is older than this is made anew although nothing was written since: it says that nothing was.
const FRESH_MS: i64 = 3_600_000;
/// A witness that did not sign is not asked again before this.
const RETRY_MS: i64 = 60_000;
const TIMEOUT: Duration = Duration::from_secs(20);
/// How many organisations' logs are shown to witnesses at once.
const LOGS_AT_ONCE: usize = 8;
/// How often a witness is asked in a row for one log: again if it has seen more or less of it than was thought.
const ASKS_MAX: u32 = 3;
/// Most witnesses of a server.
const WITNESSES_MAX: usize = 16;

/// Somebody who signs checkpoints, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What it signs with.
    pub key: NoteKey,
    /// What `/add-checkpoint` is added to.
    pub url: String,
}

/// Why a list of witnesses does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {what}; each line is a witness's key (name+id+key), a blank, and its address"
)]
pub struct BadWitness {
    /// Which line, from 1 on; 0 if it is about all of them.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// The witnesses of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnesses(pub Vec<Witness>);

/// Reads a list: a witness a line; empty lines and those that begin with `#` say nothing.
impl FromStr for Witnesses {
    type Err = BadWitness;

    fn from_str(text: &str) -> Result<Self, BadWitness> {
        let mut all: Vec<Witness> = Vec::new();
        for (line, said) in (1..).zip(text.lines()) {
            let bad = |what| BadWitness { line, what };
            if said.trim().is_empty() || said.starts_with('#') {
                continue;
            }
            let mut words = said.split_whitespace();
            let (Some(key), Some(url), None) = (words.next(), words.next(), words.next()) else {
                return Err(bad("it is not a key and an address"));
            };
            let key: NoteKey = key.parse().map_err(|_| bad("the key does not read"))?;
            if key.signs() != Signs::Cosignature {
                return Err(bad("the key is no witness's"));
            }
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let host = host.and_then(|rest| rest.split('/').next());
            if !host.is_some_and(is_authority) {
                return Err(bad("the address is no https:// or http:// URL"));
            }
            if all.iter().any(|other| other.key == key) {
                return Err(bad("this witness is there twice"));
            }
            all.push(Witness { key, url: url.trim_end_matches('/').to_owned() });
        }
        match all.len() <= WITNESSES_MAX {
            true => Ok(Self(all)),
            false => Err(BadWitness { line: 0, what: "there are more than 16 witnesses" }),
        }
    }
}

/// What a witness answers.
enum Answer {
    /// It has signed: its line, and when by its own clock.
    Signed(String, u64),
    /// It has signed a checkpoint over so many lines last, not the one that it was thought to.
    Has(u64),
    /// It does not sign, and why.
    Refused(String),
    /// It cannot be reached, and why.
    Away(String),
}

/// Once round the logs and the witnesses.
struct Round<'a> {
    app: &'a App,
    http: Client,
    now_ms: i64,
    /// Why each witness cannot be reached: it is waited for once, and not once for each log.
    away: Vec<OnceLock<String>>,
}

impl Witnesses {
    /// The keys that they sign with.
    pub fn keys(&self) -> Vec<NoteKey> {
        self.0.iter().map(|witness| witness.key.clone()).collect()
    }

    /// Asks each witness for what it has not signed of each log. What goes wrong with one log is said, and keeps no other
    /// from its signatures.
    pub async fn ask(&self, app: &App, now_ms: i64) {
        if self.0.is_empty() {
            return;
        }
        // Fails only if another provider is installed, which is then used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made =
            Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build();
        let http = match made {
            Ok(http) => http,
            Err(error) => {
                tracing::error!(%error, "witnesses cannot be asked");
                return;
            }
        };
        let away = self.0.iter().map(|_| OnceLock::new()).collect();
        let round = &Round { app, http, now_ms, away };
        let each = |tenant: Arc<Tenant>| async move {
            if let Err(error) = self.ask_for(round, &tenant).await {
                tracing::error!(organisation = %tenant.id, %error, "what witnesses say could not be kept");
            }
        };
        stream::iter(app.tenants()).for_each_concurrent(LOGS_AT_ONCE, each).await;
    }

    /// Asks all for the same checkpoint of a log, and keeps what they say together: who looks for the signatures of several
    /// finds them under one size. So the slowest one is waited for, as long as [`TIMEOUT`] says.
    async fn ask_for(&self, round: &Round<'_>, tenant: &Arc<Tenant>) -> Result<(), StoreError> {
        let (org, store) = (tenant.org, &round.app.store);
        let read = store.read(move |connection| {
            Ok((log::head(connection, org)?, witnesses::cosignatures(connection, org)?))
        });
        let (at, known) = read.await?;
        let asked = self.0.iter().zip(&round.away).map(|(witness, away)| {
            let mut known = known.iter();
            let before = known.find(|said| said.witness == witness.key && said.life == at.origin);
            witness.ask(round, away, tenant, at, before)
        });
        let (mut said, mut failed) = (Vec::new(), Ok(()));
        for answer in join_all(asked).await {
            match answer {
                Ok(more) => said.extend(more),
                Err(error) => failed = Err(error),
            }
        }
        if !said.is_empty() {
            let write = store.write_for(org, move |tx| {
                said.iter().try_for_each(|said| witnesses::put(tx, org, said))
            });
            write.await?;
        }
        failed
    }
}

impl Witness {
    /// What it says when it is asked for this checkpoint, if it is to be asked.
    async fn ask(
        &self,
        round: &Round<'_>,
        away: &OnceLock<String>,
        tenant: &Arc<Tenant>,
        mut at: Cursor,
        before: Option<&Cosignature>,
    ) -> Result<Option<Cosignature>, StoreError> {
        let Round { app, http, now_ms, .. } = round;
        if before.is_some_and(|before| !before.is_due(at.sequence, *now_ms)) {
            return Ok(None);
        }
        let (org, id) = (tenant.org, tenant.id);
        let (mut old, mut asks) = (before.map_or(0, |before| before.size), 0);
        let refused = loop {
            if let Some(why) = away.get() {
                break why.clone();
            }
            let asking = Arc::clone(tenant);
            let read = app.store.read(move |connection| {
                witnesses::submission(connection, org, id, &at, old, &asking.log_key)
            });
            asks += 1;
            match self.submit(http, &read.await?).await {
                Answer::Signed(line, seconds) => {
                    return Ok(Some(Cosignature {
                        witness: self.key.clone(),
                        life: at.origin,
                        size: at.sequence,
                        signed: Some((line, seconds)),
                        asked_ms: *now_ms,
                        refused: None,
                    }));
                }
                Answer::Has(size) => {
                    // Anybody may have shown it what was written since: checkpoints are public.
                    if size > at.sequence {
                        at = app.head(tenant).await?;
                    }
                    if size > at.sequence || size == at.sequence && size == old {
                        break format!(
                            "it has signed {size} lines of this log, which has {} or has others: THIS SERVER WENT BACK",
                            at.sequence
                        );
                    }
                    if size == old || asks == ASKS_MAX {
                        break format!("it says to have signed {size} lines");
                    }
                    // It has as many when its answer was lost, or when somebody else has asked it first.
                    old = size;
                }
                Answer::Refused(why) => break why,
                Answer::Away(why) => break away.get_or_init(|| why).clone(),
            }
        };
        tracing::warn!(witness = self.key.name(), organisation = %id, why = refused, "a witness does not sign");
        Ok(Some(Cosignature {
            witness: self.key.clone(),
            life: at.origin,
            size: before.map_or(0, |before| before.size),
            signed: before.and_then(|before| before.signed.clone()),
            asked_ms: *now_ms,
            refused: Some(refused),
        }))
    }

    async fn submit(&self, http: &Client, asked: &Submission) -> Answer {
        let refused = |why: &str| Answer::Refused(why.to_owned());
        let request = http.post(format!("{}/add-checkpoint", self.url)).body(asked.to_string());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Answer::Away(format!("it cannot be reached: {}", network::cause(&error)));
            }
        };
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_size = kind.is_some_and(|kind| kind.starts_with("text/x.tlog.size"));
        let body = match text(response).await {
            Ok(Some(body)) => body,
            Ok(None) => return refused("its answer is too long or no text"),
            Err(error) => {
                return Answer::Away(format!("its answer is cut off: {}", network::cause(&error)));
            }
        };
        match status {
            StatusCode::OK => body
                .lines()
                .find_map(|line| Some((line, asked.note.with(line, &self.key)?)))
                .and_then(|(line, note)| Some((line, note.signed_by(&self.key)?)))
                .map_or(refused("its signature does not verify"), |(line, seconds)| {
                    Answer::Signed(line.to_owned(), seconds)
                }),
            StatusCode::CONFLICT if is_size => match body.trim_end().parse() {
                Ok(size) => Answer::Has(size),
                Err(_) => refused("it does not say how many lines it has signed"),
            },
            StatusCode::NOT_FOUND => refused("it does not watch this log: give it the log's key"),
            StatusCode::FORBIDDEN => refused("it knows another key of this log"),
            StatusCode::UNPROCESSABLE_ENTITY => refused(
                "it says that the log does not continue what it has signed: THIS SERVER WENT BACK",
            ),
            other => Answer::Refused(format!("it answers {other}")),
        }
    }
}

impl Cosignature {
    /// Whether its witness is to be asked again, now that the log has so many lines.
    fn is_due(&self, lines: u64, now_ms: i64) -> bool {
        // A clock that was set back holds nothing up.
        let since = now_ms.saturating_sub(self.asked_ms).unsigned_abs();
        match &self.refused {
            Some(_) => since >= RETRY_MS.unsigned_abs(),
            None => self.size != lines || since >= FRESH_MS.unsigned_abs(),
        }
    }
}

/// An answer's body; `None` if it is too long for a witness's answer, or no text.
async fn text(mut response: reqwest::Response) -> reqwest::Result<Option<String>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > NOTE_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8(body).ok())
}

/// Asks from time to time until the server stops.
pub async fn keep_asking(app: Arc<App>, witnesses: Witnesses) {
    let mut turns = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            () = app.stopped() => break,
        }
        tokio::select! {
            () = witnesses.ask(&app, now_ms()) => {}
            () = app.stopped() => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_witnesses() {
        let vkey = |name| NoteKey::new(name, Signs::Cosignature, [7; 32]).unwrap().to_string();
        let (one, two) = (vkey("w.example/1"), vkey("w.example/2"));
        let text = format!("# ours\n{one} https://w.example/\n\n{two}  http://127.0.0.1:9/w\n");
        let Witnesses(all) = text.parse().unwrap();
        assert_eq!(
            (all[0].key.to_string(), all[0].url.as_str()),
            (one.clone(), "https://w.example")
        );
        assert_eq!((all[1].key.to_string(), all[1].url.as_str()), (two, "http://127.0.0.1:9/w"));
        let log = NoteKey::new("a.log", Signs::Note, [7; 32]).unwrap();
        for bad in [
            one.clone(),
            format!("{one} w.example"),
            format!("{one} https://"),
            format!("{one} https://w.example more"),
            format!("{one}x https://w.example"),
            format!("{log} https://w.example"),
            format!("{one} https://w.example\n{one} https://w.example/other"),
        ] {
            let read = bad.parse::<Witnesses>();
            assert!(read.is_err_and(|bad| bad.line > 0), "{bad}");
        }
        assert_eq!("".parse(), Ok(Witnesses::default()));
    }

    #[test]
    fn a_witness_is_asked_when_there_is_something_to_sign() {
        let witness = NoteKey::new("w", Signs::Cosignature, [7; 32]).unwrap();
        let life = sync_core::id::LogOrigin::from_bytes([1; 16]);
        let signed = Some((String::new(), 0));
        let mut said =
            Cosignature { witness, life, size: 7, signed, asked_ms: 1_000, refused: None };
        assert!(!said.is_due(7, 2_000) && said.is_due(8, 2_000));
        assert!(said.is_due(7, 1_000 + FRESH_MS) && said.is_due(7, 1_000 - FRESH_MS));
        said.refused = Some("away".into());
        assert!(!said.is_due(8, 2_000) && said.is_due(8, 1_000 + RETRY_MS));
    }
}
