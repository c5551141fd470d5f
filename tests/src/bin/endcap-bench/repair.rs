//! A device that holds many documents: a sync in which nothing changed, one that brings a thousand changes, and one
//! that finds and mends what its disk has lost.

use std::sync::Arc;

use endcap_mobile::Client;
use rusqlite::Connection;
use serde_json::json;
use sync_core::id::LogHash;
use sync_core::wire::{Group, Outcome, PROTOCOL, PushReply, PushRequest, from_wire, to_wire};

use crate::audit::{self, Dice};
use crate::{Failure, Sender, moment, now, phone, proxy, serve};

/// Documents of one push.
const BATCH: usize = 500;
/// Changes of the delta: six for each audit.
const DELTA: u32 = 1_000;
/// Where the library's store keeps documents.
const DOCUMENTS: i64 = 1;

/// Somebody who writes a lot.
struct Author {
    sender: Sender,
    server: String,
    http: reqwest::Client,
    previous: Option<LogHash>,
}

impl Author {
    async fn push(&mut self, groups: Vec<Group>) -> Result<(), Failure> {
        let (now, previous, notes) = (moment(1 << 40), self.previous, Vec::new());
        let push = PushRequest { protocol: PROTOCOL, now, previous, groups, notes };
        let bytes = to_wire(audit::org(), &push);
        self.previous = Some(LogHash::of(&bytes));
        let reply = self
            .http
            .post(format!("{}/api/v1/push", self.server))
            .bearer_auth(&self.sender.token)
            .header("content-type", sync_core::wire::MEDIA_TYPE)
            .body(bytes)
            .send()
            .await?
            .error_for_status()?;
        let reply: PushReply = from_wire(audit::org(), &reply.bytes().await?)?;
        match reply.outcomes.iter().all(|o| *o == Outcome::Accepted {}) {
            true => Ok(()),
            false => Err(format!("not accepted: {:?}", reply.outcomes).into()),
        }
    }
}

/// The first two changes of an audit: a start and a screen.
fn begun(sender: &Sender, visit: u32, dice: &mut Dice) -> Result<Group, Failure> {
    let mut group = sender.audit(visit, dice)?;
    group.changes.truncate(2);
    let head = group.changes[1].hash();
    group.seals = vec![sender.keypair.seal(audit::org(), group.document, head)];
    Ok(group)
}

pub(crate) async fn repair(documents: u32, differences: u32) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(1_000, 2).await?;
    let server = format!("http://{}", target.address);
    let sender = Sender::enrol(audit::org(), &server, &codes[1], audit::rep(1), 1).await?;
    let http = reqwest::Client::new();
    let mut author = Author { sender, server, http, previous: None };
    eprintln!("writing {documents} documents ...");
    let mut dice = Dice::new(3);
    let visits: Vec<u32> = (0..documents).collect();
    for visits in visits.chunks(BATCH) {
        let groups = visits.iter().map(|v| begun(&author.sender, *v, &mut dice));
        author.push(groups.collect::<Result<_, _>>()?).await?;
    }
    let (proxy, count) = proxy::start(target.address)?;
    let client = phone(&folder, "a", &format!("http://{proxy}"), &codes[0]).await?;
    count.take();
    eprintln!("first sync ...");
    let began = now();
    Arc::clone(&client).sync(None, None).await?;
    let (first_s, first) = (began.elapsed().as_secs_f64(), count.take());
    let began = now();
    Arc::clone(&client).sync(None, None).await?;
    let (nothing_s, nothing) = (began.elapsed().as_secs_f64(), count.take());
    eprintln!("{DELTA} changes ...");
    let audits = documents..documents + DELTA.div_ceil(6);
    let groups = audits.clone().map(|visit| author.sender.audit(visit, &mut dice));
    author.push(groups.collect::<Result<_, _>>()?).await?;
    let began = now();
    let delta_report = Arc::clone(&client).sync(None, None).await?;
    let (delta_s, delta) = (began.elapsed().as_secs_f64(), count.take());
    eprintln!("{differences} documents are lost ...");
    client.count_anew()?;
    drop(client);
    let path = folder.0.join("a");
    let lost = Connection::open(path.join("endcap.db"))?.execute(
        "DELETE FROM item WHERE space = ?1 AND name IN
             (SELECT name FROM item WHERE space = ?1 ORDER BY name LIMIT ?2)",
        (DOCUMENTS, differences),
    )?;
    let client = Client::open(path.display().to_string(), vec![7; 32])?;
    let began = now();
    let report = Arc::clone(&client).sync(None, None).await?;
    let (repair_s, repair) = (began.elapsed().as_secs_f64(), count.take());
    if report.mended as usize != lost {
        return Err(format!("{lost} were lost, and {} mended", report.mended).into());
    }
    let began = now();
    client.count_anew()?;
    let again = Arc::clone(&client).sync(None, None).await?;
    let count_s = began.elapsed().as_secs_f64();
    if again.mended > 0 || count.take().requests != 1 {
        return Err("it was not whole after the repair".into());
    }
    drop(client);
    target.stop()?;
    Ok(json!({
        "documents": documents,
        "first_sync_s": first_s,
        "first_sync_bytes": first.body,
        "nothing_bytes": nothing.body,
        "nothing_requests": nothing.requests,
        "nothing_s": nothing_s,
        "delta_changes": delta_report.pulled,
        "delta_bytes": delta.body,
        "delta_requests": delta.requests,
        "delta_s": delta_s,
        "differences": lost,
        "bytes": repair.body,
        "rounds": repair.requests - 1,
        "repair_s": repair_s,
        "count_s": count_s,
    }))
}
