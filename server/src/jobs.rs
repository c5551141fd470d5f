//! What is done by itself, at the start and every hour: finishing what a crash or a full disk left, and letting go of
//! what is over. Each step can be cut short and is taken up again by the next run.

use std::sync::Arc;
use std::time::Duration;

use sync_core::id::BlobHash;

use crate::api;
use crate::app::{App, Tenant};
use crate::blobs::{Found, Rendition};
use crate::now_ms;
use crate::photo::{self, Place};
use crate::store::StoreError;
use crate::store::uploads::{self, Drawn, Kept};

/// How often a run is made.
const INTERVAL: Duration = Duration::from_secs(3_600);
pub(crate) const DAY_MS: i64 = 86_400_000;
/// Files that are younger than this may belong to what is being written.
const ORPHAN_MS: i64 = DAY_MS;

/// So long a photo is kept that nothing names: a phone may propose again what was discarded.
const UNNAMED_MS: i64 = 30 * DAY_MS;

/// What a run has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Whole uploads that were verified.
    pub finished: u64,
    /// Uploads that were ended.
    pub ended: u64,
    /// Photos that were let go of because their time is over.
    pub retired: u64,
    /// Photos that were forgotten because nothing names them.
    pub forgotten: u64,
    /// Photos whose files were removed, because they are gone or no row speaks of them.
    pub removed: u64,
    /// Photos whose small pictures were drawn anew.
    pub drawn: u64,
}

/// One run.
pub async fn run(app: &App, now_ms: i64) -> Result<Done, StoreError> {
    fold(app).await;
    let (finished, ended) = api::uploads::sweep(app, now_ms).await?;
    let mut done = Done { finished, ended, ..Done::default() };
    let mut failed = None;
    for tenant in app.tenants() {
        if let Err(error) = sweep(app, &tenant, now_ms, &mut done).await {
            tracing::error!(organisation = %tenant.id, %error, "it is swept in the next run");
            failed.get_or_insert(error);
        }
    }
    if done != Done::default() {
        let Done { finished, ended, retired, forgotten, removed, drawn } = done;
        tracing::info!(finished, ended, retired, forgotten, removed, drawn, "swept");
    }
    failed.map_or(Ok(done), Err)
}

/// What there is to do for one organisation; one that fails is in nobody else's way.
async fn sweep(app: &App, tenant: &Tenant, now_ms: i64, done: &mut Done) -> Result<(), StoreError> {
    done.retired += retire(app, tenant, now_ms).await?;
    done.forgotten += forget(app, tenant, now_ms).await?;
    done.removed += unlink(app, tenant).await?;
    done.removed += compare(app, tenant, now_ms).await?;
    done.drawn += draw(app, tenant).await?;
    Ok(())
}

/// Folds the write-ahead log in: what was erased is in it until that has worked.
pub async fn fold(app: &App) {
    let why = match app.store.fold().await {
        Ok(true) => return,
        Ok(false) => "something reads an older state of the database".to_owned(),
        Err(error) => error.to_string(),
    };
    if app.store.is_unfolded() {
        tracing::warn!(
            why,
            "what was erased may still be in endcap.db-wal: tried again every hour"
        );
    }
}

/// Lets go of photos that came longer ago than the organisation keeps them.
async fn retire(app: &App, tenant: &Tenant, now_ms: i64) -> Result<u64, StoreError> {
    let org = tenant.org;
    let Some(days) = app.store.read(move |c| uploads::room(c, org)).await?.days else {
        return Ok(0);
    };
    let before = now_ms.saturating_sub(i64::from(days) * DAY_MS);
    let mut retired = 0;
    loop {
        let more = app.store.write_for(org, move |tx| uploads::retire(tx, org, before, now_ms));
        match more.await? {
            0 => return Ok(retired),
            more => retired += more,
        }
    }
}

/// Forgets photos that nothing has named for long: their work was refused and discarded, and whoever proposes it again
/// sends them again. Their files go as those do of which no row speaks.
async fn forget(app: &App, tenant: &Tenant, now_ms: i64) -> Result<u64, StoreError> {
    let (org, before) = (tenant.org, now_ms.saturating_sub(UNNAMED_MS));
    let mut forgotten = 0;
    loop {
        let unnamed = app.store.read(move |c| uploads::unnamed(c, org, before)).await?;
        if unnamed.is_empty() {
            return Ok(forgotten);
        }
        let more =
            app.store.write_for(org, move |tx| uploads::forget_unnamed(tx, org, &unnamed, before));
        match more.await? {
            0 => return Ok(forgotten),
            more => forgotten += more,
        }
    }
}

/// Removes the files of photos that are gone, as many as can be. How many photos; an error if one could not.
pub async fn unlink(app: &App, tenant: &Tenant) -> Result<u64, StoreError> {
    let org = tenant.org;
    let gone = app.store.read(move |c| uploads::to_unlink(c, org)).await?;
    let (mut removed, mut failed) = (0, None);
    for hash in gone {
        match app.blobs.remove(tenant.id, hash).await {
            Ok(()) => {
                app.store.write_for(org, move |tx| uploads::unlinked(tx, org, hash)).await?;
                removed += 1;
            }
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(removed), Err)
}

/// Compares the files with the rows: removes files of which no row speaks, and notes small pictures that are missing.
async fn compare(app: &App, tenant: &Tenant, now_ms: i64) -> Result<u64, StoreError> {
    let org = tenant.org;
    let found = app.blobs.list(tenant.id, now_ms.saturating_sub(ORPHAN_MS)).await?;
    let mut removed = 0;
    for Found { hash, files } in found {
        let read = app.store.read(move |c| {
            let here = matches!(uploads::kept(c, org, hash)?, Some(Kept::Here(_)));
            // One that is being verified has files before it has a row.
            Ok((here, here || !uploads::of_photo(c, org, hash)?.is_empty()))
        });
        let (here, wanted) = read.await?;
        if !wanted {
            app.blobs.remove(tenant.id, hash).await?;
            removed += 1;
        } else if here && files < Rendition::ALL.len() {
            app.store.write_for(org, move |tx| uploads::drawn(tx, org, hash, None)).await?;
        }
    }
    Ok(removed)
}

/// Draws the small pictures that are missing, as of photos that came before there were previews.
async fn draw(app: &App, tenant: &Tenant) -> Result<u64, StoreError> {
    let (org, mut after, mut drawn) = (tenant.org, BlobHash([0; 32]), 0);
    loop {
        let hashes = app.store.read(move |c| uploads::undrawn(c, org, after)).await?;
        let Some(last) = hashes.last() else { return Ok(drawn) };
        after = *last;
        for hash in hashes {
            // One that is lost or damaged is named by a check, and comes back when it is restored.
            let Ok(made) = photo::verify(app, tenant, hash, Place::Kept).await? else { continue };
            let is = Drawn {
                thumbnail: BlobHash::of(&made.thumbnail),
                preview: BlobHash::of(&made.preview),
            };
            app.blobs.put(tenant.id, hash, Rendition::Thumbnail, made.thumbnail).await?;
            app.blobs.put(tenant.id, hash, Rendition::Preview, made.preview).await?;
            let noted =
                app.store.write_for(org, move |tx| uploads::drawn(tx, org, hash, Some(&is)));
            match noted.await? {
                true => drawn += 1,
                // It has gone while it was drawn, and its files may have been removed before these were written.
                false => app.blobs.remove(tenant.id, hash).await?,
            }
        }
    }
}

/// Runs at the start and every hour, until the server stops.
pub async fn keep_running(app: Arc<App>) {
    let mut hours = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            () = app.stopped() => break,
        }
        // A run looks at every file; a server that stops does not wait for it.
        tokio::select! {
            done = run(&app, now_ms()) => {
                if let Err(error) = done {
                    tracing::error!(%error, "what is over could not be swept away");
                }
            }
            () = app.stopped() => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use sync_core::id::OrgId;

    use super::*;

    #[tokio::test]
    async fn what_fails_of_one_organisation_is_in_no_others_way() {
        let folder = crate::scratch("sweep");
        let app = App::open(folder.clone()).await.unwrap();
        let ids = [1, 2, 3].map(|n| OrgId::from_bytes([n; 16]));
        let orphan = BlobHash::of(b"nobody names it");
        for (n, id) in ids.into_iter().enumerate() {
            app.create(id, &format!("Dairy {n}")).await.unwrap();
            app.blobs.put(id, orphan, Rendition::Original, vec![7]).await.unwrap();
        }
        let broken = folder.join("blobs").join(ids[1].to_string());
        std::fs::rename(&broken, folder.join("away")).unwrap();
        std::fs::write(&broken, "no folder").unwrap();
        let later = now_ms() + 2 * ORPHAN_MS;
        assert!(run(&app, later).await.is_err());
        for id in [ids[0], ids[2]] {
            assert!(!app.blobs.exists(id, orphan).await.unwrap(), "{id}");
        }
        std::fs::remove_file(&broken).unwrap();
        std::fs::rename(folder.join("away"), &broken).unwrap();
        assert_eq!(run(&app, later).await.unwrap(), Done { removed: 1, ..Done::default() });
        app.store.close();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
