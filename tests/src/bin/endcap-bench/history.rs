//! A year of two people who write about one outlet, and one visit that never ends.

use std::sync::Arc;

use endcap_mobile::{Client, ClientError};
use serde_json::json;
use server::app::App;

use crate::audit::Dice;
use crate::{Failure, audit, crossing, now, pause, percentile, phone, serve};

/// How often the folder is opened anew.
const OPENED: usize = 25;

fn words(dice: &mut Dice, bytes: usize) -> String {
    const WORDS: [&str; 8] =
        ["shelf", "owner", "freezer", "delivery", "asked", "moved", "again", "tomorrow"];
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(WORDS[dice.below(WORDS.len() as u64) as usize]);
        text.push(' ');
    }
    text.truncate(bytes);
    text
}

async fn sync(client: &Arc<Client>) -> Result<(), Failure> {
    loop {
        match Arc::clone(client).sync(None, None).await {
            Ok(_) => return Ok(()),
            // Days that take milliseconds: the server asks for a pause.
            Err(ClientError::Busy { retry_after_s, .. }) => pause(retry_after_s).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Milliseconds of the median and of the slowest of some screens from `first` on.
fn around(times: &[f64], first: usize) -> (f64, f64) {
    let mut some: Vec<f64> = times.iter().skip(first).take(20).copied().collect();
    some.sort_by(f64::total_cmp);
    (percentile(&some, 50), percentile(&some, 100))
}

pub(crate) async fn measure(days: u32, posts: u32) -> Result<serde_json::Value, Failure> {
    let (folder, target, codes) = serve(10, 2).await?;
    let server = format!("http://{}", target.address);
    let (a, b) = (
        phone(&folder, "a", &server, &codes[0]).await?,
        phone(&folder, "b", &server, &codes[1]).await?,
    );
    let outlet = audit::outlet(1).to_string();
    let mut dice = Dice::new(3);
    for client in [&a, &b] {
        sync(client).await?;
    }
    eprintln!("writing {posts} posts a day by each of two people for {days} days ...");
    let mut saved = Vec::new();
    for _ in 0..days {
        for client in [&a, &b] {
            for _ in 0..posts {
                let text = words(&mut dice, 200);
                let began = now();
                client.comment_outlet(outlet.clone(), text)?;
                saved.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
        }
        for client in [&a, &b, &a] {
            sync(client).await?;
        }
    }
    eprintln!("capturing 910 screens of one visit ...");
    let visit = b.start_call(audit::call(0).to_string())?;
    let mut captured = Vec::new();
    for _ in 0..910 {
        let screens = audit::screens(&mut dice);
        let facts = crossing(&screens[0].0);
        let began = now();
        b.record(visit.clone(), facts, Vec::new())?;
        captured.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    drop((a, b));
    eprintln!("opening the folder {OPENED} times ...");
    let path = folder.0.join("a");
    let (mut opened, mut read, mut newest) = (Vec::new(), Vec::new(), 0);
    for _ in 0..OPENED {
        let began = now();
        let client = Client::open(path.display().to_string(), vec![7; 32])?;
        opened.push(began.elapsed().as_secs_f64() * 1_000.0);
        let began = now();
        newest = client.outlet_thread(outlet.clone(), None)?.posts.len();
        read.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let client = Client::open(path.display().to_string(), vec![7; 32])?;
    let (mut all, mut older, began) = (0, None, now());
    loop {
        let piece = client.outlet_thread(outlet.clone(), older)?;
        all += piece.posts.len();
        older = piece.older;
        if older.is_none() {
            break;
        }
    }
    let whole_ms = began.elapsed().as_secs_f64() * 1_000.0;
    drop(client);
    let disk: u64 = std::fs::read_dir(&path)?
        .flatten()
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum();
    target.stop()?;
    let app = App::open(folder.0.join("server")).await?;
    let tenant = app.tenants().into_iter().next().ok_or("no organisation")?;
    let (org, id) = (tenant.org, audit::outlet(1));
    let volumes =
        app.store.read(move |connection| server::store::log::volumes(connection, org, id));
    let volumes = volumes.await?.len();
    app.store.close();
    [&mut opened, &mut read, &mut saved]
        .into_iter()
        .for_each(|times| times.sort_by(f64::total_cmp));
    let (early, later, last) =
        (around(&captured, 0), around(&captured, 90), around(&captured, 890));
    Ok(json!({
        "posts": all,
        "volumes": volumes,
        "phone_bytes": disk,
        "store_open_p50_ms": percentile(&opened, 50),
        "thread_posts": newest,
        "thread_open_p50_ms": percentile(&read, 50),
        "thread_open_max_ms": percentile(&read, 100),
        "whole_history_ms": whole_ms.round(),
        "post_p50_ms": percentile(&saved, 50),
        "post_p99_ms": percentile(&saved, 99),
        "capture_first_p50_ms": early.0,
        "capture_after_100_p50_ms": later.0,
        "capture_after_900_p50_ms": last.0,
        "capture_after_900_max_ms": last.1,
    }))
}
