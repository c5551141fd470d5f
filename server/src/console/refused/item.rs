//! `/refused/{item}`: one piece of refused work, entry by entry, for whoever decides on it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use sync_core::admit::about_rights;
use sync_core::document::{Change, Entry};
use sync_core::id::{BlobHash, ChangeHash, DistributorId, DocKind, TerritoryId};
use sync_core::model::Day;
use sync_core::model::capture::CaptureTime;
use sync_core::model::catalogue::Outlet;
use sync_core::model::contest::{Objection, Word};
use sync_core::model::people::Role;
use sync_core::model::visit::{Act, Observation, Observed, Recording, Value};
use sync_core::visit::Visit;
use sync_core::wire::Group;

use super::{
    authors, badge, decided, entries, outlet_name, outlook, phone, says, says_more, why, written_by,
};
use crate::app::App;
use crate::auth::Viewer;
use crate::console::page::{Page, Section, html, sight};
use crate::console::photos::{self, Size};
use crate::console::view::{self, Markup, escape};
use crate::console::words::{Source, Words, why_not_possible};
use crate::error::Problem;
use crate::now_ms;
use crate::store::StoreError;
use crate::store::quarantine::{self, Fate, Item, ItemRead};
use crate::store::reader::Reader;
use crate::store::uploads;
use crate::world::World;

/// Values that stand here already which one value names.
const STANDING_MAX: usize = 3;
/// Recordings that one entry names when it takes them back.
const NAMED_MAX: usize = 10;

#[derive(Template)]
#[template(path = "refused_item.html")]
struct ItemPage {
    page: Page,
    item: u64,
    outlet: String,
    says: String,
    badge: Markup,
    why: String,
    /// What can become of it while it waits.
    outlook: Option<&'static str>,
    /// How sure it is that it was made before its phone's access was withdrawn.
    doubt: Option<Markup>,
    facts: Vec<(&'static str, Markup)>,
    entries: Vec<EntryRow>,
    /// The visit is here: what stands there is shown beside what this says.
    beside: bool,
    photos: Option<String>,
    range: Option<String>,
    previous: Option<String>,
    next: Option<String>,
    open: bool,
    approvable: bool,
}

struct EntryRow {
    key: String,
    symbol: &'static str,
    title: String,
    /// It is in the record already.
    badge: Markup,
    by: String,
    company: String,
    at: Markup,
    /// Its phone is another one than the one that brought it, and not known or not trusted here.
    device: &'static str,
    place: String,
    more: Vec<String>,
    words: Option<String>,
    values: Vec<ValueRow>,
    photos: Vec<Markup>,
}

struct ValueRow {
    subject: String,
    check: String,
    value: String,
    /// What stands in the visit already.
    here: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Asked {
    page: String,
}

/// `GET /refused/{item}`
pub(in crate::console) async fn item(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path(number): Path<u32>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    viewer.require(Role::reviews, "decide on refused work")?;
    let part = asked.page.parse::<usize>().unwrap_or(1).max(1) - 1;
    let (see, tenant) = (sight(&viewer), Arc::clone(&viewer.tenant));
    let read = app.look(&viewer.tenant, move |c| {
        let log = Reader::open(c, tenant.org)?;
        let Some(read) = quarantine::item(c, &see, tenant.id, number.into(), part)? else {
            return Ok(None);
        };
        let world = tenant.world_of(&log)?;
        let withdrawal = Withdrawal::of(&log, &world, &read.item)?;
        let mut times = HashMap::new();
        for change in shown(&read).iter().chain(newest(&read.item.group)) {
            if let Ok(entry) = change.entry() {
                let made = log.captured(entry.when(), read.item.received_ms)?;
                times.insert(change.hash(), made);
            }
        }
        Ok(Some((read, times, withdrawal)))
    });
    let (read, times, withdrawal) = read.await?.ok_or_else(Problem::not_found)?;
    let page = Page::new(&app, &viewer, Section::Refused, "").await?;
    let world = viewer.tenant.world();
    let drawn = draw(page, &viewer, &world, &read, &times, withdrawal.as_ref());
    drop(world);
    html(&drawn)
}

/// `GET /refused/{item}/photos/{hash}`: a photo that only refused work may name.
pub(in crate::console) async fn photo(
    State(app): State<Arc<App>>,
    viewer: Viewer,
    Path((item, hash)): Path<(u32, String)>,
    Query(size): Query<Size>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    viewer.require(Role::reviews, "decide on refused work")?;
    let hash: BlobHash = hash.parse().map_err(|_| Problem::not_found())?;
    let (see, id) = (sight(&viewer), viewer.tenant.id);
    let read = app.look(&viewer.tenant, move |c| {
        let named = quarantine::names_photo(c, &see, id, item.into(), hash)?;
        if named { uploads::kept(c, see.org, hash) } else { Ok(None) }
    });
    let kept = read.await?;
    photos::answer(&app, &viewer, hash, kept, &size, &headers).await
}

/// The changes that the page shows.
fn shown(read: &ItemRead) -> &[Change] {
    read.parts.get(read.part).map_or(&[], |part| &read.item.group.changes[part.clone()])
}

/// Whether a change of what waits is in the log from before: nobody decides on it.
fn in_record(read: &ItemRead, change: &Change) -> bool {
    let held = read.held.as_ref().filter(|_| read.item.state == Fate::Waiting);
    held.is_some_and(|held| held.document.contains(change.hash()))
}

/// The newest change that reads.
fn newest(group: &Group) -> Option<&Change> {
    group.changes.iter().rev().find(|change| change.entry().is_ok())
}

fn draw(
    page: Page,
    viewer: &Viewer,
    world: &World,
    read: &ItemRead,
    times: &HashMap<ChangeHash, CaptureTime>,
    withdrawal: Option<&Withdrawal>,
) -> ItemPage {
    let ItemRead { item, parts, part, .. } = read;
    let outlet = read.outlet.and_then(|outlet| world.outlets.get(&outlet));
    let zone = match outlet {
        Some(outlet) => outlet.zone.clone(),
        None => view::zone_of(world, &viewer.rights),
    };
    let all = entries(&item.group);
    let fresh = item.group.changes.iter().filter(|change| !in_record(read, change));
    let fresh: Vec<Entry> = fresh.filter_map(|change| change.entry().ok()).collect();
    let open = item.state == Fate::Waiting;
    let visit = read.held.as_ref().filter(|_| open && item.group.document.kind == DocKind::Visit);
    let visit = visit.map(|held| Visit::read(&held.document));
    let source = Source {
        photos: format!("/refused/{}/photos", item.item),
        no_note: match about_rights(&item.code) {
            true => "(these words did not come along)".to_owned(),
            false => "(words are not kept of what nobody can approve)".to_owned(),
        },
        no_photo: "Photo not here",
    };
    let there = visit.iter().flat_map(|visit| visit.recordings.iter().map(|r| &r.entry));
    let own = all.iter().filter_map(|entry| match entry {
        Entry::Recording(recording) => Some(recording),
        _ => None,
    });
    let words = Words::new(world, &zone, &read.attached, source, there.chain(own));
    let drawing = Drawing { world, read, times, outlet, zone: &zone, visit: visit.as_ref(), words };
    let turn = |to: usize| format!("/refused/{}?page={to}", item.item);
    ItemPage {
        page: Page { title: format!("Refused work, {}", outlet_name(world, read.outlet)), ..page },
        item: item.item,
        outlet: outlet_name(world, read.outlet),
        says: says(&fresh),
        badge: badge(item),
        why: why(item),
        outlook: open.then(|| outlook(&item.code)),
        doubt: withdrawal.map(|withdrawal| withdrawal.told(&zone)),
        facts: drawing.facts(&all, &viewer.tenant.name),
        entries: shown(read)
            .iter()
            .map(|change| drawing.entry(change, &viewer.tenant.name))
            .collect(),
        beside: visit.is_some(),
        photos: drawing.photos(),
        range: (parts.len() > 1).then(|| format!("{} of {}", part + 1, parts.len())),
        previous: (*part > 0).then(|| turn(*part)),
        next: (part + 1 < parts.len()).then(|| turn(part + 2)),
        open,
        approvable: open && about_rights(&item.code),
    }
}

/// What every part of the page is drawn from.
struct Drawing<'a> {
    world: &'a World,
    read: &'a ItemRead,
    times: &'a HashMap<ChangeHash, CaptureTime>,
    outlet: Option<&'a Outlet>,
    zone: &'a str,
    /// The visit as the log has it, for work that waits.
    visit: Option<&'a Visit>,
    words: Words<'a>,
}

impl Drawing<'_> {
    fn facts(&self, all: &[Entry], brand: &str) -> Vec<(&'static str, Markup)> {
        let (world, item) = (self.world, &self.read.item);
        let people = authors(all).into_iter().map(|user| {
            let (name, company) = (world.name(user), view::company(world, brand, user));
            let (name, company) = (escape(&name), escape(&company));
            format!("<a href=\"/people/{user}\">{name}</a> <span class=\"org\">{company}</span>")
        });
        let people: Vec<String> = people.collect();
        let mut facts = Vec::new();
        if !people.is_empty() {
            facts.push(("Written by", Markup(people.join("<br>"))));
        }
        let mut came = escape(&format!("from the phone of {}", phone(world, item)));
        if let Some(courier) = item.courier.and_then(|courier| world.devices.get(&courier)) {
            came += &escape(&format!(", carried here by {}", world.name(courier.user)));
        }
        let at = view::ago(item.received_ms, self.zone);
        facts.push(("Came", Markup(format!("{at}, {came}"))));
        let newest = newest(&item.group).and_then(|change| self.times.get(&change.hash()));
        if let Some(times) = newest {
            facts.push(("Newest of it", made(times, self.zone)));
        }
        if let Some(outlet) = self.outlet {
            let (id, name) = (outlet.id, escape(&outlet.name));
            facts.push(("Outlet", Markup(format!("<a href=\"/outlets/{id}\">{name}</a>"))));
        }
        if let Some(visit) = item.group.document.visit() {
            facts.push((
                "Visit",
                match &self.read.held {
                    Some(_) => Markup(format!("<a href=\"/visits/{visit}\">as it stands here</a>")),
                    None => Markup("nothing of it is here".to_owned()),
                },
            ));
        }
        facts.extend(self.neighbours());
        if let Some(decided) = decided(world, item, self.zone) {
            facts.push(("Decided", decided));
        }
        if says_more(&item.code) {
            facts.push(("The refusal", Markup(escape(&view::capitalised(&item.detail)))));
        }
        facts
    }

    /// What else waits of the same document: what this builds on, and what builds on this.
    fn neighbours(&self) -> Vec<(&'static str, Markup)> {
        let own = Edges::of(&self.read.item.group);
        let (mut below, mut above, mut beside) = (Vec::new(), Vec::new(), Vec::new());
        for item in &self.read.beside {
            let edges = Edges::of(&item.group);
            let by = escape(&written_by(self.world, &entries(&item.group)));
            let link =
                format!("<a href=\"/refused/{}\">work of {by}</a>, which waits too", item.item);
            if own.outside.iter().any(|hash| edges.inside.contains(hash)) {
                below.push(link);
            } else if edges.outside.iter().any(|hash| own.inside.contains(hash)) {
                above.push(link);
            } else {
                beside.push(link);
            }
        }
        [("It builds on", below), ("On it builds", above), ("Of the same", beside)]
            .into_iter()
            .filter(|(_, links)| !links.is_empty())
            .map(|(name, links)| (name, Markup(links.join("<br>"))))
            .collect()
    }

    fn entry(&self, change: &Change, brand: &str) -> EntryRow {
        let (hash, world) = (change.hash(), self.world);
        let mut row = EntryRow {
            key: format!("e-{}", &hash.to_string()[..16]),
            symbol: "info",
            title: "An entry that cannot be read".to_owned(),
            badge: match in_record(self.read, change) {
                true => view::badge("ok", "check", "In the record already"),
                false => Markup::default(),
            },
            by: String::new(),
            company: String::new(),
            at: Markup::default(),
            device: match world.device_of(change.actor) {
                None => "on a phone that is not known here",
                Some(device) if device.revoked => "on a phone whose access was withdrawn",
                Some(_) => "",
            },
            place: String::new(),
            more: Vec::new(),
            words: None,
            values: Vec::new(),
            photos: Vec::new(),
        };
        let Ok(entry) = change.entry() else { return row };
        let (by, times) = (entry.by(), self.times.get(&hash));
        (row.symbol, row.title) = self.words.title(&entry);
        row.by = world.name(by);
        row.company = view::company(world, brand, by);
        row.at = times.map_or_else(Markup::default, |times| view::claimed(times, self.zone));
        if !row.badge.is_empty() {
            return row;
        }
        let taken_ms = times.map(|times| times.claimed_ms);
        let photos = entry.photos().iter();
        row.photos = photos.map(|photo| self.words.thumb(photo, by, taken_ms)).collect();
        let place = |place| view::whereabouts(place, self.outlet.and_then(|o| o.place.as_ref()));
        let mut note = None;
        match &entry {
            Entry::Recording(recording) => {
                row.place = place(recording.place.as_ref());
                note = self.recording(&mut row, recording);
            }
            Entry::Submission(submission) => row.place = place(submission.place.as_ref()),
            Entry::Review(review) => note = review.comment,
            Entry::Post(post) => {
                note = Some(post.text);
                if let Some(Word::Contest(Objection {
                    about: Some(about),
                    claim: Some(claim),
                    ..
                })) = &post.word
                {
                    let claim = self.words.claim(about.check, claim);
                    row.more.push(format!("There was instead: {claim}"));
                }
            }
            Entry::Report(report) => {
                row.place = place(report.place.as_ref());
                row.more.push(report.address.clone());
                row.more.push(self.part_of_the_field(report.territory, report.distributor));
                note = report.note;
            }
        }
        row.words = note.map(|note| self.words.note(note));
        row
    }

    /// What a recording says; returns its words, if it has some of its own.
    fn recording(&self, row: &mut EntryRow, recording: &Recording) -> Option<BlobHash> {
        match &recording.act {
            Act::Start { outlet, call, territory, distributor, template } => {
                let call = self.words.call(*call, Day::at(now_ms(), self.zone));
                row.more.push(outlet_name(self.world, Some(*outlet)));
                row.more.push(format!("Planned call: {call}"));
                row.more.push(self.part_of_the_field(*territory, *distributor));
                row.more.push(self.words.template(*template));
            }
            Act::NotPossible { reason, note, .. } => {
                row.more.push(why_not_possible(*reason).to_owned());
                return *note;
            }
            Act::Withdraw { recordings } => row.more.extend(self.taken_back(recordings)),
            Act::Abandon {} => {
                row.more.push("Nothing that its author recorded there before counts".to_owned());
            }
            Act::Observe(observed) => {
                let facts = observed.observations.0.iter();
                row.values = facts.map(|fact| self.value(observed, fact)).collect();
            }
        }
        None
    }

    /// Where an entry says that an outlet is and who serves it, and what the list says if that is something else.
    fn part_of_the_field(&self, territory: TerritoryId, distributor: DistributorId) -> String {
        let said = |territory, distributor| {
            let territory = view::territory_name(self.world, territory);
            format!("in {territory}, served by {}", view::distributor_name(self.world, distributor))
        };
        let mut text = view::capitalised(&said(territory, distributor));
        if let Some(outlet) = self.outlet
            && (outlet.territory, outlet.distributor) != (territory, distributor)
        {
            text += &format!("; by the list {}", said(outlet.territory, outlet.distributor));
        }
        text
    }

    fn taken_back(&self, recordings: &[ChangeHash]) -> Vec<String> {
        let own: HashMap<ChangeHash, &Change> =
            self.read.item.group.changes.iter().map(|change| (change.hash(), change)).collect();
        let held = self.read.held.as_ref();
        let mut named: Vec<String> = recordings
            .iter()
            .take(NAMED_MAX)
            .map(|hash| {
                let there = || held.and_then(|held| held.document.change(*hash));
                let change = own.get(hash).copied().or_else(there);
                let entry = change.and_then(|change| change.entry().ok());
                entry.map_or_else(
                    || "something that is not here".to_owned(),
                    |entry| self.words.title(&entry).1,
                )
            })
            .collect();
        if recordings.len() > NAMED_MAX {
            named.push(format!("and {} more", recordings.len() - NAMED_MAX));
        }
        named
    }

    fn value(&self, observed: &Observed, fact: &Observation) -> ValueRow {
        let live = self
            .visit
            .and_then(|visit| visit.values.get(&(fact.check, fact.subject.clone())))
            .map_or(&[][..], Vec::as_slice);
        let standing = live.iter().take(STANDING_MAX).map(|live| {
            let value = self.words.value(fact.check, &live.value);
            let beside = match observed.supersedes.contains(&live.recording) {
                true => ", which this replaces",
                false if live.value == fact.value || live.value == Value::Withdrawn => "",
                false => ", which stays beside this",
            };
            format!("{value} by {}{beside}", self.world.name(live.by))
        });
        let mut standing: Vec<String> = standing.collect();
        if live.len() > STANDING_MAX {
            standing.push(format!("and {} more", live.len() - STANDING_MAX));
        }
        ValueRow {
            subject: self.words.subject(&fact.subject),
            check: self.words.check_title(fact.check),
            value: self.words.value(fact.check, &fact.value),
            here: standing.join("; "),
        }
    }

    /// How many of the photos are here, and when the others come.
    fn photos(&self) -> Option<String> {
        let item = &self.read.item;
        let fresh = shown(self.read).iter().filter(|change| !in_record(self.read, change));
        let entries = fresh.filter_map(|change| change.entry().ok());
        let named: HashSet<BlobHash> =
            entries.flat_map(|e| e.photos().iter().map(|p| p.hash).collect::<Vec<_>>()).collect();
        let all = named.len();
        let here = named.iter().filter(|hash| self.read.attached.photos.contains_key(hash)).count();
        let gone = named.iter().filter(|hash| self.words.gone(**hash).is_some()).count();
        if named.is_empty() {
            return None;
        }
        let mut said = format!("{}, {here} here.", view::count(all as u64, "photo", "photos"));
        if item.state == Fate::Waiting && here + gone < all {
            said += match item.code.as_str() {
                "revoked_device" | "foreign_actor" => {
                    " The phone cannot send the others unless it is enrolled anew."
                }
                _ => " The phone sends the others after those of all other work.",
            };
            said += " What a colleague carries of them is taken once this is in the record.";
        }
        Some(said)
    }
}

/// The changes of a group, and those outside that they build on.
struct Edges {
    inside: HashSet<ChangeHash>,
    outside: HashSet<ChangeHash>,
}

impl Edges {
    fn of(group: &Group) -> Self {
        let inside: HashSet<ChangeHash> = group.hashes().collect();
        let deps = group.changes.iter().flat_map(|change| change.deps.iter().copied());
        let outside = deps.filter(|hash| !inside.contains(hash)).collect();
        Self { inside, outside }
    }
}

/// When it was made by claim, with the bounds of that to be opened; nothing is known of the clocks with which it was
/// sent.
fn made(times: &CaptureTime, zone: &str) -> Markup {
    Markup(format!(
        "<details class=\"claim\" id=\"claim\"><summary>made {}, as the phone claims</summary>{}</details>",
        view::when(times.claimed_ms, zone),
        escape(&view::bounds(times, zone))
    ))
}

/// What is known of when work of a phone was made whose access was withdrawn.
struct Withdrawal {
    withdrawn_ms: i64,
    /// Its author's phone already knew of the withdrawal.
    knew: bool,
    /// When the newest of it was made, as well as that is known.
    made: CaptureTime,
    /// The bound below rests on something.
    bounded: bool,
}

impl Withdrawal {
    fn of(log: &Reader<'_>, world: &World, item: &Item) -> Result<Option<Self>, StoreError> {
        let mut newest: Option<Self> = None;
        for change in &item.group.changes {
            let withdrawn = world.device_of(change.actor).and_then(|d| world.withdrawn(d.id));
            let (Some(withdrawn), Ok(entry)) = (withdrawn, change.entry()) else { continue };
            let Some(withdrawn_ms) = log.time_of(withdrawn)? else { continue };
            let known = log.known_at(entry.when())?;
            let made = log.captured(entry.when(), item.received_ms)?;
            let knew = known > withdrawn || newest.as_ref().is_some_and(|newest| newest.knew);
            if newest.as_ref().is_none_or(|newest| newest.made.claimed_ms <= made.claimed_ms) {
                newest = Some(Self {
                    withdrawn_ms,
                    knew,
                    made,
                    bounded: made.not_before_ms().is_some(),
                });
            } else if let Some(newest) = &mut newest {
                newest.knew = knew;
            }
        }
        Ok(newest)
    }

    /// Before or after, as well as it can be known.
    fn told(&self, zone: &str) -> Markup {
        let at = |ms| view::when(ms, zone);
        let Self { withdrawn_ms, made, .. } = self;
        let withdrawn = at(*withdrawn_ms);
        if self.knew {
            let after = "Made after the phone’s access was withdrawn on";
            return Markup(format!("{after} {withdrawn}: the phone had heard of it."));
        }
        let claimed = at(made.claimed_ms);
        if made.claimed_ms >= *withdrawn_ms {
            let says = "By the phone’s own clock made on";
            return Markup(format!(
                "{says} {claimed}, after its access was withdrawn on {withdrawn}."
            ));
        }
        let doubt = match self.bounded {
            true => format!(
                "it can be from any time since {}, by what the phone knew",
                at(made.earliest_ms)
            ),
            false => "it can be from any time".to_owned(),
        };
        Markup(format!(
            "By the phone’s own clock made on {claimed}, before its access was withdrawn on {withdrawn}. \
             That is a claim: {doubt}."
        ))
    }
}
