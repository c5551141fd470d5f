//! Two phones meet: what one cannot bring to the server the other carries. docs/protocol.md is the norm.

use std::sync::{Arc, Mutex, PoisonError};

use sync_core::relay;

use crate::client::Client;
use crate::enrol::keypair;
use crate::replica::{OWN, apply, own};
use crate::shown::name_of;
use crate::store::random;
use crate::types::{ClientError, Declined, MeetingReport};

/// One meeting with a colleague's device, over any ordered stream of bytes: Bluetooth, Wi-Fi, a cable. The app owns
/// the line; this says what to send and takes what came. Documents go over first, then their photos, as far as the other
/// side has room: a photo of more than a megabyte waits for a network.
///
/// Send what `begin` gives. Then read from the line, pass every piece to `hear` and send what that returns, until
/// `done`. Whatever cuts the line, what was taken until then stays. Read while you send: both sides may have a
/// megabyte to say at once.
#[derive(uniffi::Object)]
pub struct Meeting {
    client: Arc<Client>,
    hello: Vec<u8>,
    state: Mutex<State>,
}

struct State {
    meeting: relay::Meeting,
    /// The store failed: what was heard since is not on the disk.
    failed: bool,
}

#[uniffi::export]
impl Client {
    /// Begins to meet a colleague's device. Needs no network, and an enrolment that has synced once. Blocks.
    pub fn meet(self: Arc<Self>) -> Result<Arc<Meeting>, ClientError> {
        let nonce = random()?;
        if self.store.read(|reader| reader.get(OWN, own::FORMER_SEED))?.is_some() {
            // Nobody knows the key that this device signs with.
            return Err(ClientError::Refused {
                code: "key_changing".into(),
                detail: "this device is changing its key: sync first".into(),
            });
        }
        let (meeting, hello) = self.view(|view| Ok(relay::Meeting::begin(&view.profile, nonce)))?;
        let state = Mutex::new(State { meeting, failed: false });
        Ok(Arc::new(Meeting { client: self, hello, state }))
    }
}

#[uniffi::export]
impl Meeting {
    /// What is to be sent first.
    pub fn begin(&self) -> Vec<u8> {
        self.hello.clone()
    }

    /// Takes in what the line brought, in pieces of any length; returns what is to be sent, maybe nothing. What was
    /// taken is on the disk when it returns. Blocks, once for seconds where hundreds of photos wait and are sealed to be
    /// offered. After an error the meeting is over.
    pub fn hear(&self, bytes: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failed {
            return Ok(Vec::new());
        }
        let clocks = self.client.clock.read();
        let heard = self.client.change(|view, writer| {
            let (mut meeting, keypair) = (state.meeting.clone(), keypair(writer)?);
            let turn = meeting.hear(view, &keypair, &clocks, &bytes)?;
            apply(writer, turn.writes)?;
            Ok((meeting, turn.say))
        });
        state.failed = heard.is_err();
        let (meeting, say) = heard?;
        state.meeting = meeting;
        Ok(say)
    }

    /// Whether it is over. What `hear` returned last is still to be sent.
    pub fn done(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed || state.meeting.end().is_some()
    }

    /// How it went so far. Blocks.
    pub fn report(&self) -> Result<MeetingReport, ClientError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (report, end) = (state.meeting.report(), state.meeting.end().cloned());
        let failed = state.failed;
        drop(state);
        let reasons = |reasons: std::collections::BTreeMap<String, u32>| {
            reasons.into_iter().map(|(code, parcels)| Declined { code, parcels }).collect()
        };
        let complete = matches!(end, Some(Ok(())));
        let (broken, detail) = match end {
            Some(Err(broken)) => (Some(broken.code().to_owned()), broken.to_string()),
            _ if failed => (Some("failed".to_owned()), "this device could not store it".to_owned()),
            _ => (None, String::new()),
        };
        let colleague = match report.with {
            Some(device) => Some(self.client.view(|view| Ok(name_of(view, device)?))?),
            None => None,
        };
        Ok(MeetingReport {
            colleague,
            given: report.given,
            to_give: report.open,
            taken: report.taken,
            to_take: report.wanted,
            declined: reasons(report.declined),
            refused: reasons(report.refused),
            complete,
            broken,
            detail,
        })
    }
}
