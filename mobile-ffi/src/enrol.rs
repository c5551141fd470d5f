//! Enrolment, and going on with another key. docs/protocol.md is the norm.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use sync_core::cbor::to_cbor;
use sync_core::client::{Profile, Replica};
use sync_core::evidence::{Keypair, LogKey};
use sync_core::id::DeviceId;
use sync_core::receipt::Watch;
use sync_core::upkeep::renew;
use sync_core::wire::PROTOCOL;
use zeroize::Zeroizing;

use crate::client::{Client, Server, read_cbor};
use crate::photo::Vault;
use crate::replica::{OWN, View, apply, own};
use crate::store::{Reader, StoreError, Writer, random};
use crate::sync::{exchange, http, limited, problem, unreachable};
use crate::types::{ClientError, Enrolment, invalid};

#[derive(Deserialize)]
struct Enrolled {
    organisation: Named,
    user: Named,
    device: String,
    token: String,
    /// What signs the log's checkpoints. A server that says nothing of it says it with the first of them.
    log_key: Option<String>,
}

#[derive(Deserialize)]
struct Spoken {
    protocol: u32,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    name: String,
}

impl Enrolled {
    /// What the server says of who this device is from now on.
    async fn read(response: reqwest::Response) -> Result<Self, ClientError> {
        let bytes = limited(response, 64 * 1024).await?;
        let unreadable =
            |error: serde_json::Error| ClientError::BadAnswer { detail: error.to_string() };
        // Another version may say the rest otherwise.
        let Spoken { protocol } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if protocol != PROTOCOL {
            let detail = format!("the server speaks protocol {protocol}");
            return Err(ClientError::Incompatible { detail });
        }
        serde_json::from_slice(&bytes).map_err(unreadable)
    }

    /// Takes it in, in a folder that is this person's or nobody's.
    fn apply(
        self,
        writer: &Writer<'_>,
        vault: &Vault,
        key: [u8; 32],
        url: String,
    ) -> Result<Enrolment, ClientError> {
        let (org, user) = (self.organisation.id.parse()?, self.user.id.parse()?);
        if keypair(writer)?.public() != key {
            let detail = "it knows another key than this folder has".into();
            return Err(ClientError::BadAnswer { detail });
        }
        let device: DeviceId = self.device.parse()?;
        let profile = match View::open(writer, vault)? {
            None => {
                let said = self.log_key.and_then(|key| URL_SAFE_NO_PAD.decode(key).ok());
                let log_key = said.and_then(|key| key.try_into().ok()).map(LogKey);
                let watch = Some(Watch { key: log_key, ..Watch::default() });
                Profile { watch, ..Profile::enrolled(org, user, device, key, random()?) }
            }
            Some(view) if (view.profile.org, view.profile.user) != (org, user) => {
                return Err(ClientError::AlreadyEnrolled);
            }
            Some(view) if view.profile.device == device => view.profile,
            Some(view) => Profile { device, pushed: None, ..view.profile },
        };
        let server = Server {
            url,
            token: self.token,
            organisation_name: self.organisation.name,
            user_name: self.user.name,
        };
        writer.put(OWN, own::PROFILE, &to_cbor(&profile))?;
        writer.put(OWN, own::SERVER, &to_cbor(&server))?;
        writer.delete(OWN, own::FORMER_SEED)?;
        let view = View::open(writer, vault)?.ok_or(ClientError::NotEnrolled)?;
        Ok(server.enrolment(&view))
    }
}

fn seed(reader: &Reader<'_>, name: &[u8]) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
    let Some(seed) = reader.get(OWN, name)?.map(Zeroizing::new) else { return Ok(None) };
    let seed = seed.as_slice().try_into().map_err(|_| StoreError::Damaged("the key".into()))?;
    Ok(Some(Zeroizing::new(seed)))
}

/// The key that this folder signs with.
pub(crate) fn keypair(reader: &Reader<'_>) -> Result<Keypair, ClientError> {
    let seed = seed(reader, own::SEED)?.ok_or(ClientError::NotEnrolled)?;
    Ok(Keypair::from_seed(&seed))
}

/// Draws another key, stored before anybody hears of it. What waits is sealed with the one before.
fn next_key(writer: &Writer<'_>, vault: &Vault) -> Result<(), ClientError> {
    let seed = Zeroizing::new(random::<32>()?);
    if let Some(view) = View::open(writer, vault)? {
        let (before, next) = (keypair(writer)?, Keypair::from_seed(&seed));
        apply(writer, renew(&view, &before, &next, random()?)?)?;
    }
    writer.put(OWN, own::SEED, &seed[..])?;
    Ok(())
}

fn address(server: &str) -> Result<String, ClientError> {
    let url = reqwest::Url::parse(server)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
        .ok_or_else(|| invalid("server", "needs an address such as https://endcap.example"))?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Keeps where the server is from now on.
pub(crate) fn server_moved(client: &Client, server: &str) -> Result<(), ClientError> {
    let url = address(server)?;
    client.store.write(|writer| {
        let known = writer.get(OWN, own::SERVER)?.ok_or(ClientError::NotEnrolled)?;
        let server = Server { url: url.clone(), ..read_cbor(&known)? };
        Ok(writer.put(OWN, own::SERVER, &to_cbor(&server))?)
    })
}

pub(crate) async fn enrol(
    client: &Client,
    server: &str,
    code: &str,
    label: &str,
) -> Result<Enrolment, ClientError> {
    let url = address(server)?;
    // Two at once would each draw a key, and the one that is kept need not be the one that the server knows.
    let _running = client.syncing.begin()?;
    if has_access(client).await? {
        return Err(ClientError::AlreadyEnrolled);
    }
    let code = code.trim().to_ascii_uppercase();
    let mut another = false;
    loop {
        // The key is stored before it is sent: should the answer get lost, the same key asks again.
        let keypair = client.past_damage(|| {
            client.store.write(|writer| {
                if another || writer.get(OWN, own::SEED)?.is_none() {
                    next_key(writer, &client.vault)?;
                }
                keypair(writer)
            })
        })?;
        let body = serde_json::json!({
            "code": code,
            "key": URL_SAFE_NO_PAD.encode(keypair.public()),
            "proof": URL_SAFE_NO_PAD.encode(keypair.prove(&code)),
            "label": label,
        });
        let response = http()?
            .post(format!("{url}/api/v1/enrol"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send()
            .await
            .map_err(unreachable)?;
        if response.status().is_success() {
            let enrolled = Enrolled::read(response).await?;
            return client
                .store
                .write(|writer| enrolled.apply(writer, &client.vault, keypair.public(), url));
        }
        match problem(response).await {
            // The one that this folder has was withdrawn, or it is another person's here.
            (_, kind, _) if kind == "key_taken" && !another => another = true,
            (_, _, error) => return Err(error),
        }
    }
}

/// Whether the server still knows this folder's device.
async fn has_access(client: &Client) -> Result<bool, ClientError> {
    let server = client.store.read(|reader| reader.get(OWN, own::SERVER))?;
    let Some(server) = server else { return Ok(false) };
    let server: Server = read_cbor(&server)?;
    let request = http()?
        .post(format!("{}/api/v1/photos/missing", server.url))
        .header(AUTHORIZATION, format!("Bearer {}", server.token))
        .header(CONTENT_TYPE, "application/json")
        .body(r#"{"hashes":[]}"#);
    let response = request.send().await.map_err(unreachable)?;
    if response.status().is_success() {
        return Ok(true);
    }
    match problem(response).await.2 {
        ClientError::Revoked | ClientError::Forgotten => Ok(false),
        error => Err(error),
    }
}

/// Sends all that waits, and goes on with another key.
pub(crate) async fn change_key(client: Arc<Client>) -> Result<(), ClientError> {
    // No sync may begin between the change and the hand-over: it would push under a key that nobody knows.
    let _running = client.syncing.begin()?;
    exchange(Arc::clone(&client), None, None).await?;
    client.change(|view, writer| {
        if !view.outbox()?.is_empty() {
            return Err(ClientError::Unsent);
        }
        let before = seed(writer, own::SEED)?.ok_or(ClientError::NotEnrolled)?;
        // Until the server has heard of it, the one before is needed to hand over.
        writer.put(OWN, own::FORMER_SEED, &before[..])?;
        next_key(writer, &client.vault)
    })?;
    hand_over(&client).await
}

/// Tells the server of the key that this folder has taken, if it has not heard of it yet.
pub(crate) async fn hand_over(client: &Client) -> Result<(), ClientError> {
    let known = client.store.read(|reader| -> Result<_, ClientError> {
        let Some(before) = seed(reader, own::FORMER_SEED)? else { return Ok(None) };
        let view = View::open(reader, &client.vault)?.ok_or(ClientError::NotEnrolled)?;
        let server = reader.get(OWN, own::SERVER)?.ok_or(ClientError::NotEnrolled)?;
        let before = Keypair::from_seed(&before);
        Ok(Some((before, keypair(reader)?, view.profile.org, read_cbor::<Server>(&server)?)))
    })?;
    let Some((before, next, org, server)) = known else { return Ok(()) };
    let (old, new) = (before.public(), next.public());
    let body = serde_json::json!({
        "key": URL_SAFE_NO_PAD.encode(new),
        "proof": URL_SAFE_NO_PAD.encode(next.agree(org, &old, &new)),
        "handover": URL_SAFE_NO_PAD.encode(before.agree(org, &old, &new)),
    });
    let request = http()?
        .post(format!("{}/api/v1/key", server.url))
        .header(AUTHORIZATION, format!("Bearer {}", server.token))
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string());
    let response = request.send().await.map_err(unreachable)?;
    if !response.status().is_success() {
        return Err(problem(response).await.2);
    }
    let enrolled = Enrolled::read(response).await?;
    client.store.write(|writer| enrolled.apply(writer, &client.vault, new, server.url).map(drop))
}
