//! What a photo costs: on a phone before it is sent, and in the index of all photos that there ever were.

use std::path::Path;
use std::process::Command;

use endcap_mobile::Client;
use picture::Hash;
use serde_json::json;
use server::app::App;
use server::store::signals;
use sync_core::id::OrgId;

use crate::audit::Dice;
use crate::target::Folder;
use crate::{Failure, now};

const RUNS: usize = 7;

/// Prepares a file through the mobile library, sealing and fsync included, and with vipsthumbnail if that is here: the
/// middle of seven runs.
pub(crate) fn prepare(file: &Path) -> Result<serde_json::Value, Failure> {
    let bytes = std::fs::read(file)?;
    let folder = Folder::new()?;
    let name = folder.0.join("phone").to_string_lossy().into_owned();
    let client = Client::open(name, vec![7; 32])?;
    let before = resident_kb("VmRSS")?;
    let mut taken = Vec::new();
    let mut made = None;
    for _ in 0..RUNS {
        let image = bytes.clone();
        let began = now();
        made = Some(client.add_photo(image, None)?);
        taken.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let peak = resident_kb("VmHWM")?;
    let look = made.and_then(|photo| photo.look).ok_or("no look")?;
    Ok(json!({
        "file_bytes": bytes.len(),
        "ms": middle(&mut taken),
        "peak_mb": peak / 1_024,
        "peak_mb_above_start": peak.saturating_sub(before) / 1_024,
        "sent_bytes": look.bytes,
        "width": look.width,
        "height": look.height,
        "sharpness": look.sharpness,
        "vips": vips(file, &folder.0),
    }))
}

fn middle(taken: &mut [f64]) -> f64 {
    taken.sort_by(f64::total_cmp);
    (taken[taken.len() / 2] * 10.0).round() / 10.0
}

/// The same by libvips, on one core: a process for each, whose start is told apart.
fn vips(file: &Path, folder: &Path) -> serde_json::Value {
    let out = folder.join("out.jpg[Q=80,strip]");
    let run = |arguments: &[&std::ffi::OsStr]| {
        let mut taken = Vec::new();
        for _ in 0..RUNS {
            let began = now();
            let done =
                Command::new("vipsthumbnail").env("VIPS_CONCURRENCY", "1").args(arguments).output();
            if !done.is_ok_and(|done| done.status.success()) {
                return None;
            }
            taken.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Some(middle(&mut taken))
    };
    let all =
        run(&[file.as_os_str(), "-s".as_ref(), "1600".as_ref(), "-o".as_ref(), out.as_os_str()]);
    let start = run(&["--version".as_ref()]);
    json!({ "ms_with_start": all, "start_ms": start })
}

fn resident_kb(which: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(which)).ok_or("no such line")?;
    Ok(line.split_whitespace().nth(1).ok_or("no figure")?.parse()?)
}

/// Looks for photos among so many of chance, a tenth of which are near another one.
pub(crate) async fn look_up(photos: u64) -> Result<serde_json::Value, Failure> {
    let folder = Folder::new()?;
    let app = App::open(folder.0.clone()).await?;
    let tenant = app.create(OrgId::from_bytes([1; 16]), "Bench").await?;
    let org = tenant.org;
    let mut dice = Dice::new(1);
    let hashes: Vec<Hash> = (0..photos).map(|_| Hash(dice.bits())).collect();
    eprintln!("putting {photos} photos into the index ...");
    let began = now();
    for (n, part) in hashes.chunks(10_000).enumerate() {
        let (part, first) = (part.to_vec(), n as i64 * 10_000 + 1);
        app.store
            .write(move |tx| {
                for (photo, hash) in (first..).zip(&part) {
                    signals::add_to_index(tx, org, photo, *hash)?;
                }
                Ok::<_, server::store::StoreError>(())
            })
            .await?;
    }
    let filled_s = began.elapsed().as_secs_f64();
    let wanted: Vec<(i64, Hash)> = (0..500)
        .map(|_| {
            let at = dice.below(photos);
            let flips = (0..picture::NEAR_BITS).fold(0_u64, |flips, _| flips | 1 << dice.below(64));
            (at as i64 + 1, Hash(hashes[at as usize].0 ^ flips))
        })
        .collect();
    let looked = app
        .store
        .read(move |connection| {
            let mut taken = Vec::new();
            let mut missed = 0;
            for (photo, hash) in wanted {
                let began = now();
                let found = signals::near(connection, org, hash)?;
                taken.push(began.elapsed().as_secs_f64() * 1_000.0);
                missed += u32::from(!found.contains_key(&photo));
            }
            Ok((taken, missed))
        })
        .await?;
    let (mut taken, missed) = looked;
    app.store.close();
    let bytes = std::fs::metadata(folder.0.join(server::store::DATABASE))?.len();
    let p50 = middle(&mut taken);
    Ok(json!({
        "photos": photos,
        "p50_ms": p50,
        "p99_ms": (taken[taken.len() * 99 / 100] * 10.0).round() / 10.0,
        "missed": missed,
        "filled_s": filled_s,
        "bytes": bytes,
    }))
}
