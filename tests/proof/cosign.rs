//! How a server goes round its witnesses, and whose signatures it shows.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use server::app::{App, Tenant};
use server::cosign::{Witness, Witnesses};
use server::store::StoreError;
use server::store::witnesses::{self, Cosignature, SAYS_NOW_S};
use server::{now_ms, witness};
use sync_core::evidence::Keypair;
use sync_core::id::OrgId;
use sync_core::model::catalogue::{Display, Record};
use sync_core::tlog::{Checkpoint, NoteKey, Signs};
use sync_core::witness::Submission;
use tests::host::{Folder, Host};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::witness::witnessed;

/// A folder with so many organisations, which nobody serves.
async fn app(folder: &Folder, organisations: u8) -> Arc<App> {
    let app = App::open(folder.join("data")).await.expect("the folder opens");
    for number in 1..=organisations {
        let id = OrgId::from_bytes([number; 16]);
        app.create(id, &format!("Organisation {number}")).await.expect("it is made");
    }
    app
}

async fn grow(app: &App, tenant: &Arc<Tenant>, number: u32) {
    let (name, description) = (format!("Display {number}"), String::new());
    let display = Record::Display(Display { number, name, description });
    app.write_records(tenant, vec![display]).await.expect("it is written");
}

async fn said(app: &App, tenant: &Tenant) -> Vec<Cosignature> {
    let org = tenant.org;
    let read = app.store.read(move |connection| witnesses::cosignatures(connection, org));
    read.await.expect("it reads")
}

/// A witness of these logs, in a folder of its own.
async fn watching(folder: PathBuf, name: &str, app: &App) -> Arc<witness::Witness> {
    let mut logs = Vec::new();
    for tenant in app.tenants() {
        let life = app.head(&tenant).await.expect("a head").origin;
        logs.push(NoteKey::of_log(tenant.id, life, tenant.log_key.public()));
    }
    Arc::new(witness::Witness::open(folder, name, logs).expect("it opens"))
}

/// Puts a witness on the network: `first` happens before it hears of what it is asked.
async fn listens<F: Future<Output = ()> + Send + 'static>(
    witness: &Arc<witness::Witness>,
    first: impl Fn(String) -> F + Clone + Send + Sync + 'static,
) -> Witness {
    let before = from_fn(move |request: Request, next: Next| {
        let first = first.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.expect("a body");
            let asked: Submission =
                std::str::from_utf8(&body).expect("a text").parse().expect("it reads");
            first(asked.note.text().to_owned()).await;
            next.run(Request::from_parts(parts, Body::from(body))).await
        }
    });
    let router = server::api::witness::router(Arc::clone(witness)).layer(before);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Witness { key: witness.key().clone(), url }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_witnesses_are_asked_for_one_checkpoint_and_shown_together() {
    let folder = Folder::new();
    let app = app(&folder, 2).await;
    let [first, second] = app.tenants().try_into().unwrap_or_else(|_| panic!("two"));
    let (slow, quick) = (
        watching(folder.join("slow"), "w.example/slow", &app).await,
        watching(folder.join("quick"), "w.example/quick", &app).await,
    );
    // One is not done with the first log until the second has grown, which the other has then been asked for.
    let (grown, alone) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (of, looks, waits, seen) =
        (Arc::clone(&first), Arc::clone(&app), Arc::clone(&grown), Arc::clone(&alone));
    let slow = listens(&slow, move |asked| {
        let (of, app) = (Arc::clone(&of), Arc::clone(&looks));
        let (waits, seen) = (Arc::clone(&waits), Arc::clone(&seen));
        async move {
            if asked.contains(&of.id.to_string()) {
                timeout(Duration::from_secs(10), waits.notified()).await.expect("it grows");
                seen.fetch_or(!said(&app, &of).await.is_empty(), Ordering::SeqCst);
            }
        }
    });
    let (of, grows) = (Arc::clone(&second), Arc::clone(&app));
    let quick = listens(&quick, move |asked| {
        let (of, app, grown) = (Arc::clone(&of), Arc::clone(&grows), Arc::clone(&grown));
        async move {
            if asked.contains(&of.id.to_string()) {
                grow(&app, &of, 7).await;
                grown.notify_one();
            }
        }
    });
    let all = Witnesses(vec![slow.await, quick.await]);
    all.ask(&app, now_ms()).await;
    for tenant in [&first, &second] {
        let said = said(&app, tenant).await;
        assert!(said.len() == 2 && said.iter().all(|said| said.signed.is_some()), "{said:?}");
        assert_eq!(said[0].size, said[1].size, "{said:?}");
    }
    assert!(!alone.load(Ordering::SeqCst), "one was shown before the other had signed");
    app.store.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_a_witness_what_is_newer_makes_no_server_that_went_back() {
    let folder = Folder::new();
    let app = app(&folder, 1).await;
    let tenant = app.tenants().remove(0);
    let witness = watching(folder.join("witness"), "w.example/1", &app).await;
    let (of, shows, signs) = (Arc::clone(&tenant), Arc::clone(&app), Arc::clone(&witness));
    let once = Arc::new(AtomicBool::new(true));
    let listening = listens(&witness, move |_| {
        let (of, app, signs) = (Arc::clone(&of), Arc::clone(&shows), Arc::clone(&signs));
        let once = Arc::clone(&once);
        async move {
            if once.swap(false, Ordering::SeqCst) {
                grow(&app, &of, 7).await;
                let at = app.head(&of).await.expect("a head");
                let asks = Arc::clone(&of);
                let read = app.store.read(move |connection| {
                    let (org, id) = (asks.org, asks.id);
                    witnesses::submission(connection, org, id, &at, 0, &asks.log_key)
                });
                let asked = read.await.expect("it reads");
                signs.sign(&asked, 1_700_000_000).expect("a stranger has it signed");
            }
        }
    });
    Witnesses(vec![listening.await]).ask(&app, now_ms()).await;
    let said = said(&app, &tenant).await;
    assert_eq!(said[0].refused, None);
    assert_eq!(said[0].size, app.head(&tenant).await.expect("a head").sequence);
    app.store.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_log_or_witness_that_fails_keeps_no_other_from_its_signature() {
    let folder = Folder::new();
    let app = app(&folder, 12).await;
    let witness = watching(folder.join("witness"), "w.example/1", &app).await;
    let well = listens(&witness, |_| async {}).await;
    // It takes every call, and hangs up.
    let away = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", away.local_addr().expect("an address"));
    let called = Arc::new(AtomicUsize::new(0));
    let calls = Arc::clone(&called);
    std::thread::spawn(move || {
        for mut call in away.incoming().flatten() {
            calls.fetch_add(1, Ordering::SeqCst);
            let _ = call.write_all(b"none"); // it may be gone again
        }
    });
    let key = NoteKey::new("w.example/away", Signs::Cosignature, [7; 32]).expect("a key");
    let tenants = app.tenants();
    let broken = tenants[0].org;
    let put = app.store.write(move |tx| -> Result<(), StoreError> {
        let row =
            "INSERT INTO cosignature VALUES (?1, 'nonsense', zeroblob(16), 0, NULL, NULL, 0, NULL)";
        tx.execute(row, [broken])?;
        Ok(())
    });
    put.await.expect("it is written");
    Witnesses(vec![Witness { key: key.clone(), url }, well]).ask(&app, now_ms()).await;
    for tenant in &tenants[1..] {
        let said = said(&app, tenant).await;
        let [here, gone] = said.as_slice() else { panic!("both have said something: {said:?}") };
        assert!(gone.witness == key && gone.refused.is_some() && gone.signed.is_none(), "{gone:?}");
        assert!(here.signed.is_some() && here.refused.is_none(), "{here:?}");
    }
    assert!(called.load(Ordering::SeqCst) < tenants.len() - 1, "it is waited for at each log");
    app.store.close();
}

/// Witnesses that are dead or not asked any more have signed what was, all of them the same; one signs what is.
#[test]
fn who_signs_no_more_hides_nobody_who_does() {
    let mut host = Host::new(crate::ENDCAP);
    host.end("-TERM");
    let pairs = [1, 2, 3].map(|seed| Keypair::from_seed(&[seed; 32]));
    let key = |of: usize| {
        let name = format!("w.example/{of}");
        NoteKey::new(name, Signs::Cosignature, pairs[of].public()).expect("a key")
    };
    let (keys, now_s) = ([key(0), key(1), key(2)], now_ms() as u64 / 1_000);
    // What the witnesses with these numbers have signed at this second, over all that there is.
    let sign = |host: &Host, of: &[usize], seconds: u64, grows: u32| {
        host.runtime.block_on(async {
            let app = App::open(host.data()).await.expect("the folder opens");
            let tenant = app.tenants().remove(0);
            grow(&app, &tenant, grows).await;
            let (org, at) = (tenant.org, app.head(&tenant).await.expect("a head"));
            let (id, life, size, root) = (tenant.id, at.origin, at.sequence, at.root);
            let note = Checkpoint { org: id, life, size, root }.sign(&tenant.log_key);
            let said: Vec<Cosignature> = of
                .iter()
                .map(|of| Cosignature {
                    witness: keys[*of].clone(),
                    life,
                    size,
                    signed: Some((note.cosign(&keys[*of], &pairs[*of], seconds), seconds)),
                    asked_ms: now_ms(),
                    refused: None,
                })
                .collect();
            let put = app.store.write_for(org, move |tx| {
                said.iter().try_for_each(|said| witnesses::put(tx, org, said))
            });
            put.await.expect("it is kept");
            app.store.close();
            size
        })
    };
    let long_ago = now_s - SAYS_NOW_S.unsigned_abs() - 60;
    let list = host.folder.join("witnesses");
    let lines = [&keys[2], &keys[0]].map(|key| format!("{key} http://127.0.0.1:9\n"));
    std::fs::write(&list, lines.concat()).expect("a list");
    let asks = vec!["--witnesses".to_owned(), list.to_str().expect("UTF-8").to_owned()];

    // Two are dead.
    sign(&host, &[0, 1], long_ago, 1_001);
    let newest = sign(&host, &[2], now_s, 1_002);
    host.start();
    assert!(witnessed(&host).contains(&format!("\n{newest}\n")));
    host.end("-TERM");
    // They signed a while ago, and one of them is not asked any more.
    let older = sign(&host, &[0, 1], now_s - 60, 1_003);
    let newest = sign(&host, &[2], now_s, 1_004);
    host.start();
    assert!(witnessed(&host).contains(&format!("\n{older}\n")), "nobody says who is asked");
    host.end("-TERM");
    host.serve = asks;
    host.start();
    assert!(witnessed(&host).contains(&format!("\n{newest}\n")));
    host.end("-TERM");
    // If none of them signs any more, what they have signed is still shown.
    let last = sign(&host, &[0, 1], long_ago, 1_005);
    sign(&host, &[2], long_ago, 1_006);
    host.start();
    assert!(witnessed(&host).contains(&format!("\n{last}\n")));
}
