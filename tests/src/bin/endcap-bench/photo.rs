//! What a photo costs: on a phone before it is sent, and in the index of all photos that there ever were.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use endcap_mobile::Client;
use picture::{Sketch, Upright};
use serde_json::json;
use server::app::App;
use server::store::signals;
use sync_core::id::{BlobHash, OrgId};

use crate::audit::Dice;
use crate::target::Folder;
use crate::{Failure, now};

const RUNS: usize = 7;
/// Photos that are looked for, or a few more.
const LOOKED_FOR: u64 = 520;
/// Of which the first are told apart.
const FIRST: usize = 20;

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

/// Prepares all pictures of a folder one after the other in the same way, and with one vipsthumbnail for all of them: how
/// many in a second, the middle of seven rounds.
pub(crate) fn prepare_all(pictures: &Path) -> Result<serde_json::Value, Failure> {
    let files = std::fs::read_dir(pictures)?.map(|entry| Ok(entry?.path()));
    let mut files: Vec<PathBuf> = files.collect::<Result<_, Failure>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    let all: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let folder = Folder::new()?;
    let name = folder.0.join("phone").to_string_lossy().into_owned();
    let client = Client::open(name, vec![7; 32])?;
    let mut taken = Vec::new();
    for _ in 0..RUNS {
        let images = all.clone();
        let began = now();
        for image in images {
            client.add_photo(image, None)?;
        }
        taken.push(began.elapsed().as_secs_f64());
    }
    let out = folder.0.join("%s-out.jpg[Q=80,strip]");
    let mut arguments: Vec<&OsStr> = files.iter().map(|file| file.as_os_str()).collect();
    arguments.extend(["-s".as_ref(), "1600".as_ref(), "-o".as_ref(), out.as_os_str()]);
    let vips = vips_takes(&arguments).map(|ms| ms / 1_000.0);
    taken.sort_by(f64::total_cmp);
    let per_second = |seconds: f64| (files.len() as f64 / seconds * 10.0).round() / 10.0;
    Ok(json!({
        "photos": files.len(),
        "bytes": all.iter().map(Vec::len).sum::<usize>(),
        "photos_per_s": per_second(taken[taken.len() / 2]),
        "peak_mb": resident_kb("VmHWM")? / 1_024,
        "vips_photos_per_s": vips.map(per_second),
    }))
}

fn middle(taken: &mut [f64]) -> f64 {
    taken.sort_by(f64::total_cmp);
    (taken[taken.len() / 2] * 10.0).round() / 10.0
}

/// The same by libvips, on one core: a process for each, whose start is told apart.
fn vips(file: &Path, folder: &Path) -> serde_json::Value {
    let out = folder.join("out.jpg[Q=80,strip]");
    let shrunk = [file.as_os_str(), "-s".as_ref(), "1600".as_ref(), "-o".as_ref(), out.as_os_str()];
    let all = vips_takes(&shrunk);
    let start = vips_takes(&["--version".as_ref()]);
    let peak = peak_kb(Command::new("vipsthumbnail").env("VIPS_CONCURRENCY", "1").args(shrunk));
    json!({ "ms_with_start": all, "start_ms": start, "peak_mb": peak.map(|kb| kb / 1_024) })
}

/// Milliseconds of a vipsthumbnail on one core, the middle of seven; `None` if it is not here or fails.
fn vips_takes(arguments: &[&OsStr]) -> Option<f64> {
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
}

/// The most memory that a process has at once, asked for as long as it runs.
fn peak_kb(command: &mut Command) -> Option<u64> {
    let mut process = command.spawn().ok()?;
    let (status, mut most) = (format!("/proc/{}/status", process.id()), None);
    while process.try_wait().ok()?.is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        most = most.max(status_kb(&text, "VmHWM"));
        std::thread::yield_now();
    }
    most
}

fn resident_kb(which: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status_kb(&status, which).ok_or("no such line")?)
}

fn status_kb(status: &str, which: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(which))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The sketch of a picture of soft patches.
fn drawn(dice: &mut Dice) -> Sketch {
    let rgb = (0..8 * 6).flat_map(|_| [dice.bytes::<1>()[0]; 3]).collect();
    Sketch::of(&Upright { rgb, width: 8, height: 6 }.resized(64, 48))
}

/// Looks for photos among so many of chance, as the server does for each that comes: in all forms, and those that are
/// near by their sketches. Each that is looked for is an earlier one, cropped by 4 %.
pub(crate) async fn look_up(photos: u64) -> Result<serde_json::Value, Failure> {
    let folder = Folder::new()?;
    let app = App::open(folder.0.clone()).await?;
    let tenant = app.create(OrgId::from_bytes([1; 16]), "Bench").await?;
    let org = tenant.org;
    let mut dice = Dice::new(1);
    let mut wanted: Vec<(BlobHash, Sketch)> = Vec::new();
    eprintln!("putting {photos} photos into the index ...");
    let began = now();
    for first in (0..photos).step_by(10_000) {
        let part = first..photos.min(first + 10_000);
        let part: Vec<(BlobHash, Sketch)> =
            part.map(|n| (BlobHash::of(&n.to_be_bytes()), drawn(&mut dice))).collect();
        let every = (photos / LOOKED_FOR).max(1) as usize;
        wanted.extend(part.iter().step_by(every).cloned());
        app.store
            .write(move |tx| {
                part.iter().try_for_each(|(hash, sketch)| signals::add(tx, org, *hash, sketch, 0))
            })
            .await?;
    }
    let filled_s = began.elapsed().as_secs_f64();
    // A server has folded what came over years, and has looked before; the first look-ups read pages from the disk.
    app.store.fold().await?;
    let looked = app
        .store
        .read(move |connection| {
            let (mut photo_ms, mut form_ms, mut missed) = (Vec::new(), Vec::new(), 0);
            for (hash, sketch) in wanted {
                let cropped = sketch.turned((0, 1_042));
                let began = now();
                let found = signals::like(connection, org, &cropped)?;
                photo_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
                missed += u32::from(!found.iter().any(|like| like.hash == hash));
                let began = now();
                signals::near(connection, org, &[cropped.hash()])?;
                form_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
            }
            Ok((photo_ms, form_ms, missed))
        })
        .await?;
    let (mut photo_ms, mut form_ms, missed) = looked;
    let mut first: Vec<f64> = photo_ms.drain(..FIRST.min(photo_ms.len())).collect();
    app.store.close();
    let bytes = std::fs::metadata(folder.0.join(server::store::DATABASE))?.len();
    let spread = |taken: &mut Vec<f64>| {
        let p50 = middle(taken);
        json!({ "p50_ms": p50, "p99_ms": (taken[taken.len() * 99 / 100] * 10.0).round() / 10.0 })
    };
    Ok(json!({
        "photos": photos,
        "optimised": !cfg!(debug_assertions),
        "looked_for": photo_ms.len(),
        "a_photo_in_all_forms": spread(&mut photo_ms),
        "the_first_p50_ms": middle(&mut first),
        "one_form": spread(&mut form_ms),
        "missed": missed,
        "filled_s": filled_s,
        "bytes": bytes,
    }))
}
