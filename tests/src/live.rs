//! The brand on a real server, and phones that sync with it over HTTP.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rusqlite::params;
use server::app::{App, Tenant};
use server::store::{StoreError, accounts};
use sync_core::id::{Actor, DeviceId, LogHash, UserId};
use sync_core::model::catalogue::{self, Record};
use sync_core::session::{Step, Stop};
use sync_core::wire::MEDIA_TYPE;

use crate::backend::Refused;
use crate::brand::{self, ORG};
use crate::device::{Answer, Crash, Device, Question, Turn};

/// The token of a phone.
pub fn token(device: &Device) -> String {
    format!("token of {}", device.id)
}

/// Makes the brand's organisation in a fresh folder and enrols these phones.
pub async fn found(folder: &Path, devices: &[&Device]) -> (Arc<App>, Arc<Tenant>) {
    let app = App::open(folder.to_owned()).await.expect("the folder opens");
    let tenant = app.create(ORG, "Nordic Oats").await.expect("an organisation");
    let mut records = brand::records();
    for device in devices {
        let (id, user, key) = (device.id, device.user, device.keypair.public());
        records.push(Record::Device(catalogue::Device {
            id,
            user,
            key,
            revoked: false,
            lost_ms: None,
        }));
        let (org, token) = (tenant.org, LogHash::of(token(device).as_bytes()).0);
        let enrol = app.store.write(move |tx| -> Result<(), StoreError> {
            tx.execute(
                "INSERT INTO device (org, device, user, key, fingerprint, token, label, enrolled_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'phone', 0)",
                params![
                    org,
                    id.as_bytes(),
                    user.as_bytes(),
                    key,
                    Actor::fingerprint(&key),
                    token
                ],
            )?;
            Ok(())
        });
        enrol.await.expect("a phone is enrolled");
    }
    app.write_records(&tenant, records).await.expect("the brand's records");
    (app, tenant)
}

/// A person's phones are withdrawn.
pub async fn withdraw(app: &App, tenant: &Arc<Tenant>, person: UserId) {
    let (org, now_ms) = (tenant.org, server::now_ms());
    let world = tenant.world();
    let theirs = world.devices.values().filter(|device| device.user == person).cloned();
    let theirs: Vec<catalogue::Device> = theirs.collect();
    let ids: Vec<DeviceId> = theirs.iter().map(|device| device.id).collect();
    let revoked = |device| Record::Device(catalogue::Device { revoked: true, ..device });
    let records = theirs.into_iter().map(revoked).collect();
    let revoked = app.write_records_with(tenant, records, move |ledger, _| {
        ids.iter().try_for_each(|id| accounts::revoke(ledger.tx, org, *id, now_ms).map(drop))
    });
    revoked.await.expect("they are withdrawn");
}

/// An HTTP client, which follows no redirects. Its TLS is never used.
pub fn http() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default(); // another was first
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    client.build().expect("an HTTP client")
}

/// A phone's whole sync over HTTP. `acknowledged` hears of each push that was answered.
pub async fn sync(
    http: &reqwest::Client,
    address: SocketAddr,
    device: &mut Device,
    mut acknowledged: impl FnMut(&[u8], &[u8]),
) -> Step {
    device.give_up();
    let now_ms = server::now_ms();
    let Some((mut number, mut question)) = device.sync(now_ms) else {
        return Step::Stop(Stop::Unreachable);
    };
    loop {
        let (path, bytes) = (question.path(), question.bytes().to_vec());
        let request = http
            .post(format!("http://{address}/api/v1/{path}"))
            .header("Authorization", format!("Bearer {}", token(device)))
            .header("Content-Type", MEDIA_TYPE)
            .body(bytes);
        let answered = async {
            let response = request.send().await?;
            let status = response.status();
            Ok::<_, reqwest::Error>((status, response.bytes().await?.to_vec()))
        };
        let answer = match answered.await {
            Ok((status, body)) if status.is_success() => {
                if let Question::Push(bytes) = &question {
                    acknowledged(bytes, &body);
                }
                question.answered(body)
            }
            Ok((status, body)) => {
                let problem = String::from_utf8_lossy(&body);
                assert!(status.as_u16() == 503, "{path}: {status} {problem}");
                Answer::Refused(Refused::Crashed)
            }
            Err(_) => Answer::Refused(Refused::Crashed),
        };
        match device.hear(number, &answer, server::now_ms(), Crash::Never) {
            None => return Step::Stop(Stop::Unreachable),
            Some((Turn::Over(step), _)) => return step,
            Some((Turn::Asks, next)) => (number, question) = next.expect("it asks something"),
        }
    }
}
