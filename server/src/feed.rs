//! From the log to a device: what is new within the sight of its person, and what came into it.
//!
//! A person sees the audiences that the scope holds. When a record of the log changes the scope, a device that
//! stands before that record lacks the past of what came into sight. It is given that first, page by page, while
//! its cursor stands still; [`Filled`] says how far it has got. What went out of sight it drops by itself once it
//! has the records that say so.

use sync_core::admit::Field;
use sync_core::evidence::Keypair;
use sync_core::id::OrgId;
use sync_core::model::people::Audience;
use sync_core::print::Inventory;
use sync_core::wire::{
    Decided, Filled, PROTOCOL, PullReply, PullRequest, RepairReply, RepairRequest,
};

use crate::ingest::Sender;
use crate::store::StoreError;
use crate::store::accounts::NewestPush;
use crate::store::log::AudienceId;
use crate::store::reader::{Page, Range, Reader, Whole};
use crate::world::{Then, World};

/// A page for a device, its checkpoint signed with the log's key; `None` if the log was never where the device
/// stands.
pub fn pull(
    log: &Reader<'_>,
    world: &World,
    sender: &Sender,
    newest: &NewestPush,
    pull: &PullRequest,
    (organisation, key): (OrgId, &Keypair),
    now_ms: i64,
) -> Result<Option<PullReply>, StoreError> {
    if let Some(cursor) = &pull.cursor
        && !log.knows(cursor)?
    {
        return Ok(None);
    }
    let rights = world.rights(sender.user);
    let sees = |audience: &Audience| rights.is_some_and(|r| r.sees(&world.tree, audience));
    let changed = world.scope_changed(sender.user);
    let since = pull.cursor.map_or(0, |cursor| cursor.sequence);
    let reply = |page: Page, filled, decided: Vec<Decided>, print| PullReply {
        protocol: PROTOCOL,
        server_ms: now_ms,
        cursor: page.cursor,
        more: page.more,
        records: page.records,
        groups: page.groups,
        notes: page.notes,
        filled,
        gone: Some(page.gone).filter(|gone| !gone.is_empty()),
        let_go: Some(page.let_go).filter(|let_go| !let_go.is_empty()),
        decided: Some(decided).filter(|decided| !decided.is_empty()),
        print,
        receipt: None,
    };

    if let Some(cursor) = pull.cursor.filter(|cursor| cursor.sequence <= changed) {
        let filled = pull.filled.filter(|filled| filled.since == changed);
        let next = filled.map_or(0, |filled| filled.next);
        // A device on its way through the log has been given what was in sight when it asked, not at its cursor.
        let seen_since = match pull.filled {
            Some(_) => world.scopes_from(sender.user, cursor.sequence),
            None => vec![cursor.sequence],
        };
        let before: Vec<_> = seen_since.into_iter().map(|known| world.at(known)).collect();
        let had = |then: &Then<'_>, audience: &Audience| {
            then.rights(sender.user).is_some_and(|r| r.sees(then.territories(), audience))
        };
        let came =
            |audience: &Audience| sees(audience) && !before.iter().all(|then| had(then, audience));
        let audiences = log.audiences(came)?;
        if next < since && !audiences.is_empty() {
            let range = Range {
                since: next,
                until: Some(cursor),
                audiences: &audiences,
                device: sender.device,
                own: None,
            };
            let page = log.page(&range)?;
            let filled = Filled { next: page.cursor.sequence, since: changed };
            let page = Page { cursor, more: true, ..page };
            return Ok(Some(reply(page, Some(filled), Vec::new(), None)));
        }
    }

    let knows = pull.cursor.is_some() && newest.name == pull.pushed;
    let own = knows.then_some(newest.since);
    let audiences = log.audiences(sees)?;
    let range = Range { since, until: None, audiences: &audiences, device: sender.device, own };
    let page = log.page(&range)?;
    let next = page.cursor.sequence;
    let filled = (changed >= next).then_some(Filled { next, since: changed });
    let decided = log.decided(sender.user, since..next)?;
    let print = match page.more {
        true => None,
        false => Some(log.print(&audiences)?.name()),
    };
    let mut reply = reply(page, filled, decided, print);
    if let Some(known) = pull.known.as_ref().filter(|_| !reply.more) {
        reply.receipt = log.receipt(organisation, &reply.cursor, known, key)?;
    }
    Ok(Some(reply))
}

/// The audiences that a person sees now.
pub fn sight(
    log: &Reader<'_>,
    world: &World,
    sender: &Sender,
) -> Result<Vec<AudienceId>, StoreError> {
    let rights = world.rights(sender.user);
    log.audiences(|audience| rights.is_some_and(|r| r.sees(&world.tree, audience)))
}

/// Where a device differs from what these audiences see, and what it wants of it.
pub fn repair(
    log: &Reader<'_>,
    audiences: &[AudienceId],
    inventory: &Inventory,
    asked: &RepairRequest,
    now_ms: i64,
) -> Result<RepairReply, StoreError> {
    let Whole { given, records, groups, notes } = log.whole(audiences, &asked.wanted)?;
    Ok(RepairReply {
        protocol: PROTOCOL,
        server_ms: now_ms,
        contents: asked.parts.iter().map(|part| inventory.content(*part)).collect(),
        given: given as u64,
        records,
        groups,
        notes,
    })
}
