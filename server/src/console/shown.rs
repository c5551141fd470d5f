//! What a form shows: photos that come with a word, prepared and checked as those of phones are.

use std::sync::Arc;

use sync_core::document::{Document, Entry};
use sync_core::id::{ChangeHash, VisitId};
use sync_core::model::capture::Moment;
use sync_core::model::people::Audience;
use sync_core::model::visit::{CheckId, Note, PhotoRef};

use super::page::sight;
use super::photos::retired;
use super::view;
use crate::api::uploads::erased;
use crate::app::{App, Tenant};
use crate::auth::Viewer;
use crate::error::Problem;
use crate::now_ms;
use crate::photo::{self, Verified};
use crate::store::StoreError;
use crate::store::pages;
use crate::store::uploads::{self, Kept, Opened, UploadId};

/// Photos of one form, each once. They are in memory until what names them is written.
pub(super) struct Shown(Vec<(Verified, PhotoRef)>);

impl Shown {
    /// Makes photos of files. If one is refused, `nothing` was done.
    pub(super) async fn read(
        app: &App,
        viewer: &Viewer,
        check: Option<CheckId>,
        files: Vec<Vec<u8>>,
        nothing: &str,
    ) -> Result<Self, Problem> {
        if !files.is_empty() {
            app.limits.shown.check_of(viewer.rights.user, files.len(), now_ms())?;
        }
        let mut photos: Vec<(Verified, PhotoRef)> = Vec::new();
        for (n, file) in (1..).zip(files) {
            let unfit = |unfit| Problem::invalid(format!("photo {n}: {unfit}; {nothing}"));
            if file.len() as u64 > photo::BYTES_MAX {
                return Err(Problem::too_large(format!("photo {n} has more than 20 MiB")));
            }
            let prepared = photo::prepare(app, &viewer.tenant, file).await?;
            let (verified, reference) = prepared.map_err(unfit)?;
            let hash = reference.hash;
            if photos.iter().any(|(_, other)| other.hash == hash) {
                continue; // chosen twice
            }
            let (see, org) = (sight(viewer), viewer.tenant.org);
            let read = app.look(&viewer.tenant, move |connection| {
                Ok((
                    uploads::kept(connection, org, hash)?,
                    pages::sees_photo(connection, &see, hash)?,
                ))
            });
            match read.await? {
                (None | Some(Kept::Here(_)), _) => {}
                (Some(Kept::Retired(stayed)), true) => {
                    let zone = view::zone_of(&viewer.tenant.world(), &viewer.rights);
                    let over = view::retired(&stayed, &zone);
                    return Err(retired().detail(format!(
                        "photo {n} was here before: {over}; visits name it by its digest, and its file is not taken \
                         again; {nothing}"
                    )));
                }
                // When it was here is told to whoever saw it.
                (Some(Kept::Retired(_)), false) => {
                    let detail = format!("the file of photo {n} is not taken again; {nothing}");
                    return Err(retired().detail(detail));
                }
                (Some(Kept::Erased(_)), _) => return Err(erased()),
            }
            photos.push((verified, PhotoRef { check, ..reference }));
        }
        Ok(Self(photos))
    }

    /// What a word says of them.
    pub(super) fn references(&self) -> Vec<PhotoRef> {
        self.0.iter().map(|(_, reference)| reference.clone()).collect()
    }

    /// Writes in a visit what names them, and keeps them: the photos are here as soon as something names them. They have
    /// room of the organisation's before they take any of the disk; if the write is refused, nothing of them stays.
    pub(super) async fn with(
        self,
        app: &Arc<App>,
        viewer: &Viewer,
        visit: VisitId,
        note: Note,
        entries: impl FnOnce(&Document, Moment) -> Result<(Option<Entry>, Entry), Problem>
        + Send
        + 'static,
    ) -> Result<ChangeHash, Problem> {
        let (app, tenant, by) = (Arc::clone(app), Arc::clone(&viewer.tenant), viewer.rights.user);
        // Who hangs up meanwhile leaves nothing half done.
        let written = tokio::spawn(async move {
            let (org, device) = (tenant.org, tenant.console.device);
            let mut photos: Vec<(UploadId, Verified)> = (self.0.into_iter())
                .map(|(verified, photo)| (UploadId { org, device, hash: photo.hash }, verified))
                .collect();
            // All forms take them in one order, so that none waits for one that waits for it.
            photos.sort_by_key(|(id, _)| id.hash);
            let ids: Vec<UploadId> = photos.iter().map(|(id, _)| *id).collect();
            let mut claims = Vec::new();
            for id in &ids {
                claims.push(app.arrivals.claim(*id).await);
            }
            let written: Result<ChangeHash, Problem> = async {
                take_room(&app, &photos).await?;
                let mut put = Vec::new();
                for (id, verified) in photos {
                    let (photo, drawn) = verified.put(&app.blobs, tenant.id, id.hash).await?;
                    put.push((id, photo, drawn));
                }
                let world = tenant.world();
                let written = app.act_with(&tenant, visit.into(), Some(note), entries, move |tx| {
                    let sees = |audience: &Audience| world.sees(by, audience);
                    match uploads::keep(tx, by, sees, &put)? {
                        None | Some(Kept::Here(_)) => Ok(()),
                        Some(Kept::Retired(_)) => Err(retired()),
                        Some(Kept::Erased(_)) => Err(erased()),
                    }
                });
                written.await
            }
            .await;
            if written.is_err()
                && let Err(error) = give_up(&app, &tenant, ids).await
            {
                tracing::error!(%error, "photos of a refused form take room until the server starts again");
            }
            written
        });
        written.await.unwrap_or_else(|_| Err(Problem::internal()))
    }
}

/// Announces photos as uploads of the console, which take room like those of phones; none of them if one has none.
async fn take_room(app: &App, photos: &[(UploadId, Verified)]) -> Result<(), Problem> {
    let wanted: Vec<_> = photos.iter().map(|(id, v)| (*id, v.bytes.len() as u64)).collect();
    let Some((first, _)) = wanted.first().copied() else { return Ok(()) };
    let opened = app.store.write_for(first.org, move |tx| {
        for (id, length) in wanted {
            match uploads::open(tx, id, length, now_ms())? {
                Opened::Afresh(_) | Opened::Again(_) => {}
                Opened::TooMany => {
                    return Err(Problem::busy("too many forms with photos are worked on"));
                }
                Opened::NoRoom => return Err(Problem::quota_full()),
            }
        }
        Ok(())
    });
    opened.await
}

/// Ends uploads, and removes what they have brought: nobody else's, which is so as long as nobody else writes.
async fn give_up(app: &App, tenant: &Tenant, ids: Vec<UploadId>) -> Result<(), StoreError> {
    if ids.is_empty() {
        return Ok(());
    }
    let (blobs, org) = (app.blobs.clone(), tenant.id);
    let ended = app.store.write_for(tenant.org, move |tx| {
        for id in ids {
            if uploads::give_up(tx, id)? {
                blobs.remove_in_writing(org, id.hash)?;
            }
        }
        Ok(())
    });
    ended.await
}
