//! What the tree over the log costs, and a visit's proof bundle.

use std::sync::Arc;

use serde_json::json;
use server::app::App;
use server::prove::prove;
use server::store::{log, tree};
use sync_core::model::catalogue::{Display, Record};
use sync_core::proof::verify;
use sync_core::receipt::Known;

use crate::audit::{self, Dice};
use crate::target::Folder;
use crate::{Failure, crossing, now, percentile, phone, serve};

/// Records of one commit.
const COMMIT: u32 = 100;
const PHOTOS: u8 = 10;
const RUNS: usize = 20;

pub(crate) async fn measure(lines: u32) -> Result<serde_json::Value, Failure> {
    let folder = Folder::new()?;
    let app = App::open(folder.0.join("tree")).await?;
    let (tenant, _) = audit::brand(&app, audit::org(), 10, 1).await?;
    eprintln!("writing {lines} records, {COMMIT} a commit ...");
    let began = now();
    for commit in 0..lines / COMMIT {
        let display = |n| {
            let (number, description) = (1_000 + commit * COMMIT + n, String::new());
            Record::Display(Display { number, name: format!("Display {number}"), description })
        };
        app.write_records(&tenant, (0..COMMIT).map(display).collect()).await?;
    }
    let written_s = began.elapsed().as_secs_f64();
    let began = now();
    app.grow(&tenant).await?;
    let grown_s = began.elapsed().as_secs_f64();
    let at = app.head(&tenant).await?;
    let (organisation, mut times) = (Arc::clone(&tenant), Vec::new());
    for back in (1..=RUNS as u64).map(|n| n * at.sequence / (RUNS as u64 + 1)) {
        let of = Arc::clone(&organisation);
        let known = Known { life: at.origin, size: back };
        let run = app.store.read(move |connection| {
            let began = now();
            let at = log::head(connection, of.org)?;
            tree::receipt(connection, of.org, of.id, &at, &known, &of.log_key)?;
            Ok(began.elapsed().as_secs_f64() * 1_000.0)
        });
        times.push(run.await?);
    }
    times.sort_by(f64::total_cmp);
    app.store.close();

    let (served, target, codes) = serve(10, 1).await?;
    let server = format!("http://{}", target.address);
    let client = phone(&served, "rep", &server, &codes[0]).await?;
    Arc::clone(&client).sync(None, None).await?;
    eprintln!("one visit of 100 facts and {PHOTOS} photos ...");
    let visit = client.start_call(audit::call(0).to_string())?;
    let mut dice = Dice::new(9);
    for (facts, _) in audit::screens(&mut dice).into_iter().take(3) {
        client.record(visit.clone(), crossing(&facts), Vec::new())?;
    }
    for number in 0..PHOTOS {
        let picture = image::RgbImage::from_fn(1_600, 1_200, |x, y| {
            let noise = (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)) >> 27;
            image::Rgb([(x / 8 + noise) as u8, (y / 6 + noise) as u8, number * 20])
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut bytes, image::ImageFormat::Jpeg)?;
        let photo = client.add_photo(bytes.into_inner(), None)?;
        client.record(visit.clone(), Vec::new(), vec![photo])?;
    }
    client.submit(visit.clone())?;
    Arc::clone(&client).sync(None, None).await?;
    target.stop()?;
    let data = served.0.join("server");
    let visit = visit.parse()?;
    let mut figures = serde_json::Map::new();
    for (name, photos) in [("with photos", true), ("by digests", false)] {
        let began = now();
        let bundle = prove(&data, visit, photos)?;
        let made_ms = began.elapsed().as_secs_f64() * 1_000.0;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let began = now();
            verify(&bundle)?;
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        times.sort_by(f64::total_cmp);
        let figure = json!({
            "bytes": bundle.len(), "made_ms": made_ms, "verified_ms": percentile(&times, 50),
        });
        figures.insert(name.into(), figure);
    }
    Ok(json!({
        "optimised": !cfg!(debug_assertions),
        "lines": at.sequence,
        "append_us_a_line": written_s * 1e6 / f64::from(lines),
        "tree_us_a_line": grown_s * 1e6 / f64::from(lines),
        "receipt_ms": percentile(&times, 50),
        "bundle": figures,
    }))
}
