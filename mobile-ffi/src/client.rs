//! The one object that an app holds.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use picture::Camera;
use sync_core::cbor::{from_cbor, to_cbor};
use sync_core::client::{Clocks, Profile, Replica, Write, volumes};
use sync_core::command::{Command, CommandError, execute};
use sync_core::contest::Standing;
use sync_core::evidence::fingerprint_text;
use sync_core::id::{BlobHash, CallId, ChangeHash, DocId, Gtin, OutletId, VisitId};
use sync_core::model::catalogue::{self, Record, RecordKey, RecordKind};
use sync_core::model::contest::{About, Step};
use sync_core::model::visit::{self as core_visit, NotPossible, Note, PhotoOrigin, PhotoRef};
use sync_core::model::{Day, Geo};
use sync_core::visit::Visit as VisitView;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::photo::{Prepared, Setting, Vault, prepare};
use crate::refusal::advice;
use crate::replica::{
    OWN, PHOTOS, PhotoState, View, apply, forget_remains, own, records_of, send_photos_of,
    set_photo_aside, set_rows_aside,
};
use crate::shown::{
    each_visit, name, name_of, outlet, product, said, shown_outlet, shown_product, shown_visit,
    unreadable, visit_of,
};
use crate::store::{Reader, Store, StoreError, Writer, random};
use crate::sync::{Cancel, FETCHED_AT_ONCE_MAX, Progress, Syncing};
use crate::types::*;

/// A piece of an outlet's thread has so many posts, if there are.
const POSTS_MIN: usize = 50;
/// So long a photo is kept that nothing names and the server has not, in milliseconds: 30 days.
const UNNAMED_MS_MAX: i64 = 30 * 24 * 3_600_000;
/// So long a position says where the device is, in milliseconds: 5 minutes. Enough for who comes in from the street, where there
/// was a fix, and too little for who has gone on to another outlet.
const POSITION_MS_MAX: u64 = 5 * 60_000;

/// The 32-byte key of a folder. Keep it in the platform's key store, never beside the folder.
pub type DeviceKey = Vec<u8>;

/// An open folder: everything that one person at one organisation has on this device.
#[derive(uniffi::Object)]
pub struct Client {
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) clock: Box<dyn Clock>,
    /// Where the device was last known to be, and when that was said.
    pub(crate) position: Mutex<Option<(Geo, Clocks)>>,
    pub(crate) syncing: Syncing,
    /// Turns at fetching photos.
    pub(crate) fetching: Semaphore,
}

#[uniffi::export]
impl Client {
    /// Opens a folder, made if it is absent. Blocks.
    ///
    /// `key` is 32 random bytes that the app keeps in the platform's key store. Without it nobody reads the
    /// folder; with another one this fails and changes nothing.
    #[uniffi::constructor]
    pub fn open(folder: String, key: DeviceKey) -> Result<Arc<Self>, ClientError> {
        Self::with_clock(&folder, &key, Box::new(SystemClock::new())).map(Arc::new)
    }

    /// What this device knows of the server's log. Blocks.
    pub fn log_status(&self) -> Result<LogStatus, ClientError> {
        self.view(|view| Ok(LogStatus::of(view.profile.watch.as_ref())))
    }

    /// Somebody has looked into the alarm of [`Client::log_status`]: it is kept there among those that were seen, and the next
    /// sync takes the server's checkpoint, with its key, as the first. Without an alarm it does nothing. Blocks; saved when
    /// it returns.
    pub fn alarm_seen(&self) -> Result<(), ClientError> {
        self.change(|view, writer| {
            let mut profile = view.profile.clone();
            profile.watch.get_or_insert_default().alarm_seen();
            Ok(writer.put(OWN, own::PROFILE, &to_cbor(&profile))?)
        })
    }

    /// Who this folder is enrolled for, if it is. Blocks.
    pub fn enrolment(&self) -> Result<Option<Enrolment>, ClientError> {
        self.store.read(|reader| {
            let Some(bytes) = reader.get(OWN, own::SERVER)? else { return Ok(None) };
            let server: Server = read_cbor(&bytes)?;
            let Some(view) = View::open(reader, &self.vault)? else { return Ok(None) };
            Ok(Some(server.enrolment(&view)))
        })
    }

    /// The server is reached at another address from now on, such as when its owner has moved it. All that is here stays: it must
    /// be the same server, or one restored from its backup. Blocks.
    pub fn server_moved(&self, server: String) -> Result<(), ClientError> {
        crate::enrol::server_moved(self, &server)
    }

    /// Where the device is, for what is captured in the next five minutes, until it is said anew; `None` when it does not know.
    /// What is captured later says no place rather than one where the device was. So pass on each fix when the platform has
    /// it, have it look again while somebody works on a screen, and never pass on one of before.
    pub fn locate(&self, position: Option<Position>) -> Result<(), ClientError> {
        let geo = position.map(|p| p.geo()).transpose()?;
        let located = geo.map(|geo| (geo, self.clock.read()));
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = located;
        Ok(())
    }

    /// This person's calls of a day such as `2026-03-31`; of today, as the device best knows it, if no day
    /// is given. Blocks.
    #[uniffi::method(default(day = None))]
    pub fn calls(&self, day: Option<String>) -> Result<Vec<Call>, ClientError> {
        let day = day.map(|d| d.parse::<Day>()).transpose()?;
        self.view(|view| {
            let me = view.profile.user;
            let now = view.profile.server_ms(&self.clock.read());
            let mut wanted = Vec::new();
            view.each_record(RecordKind::Call, |record| {
                if let Record::Call(call) = record
                    && !call.cancelled
                    && call.people.contains(&me)
                {
                    wanted.push(call);
                }
            })?;
            let mut calls = Vec::new();
            for call in wanted {
                let Some(outlet) = outlet(view, call.outlet)? else { continue };
                if call.day != day.unwrap_or_else(|| Day::at(now, &outlet.zone)) {
                    continue;
                }
                let visit = VisitId::of_call(view.profile.org, call.id);
                let kept = view.document(visit.into())?;
                let status = kept.map(|k| VisitView::read(&k.document).status.as_str().to_owned());
                let others = call.people.iter().filter(|p| **p != me);
                calls.push(Call {
                    id: call.id.to_string(),
                    outlet: shown_outlet(view, &outlet)?,
                    day: call.day.to_string(),
                    template: call.template,
                    colleagues: others.map(|p| name(view, *p)).collect::<Result<_, _>>()?,
                    visit: visit.to_string(),
                    status,
                });
            }
            calls.sort_by(|a, b| a.outlet.name.cmp(&b.outlet.name));
            Ok(calls)
        })
    }

    /// Outlets whose name, number, street or town contains every word of `text`, by name. Blocks.
    #[uniffi::method(default(limit = 50))]
    pub fn find_outlets(&self, text: String, limit: u32) -> Result<Vec<Outlet>, ClientError> {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        self.view(|view| {
            let mut found = Vec::new();
            view.each_record(RecordKind::Outlet, |record| {
                if let Record::Outlet(o) = record {
                    let all = format!("{} {} {} {}", o.name, o.code, o.street, o.town);
                    let all = all.to_lowercase();
                    if o.active && words.iter().all(|word| all.contains(word)) {
                        found.push(o);
                    }
                }
            })?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            found.truncate(limit as usize);
            found.iter().map(|o| Ok(shown_outlet(view, o)?)).collect()
        })
    }

    /// An outlet. Blocks.
    pub fn outlet(&self, outlet: String) -> Result<Outlet, ClientError> {
        let id: OutletId = outlet.parse()?;
        self.view(|view| match self::outlet(view, id)? {
            Some(outlet) => Ok(shown_outlet(view, &outlet)?),
            None => Err(not_here("outlet")),
        })
    }

    /// A planogram in the version that this device has, with its products. Blocks.
    pub fn planogram(&self, number: u32) -> Result<Planogram, ClientError> {
        self.view(|view| {
            let Some(Record::Planogram(p)) = view.record(RecordKey::planogram(number))? else {
                return Err(not_here("planogram"));
            };
            let positions = p.positions.iter().map(|position| {
                Ok(PlannedPosition {
                    number: position.number,
                    shelf: position.shelf,
                    x_mm: position.x_mm,
                    width_mm: position.width_mm,
                    product: product(view, position.gtin)?,
                    facings: position.facings,
                })
            });
            let positions = positions.collect::<Result<_, StoreError>>()?;
            let shelves = p.shelves.into_iter().map(|s| Shelf {
                number: s.number,
                name: s.name,
                y_mm: s.y_mm,
                height_mm: s.height_mm,
            });
            Ok(Planogram {
                number,
                version: p.version,
                name: p.name,
                width_mm: p.width_mm,
                height_mm: p.height_mm,
                shelves: shelves.collect(),
                positions,
            })
        })
    }

    /// A visit template in the version that this device has. Blocks.
    pub fn template(&self, number: u32) -> Result<Template, ClientError> {
        self.view(|view| {
            let Some(Record::Template(t)) = view.record(RecordKey::template(number))? else {
                return Err(not_here("visit template"));
            };
            let mut names = HashMap::new();
            view.each_record(RecordKind::Display, |record| {
                if let Record::Display(display) = record {
                    names.insert(display.number, display.name);
                }
            })?;
            let digits = |gtins: Vec<Gtin>| gtins.iter().map(Gtin::to_string).collect();
            let checks = t.checks.into_iter().map(|check| Check {
                id: check.id,
                title: check.title,
                help: check.help,
                kind: match check.kind {
                    catalogue::CheckKind::Planogram => CheckKind::Planogram,
                    catalogue::CheckKind::Display { display } => CheckKind::Display {
                        display,
                        name: names.get(&display).cloned().unwrap_or_default(),
                    },
                    catalogue::CheckKind::Price { gtins } => {
                        CheckKind::Price { gtins: digits(gtins) }
                    }
                    catalogue::CheckKind::Stock { gtins } => {
                        CheckKind::Stock { gtins: digits(gtins) }
                    }
                    catalogue::CheckKind::Question { answer, options } => match answer {
                        catalogue::AnswerKind::Choice => CheckKind::Choice { options },
                        catalogue::AnswerKind::YesNo => CheckKind::YesNo,
                        catalogue::AnswerKind::Number => CheckKind::Number,
                        catalogue::AnswerKind::Text => CheckKind::Text,
                    },
                    catalogue::CheckKind::Unknown(_) => CheckKind::Other,
                },
            });
            let checks = checks.collect();
            Ok(Template { number, version: t.version, name: t.name, checks })
        })
    }

    /// A product by its GTIN; `None` for one that the catalogue does not have. Blocks.
    pub fn product(&self, gtin: String) -> Result<Option<Product>, ClientError> {
        let gtin: Gtin = gtin.parse()?;
        self.view(|view| match view.record(RecordKey::product(gtin))? {
            Some(Record::Product(product)) => Ok(Some(shown_product(product))),
            _ => Ok(None),
        })
    }

    /// Begins a planned call, or goes on with it; returns the visit's id. Blocks; saved when it returns.
    pub fn start_call(&self, call: String) -> Result<String, ClientError> {
        let call: CallId = call.parse()?;
        self.execute(Vec::new(), |_| Ok(Command::StartCall(call))).map(|(doc, _)| visit_of(doc))
    }

    /// Begins a visit that nobody planned; returns its id. Blocks; saved when it returns.
    pub fn start_visit(&self, outlet: String, template: u32) -> Result<String, ClientError> {
        let outlet: OutletId = outlet.parse()?;
        let visit = VisitId::fresh(self.fresh_ms(), random()?);
        self.execute(Vec::new(), |_| Ok(Command::StartUnplanned { visit, outlet, template }))
            .map(|(doc, _)| visit_of(doc))
    }

    /// Says why a planned call could not be made: `closed`, `refused`, `no_access`, `moved` or `other` (which
    /// needs a note). Returns the visit's id. Blocks; saved when it returns.
    #[uniffi::method(default(note = None, photos = []))]
    pub fn not_possible(
        &self,
        call: String,
        reason: String,
        note: Option<String>,
        photos: Vec<Photo>,
    ) -> Result<String, ClientError> {
        let call: CallId = call.parse()?;
        let reason = NotPossible::ALL
            .into_iter()
            .find(|r| r.as_str() == reason)
            .ok_or_else(|| invalid("reason", "is closed, refused, no_access, moved or other"))?;
        let note = note.map(|text| new_note(&text)).transpose()?;
        self.execute(photos, |photos| {
            Ok(Command::NotPossible { call, reason, note: note.clone(), photos })
        })
        .map(|(doc, _)| visit_of(doc))
    }

    /// Writes down one screen: observations, photos or both. Returns the recording's id. A value of this
    /// person's that is here already for the same check and subject is replaced; a colleague's stays beside
    /// it. A check that the visit's template on this device lacks is [`ClientError::Invalid`],
    /// unless this corrects a value that is here. Blocks; saved when it returns.
    #[uniffi::method(default(photos = []))]
    pub fn record(
        &self,
        visit: String,
        observations: Vec<Observation>,
        photos: Vec<Photo>,
    ) -> Result<String, ClientError> {
        let visit: VisitId = visit.parse()?;
        let mut notes = Vec::new();
        let mut facts = Vec::with_capacity(observations.len());
        for fact in &observations {
            let (subject, label) = fact.subject.to_core(random()?)?;
            let (value, words) = fact.value.to_core(random()?)?;
            notes.extend(label.into_iter().chain(words));
            facts.push(core_visit::Observation { check: fact.check, subject, value });
        }
        let done = self.execute(photos, |photos| {
            let (observations, notes) = (facts.clone(), notes.clone());
            Ok(Command::Record { visit, observations, photos, notes })
        });
        done.map(|(_, change)| change)
    }

    /// How photos are made from now on: their longer side, 320 to 4,096 pixels, and the JPEG's quality, 30 to 100. Until it
    /// is called that is 1,600 and 80. Blocks; saved when it returns, for as long as there is this folder.
    pub fn photo_setting(&self, side_pixels: u32, quality: u8) -> Result<(), ClientError> {
        if !(320..=4_096).contains(&side_pixels) {
            return Err(invalid("side_pixels", "is from 320 to 4,096").into());
        }
        if !(30..=100).contains(&quality) {
            return Err(invalid("quality", "is from 30 to 100").into());
        }
        let setting = Setting { side_pixels, quality_percent: quality };
        self.store.write(|writer| Ok(writer.put(OWN, own::PHOTO_SETTING, &to_cbor(&setting))?))
    }

    /// Makes a photo ready to be attached: upright, no larger than set, without any metadata, stored encrypted. One that would
    /// have more than the 20 MiB that a server takes is made coarser than set.
    /// Accepts JPEG, PNG and WebP of up to 40 MiB and 25 million pixels. What it says of its looks is a reason to
    /// take it again, and none to refuse it. Blocks for a tenth of a second or two for a large picture; saved when it
    /// returns. It is sent once a recording names it; one that none has named goes 30 days after the first sync that
    /// finds it so, and recording it then is [`ClientError::NotHere`].
    #[uniffi::method(default(check = None))]
    pub fn add_photo(&self, image: Vec<u8>, check: Option<u32>) -> Result<Photo, ClientError> {
        let prepared = prepare(&image, self.setting()?)?;
        let hash = BlobHash(prepared.sha256);
        let bytes = u32::try_from(prepared.jpeg.len()).unwrap_or(u32::MAX);
        // First the note of it, then the file: a file that nobody knows of would never go away.
        let note = |writer: &Writer<'_>| -> Result<(), ClientError> {
            let known = writer.get(PHOTOS, &hash.0)?;
            let known = known.map(|bytes| read_cbor::<PhotoState>(&bytes)).transpose()?;
            if known.is_none_or(|known| !known.attached) {
                let state = PhotoState::new(bytes, prepared.phash, Some(origin_of(&prepared)));
                writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
            }
            Ok(())
        };
        self.past_damage(|| self.store.write(note))?;
        self.vault.put(&hash.0, &prepared.jpeg)?;
        Ok(Photo { hash: hash.to_string(), check, look: Some(PhotoLook::of(&prepared)) })
    }

    /// Attaches a photo to a visit as a recording of its own; returns the recording's id. Blocks; saved when
    /// it returns.
    #[uniffi::method(default(check = None))]
    pub fn attach_photo(
        &self,
        visit: String,
        image: Vec<u8>,
        check: Option<u32>,
    ) -> Result<String, ClientError> {
        let photo = self.add_photo(image, check)?;
        self.record(visit, Vec::new(), vec![photo])
    }

    /// A photo's JPEG, if it is on this device. Blocks.
    pub fn photo(&self, hash: String) -> Result<Option<Vec<u8>>, ClientError> {
        let hash: BlobHash = hash.parse()?;
        Ok(self.vault.get(&hash.0)?)
    }

    /// Takes back one recording that is not submitted. Blocks; saved when it returns.
    pub fn undo(&self, visit: String, recording: String) -> Result<(), ClientError> {
        let (visit, recording) = (visit.parse()?, recording.parse()?);
        self.execute(Vec::new(), |_| Ok(Command::Undo { visit, recording })).map(|_| ())
    }

    /// Takes back all of this person's work in a visit that is not submitted: it was the wrong outlet.
    /// Blocks; saved when it returns.
    pub fn abandon(&self, visit: String) -> Result<(), ClientError> {
        let visit = visit.parse()?;
        self.execute(Vec::new(), |_| Ok(Command::Abandon(visit))).map(|_| ())
    }

    /// Says that this person's part of a visit is done, or what was sent back of it. Blocks; saved when it
    /// returns.
    pub fn submit(&self, visit: String) -> Result<(), ClientError> {
        let visit = visit.parse()?;
        self.execute(Vec::new(), |_| Ok(Command::Submit(visit))).map(|_| ())
    }

    /// Says something in a visit's thread, in answer to a review or post if one is named. Blocks; saved when
    /// it returns.
    #[uniffi::method(default(answers = None))]
    pub fn comment(
        &self,
        visit: String,
        text: String,
        answers: Option<String>,
    ) -> Result<(), ClientError> {
        let visit = visit.parse()?;
        let answers = answers.map(|a| a.parse::<ChangeHash>()).transpose()?;
        let text = new_note(&text)?;
        self.execute(Vec::new(), |_| Ok(Command::Comment { visit, text: text.clone(), answers }))
            .map(|_| ())
    }

    /// Contests a value of a visit, or the whole visit where neither `check` nor `subject` is given; for a distributor's
    /// people. `claim` is what was there instead, never words, and photos may show it. Returns the contest's id. Blocks;
    /// saved when it returns.
    #[uniffi::method(default(check = None, subject = None, claim = None, photos = []))]
    pub fn contest(
        &self,
        visit: String,
        text: String,
        check: Option<u32>,
        subject: Option<Subject>,
        claim: Option<Value>,
        photos: Vec<Photo>,
    ) -> Result<String, ClientError> {
        let visit = visit.parse()?;
        let about = match (check, subject) {
            (None, None) => None,
            (Some(check), Some(subject)) => {
                let (subject, _) = subject.to_core([0; 16])?;
                Some(About { check, subject })
            }
            _ => return Err(invalid("subject", "is given with its check").into()),
        };
        let claim = match claim.map(|claim| claim.to_core([0; 16])).transpose()? {
            Some((_, Some(_))) => return Err(invalid("claim", "cannot be words").into()),
            claim => claim.map(|(value, _)| value),
        };
        let text = new_note(&text)?;
        let done = self.execute(photos, |photos| {
            let (about, text, claim) = (about.clone(), text.clone(), claim.clone());
            Ok(Command::Contest { visit, about, text, claim, photos })
        });
        done.map(|(_, change)| change)
    }

    /// Goes on with a contest of [`Client::contests`]; photos may show what is said. `seen` is the [`Contest::state`] that its
    /// person was shown: `ClientError::Answered` if something was said or recorded since. Blocks; saved when it returns.
    #[uniffi::method(default(photos = []))]
    pub fn answer_contest(
        &self,
        visit: String,
        contest: String,
        seen: String,
        step: ContestStep,
        text: String,
        photos: Vec<Photo>,
    ) -> Result<(), ClientError> {
        let (visit, contest, seen) = (visit.parse()?, contest.parse()?, seen.parse()?);
        let (step, text) = (step.to_core(), new_note(&text)?);
        let done = self.execute(photos, |photos| {
            Ok(Command::Answer { visit, contest, seen, step, text: text.clone(), photos })
        });
        done.map(|_| ())
    }

    /// Says something in an outlet's thread. Blocks; saved when it returns.
    pub fn comment_outlet(&self, outlet: String, text: String) -> Result<(), ClientError> {
        let (outlet, text) = (outlet.parse()?, new_note(&text)?);
        let command = Command::CommentOutlet { outlet, text };
        self.execute(Vec::new(), |_| Ok(command.clone())).map(|_| ())
    }

    /// What was said of an outlet, newest first: what its newest volume holds, and those before as long as that is
    /// little. `older` is what the last piece said, for the next one. Blocks.
    #[uniffi::method(default(older = None))]
    pub fn outlet_thread(
        &self,
        outlet: String,
        older: Option<u32>,
    ) -> Result<OutletThread, ClientError> {
        let outlet: OutletId = outlet.parse()?;
        self.view(|view| {
            let mut volumes = volumes(view, outlet)?;
            volumes.truncate(older.map_or(usize::MAX, |older| older as usize));
            let mut posts = Vec::new();
            while posts.len() < POSTS_MIN
                && let Some(volume) = volumes.pop()
            {
                if let Some(kept) = view.document(volume)? {
                    posts.extend(said(view, &kept)?);
                }
            }
            let older = u32::try_from(volumes.len()).ok().filter(|older| *older > 0);
            Ok(OutletThread { posts, older })
        })
    }

    /// Settles a disagreement: `value` replaces what everyone has said so far. Blocks; saved when it returns.
    pub fn resolve(
        &self,
        visit: String,
        check: u32,
        subject: Subject,
        value: Value,
    ) -> Result<(), ClientError> {
        let visit = visit.parse()?;
        let (subject, _) = subject.to_core([0; 16])?;
        let (value, words) = value.to_core(random()?)?;
        if words.is_some() {
            return Err(invalid("value", "cannot be words: record them instead").into());
        }
        let command = Command::Resolve { visit, check, subject, value };
        self.execute(Vec::new(), |_| Ok(command.clone())).map(|_| ())
    }

    /// Reports an outlet that nobody has listed, found in the field; returns the id that it will have.
    /// `near` names a listed outlet of the same territory and distributor. Blocks; saved when it returns.
    #[uniffi::method(default(note = None, photos = []))]
    pub fn report_outlet(
        &self,
        name: String,
        address: String,
        near: String,
        note: Option<String>,
        photos: Vec<Photo>,
    ) -> Result<String, ClientError> {
        let near: OutletId = near.parse()?;
        let near = self.view(|view| Ok(outlet(view, near)?))?.ok_or_else(|| not_here("outlet"))?;
        let outlet = OutletId::fresh(self.fresh_ms(), random()?);
        let note = note.map(|text| new_note(&text)).transpose()?;
        let (territory, distributor) = (near.territory, near.distributor);
        self.execute(photos, |photos| {
            let (name, address, note) = (name.clone(), address.clone(), note.clone());
            Ok(Command::Report { outlet, name, address, territory, distributor, note, photos })
        })?;
        Ok(outlet.to_string())
    }

    /// A visit as this device knows it. Blocks.
    pub fn visit(&self, visit: String) -> Result<Visit, ClientError> {
        let id: VisitId = visit.parse()?;
        self.view(|view| match view.document(id.into())? {
            Some(kept) => Ok(shown_visit(view, id, &kept)?),
            None => Err(not_here("visit")),
        })
    }

    /// What people disagree on, in every visit on this device. Blocks.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, ClientError> {
        self.view(|view| {
            let mut conflicts = Vec::new();
            each_visit(view, |visit, shown| {
                let held = shown.values.into_iter().filter(|held| held.conflict);
                conflicts.extend(held.map(|held| Conflict {
                    visit: visit.to_string(),
                    outlet_name: shown.outlet_name.clone(),
                    held,
                }));
                Ok(())
            })?;
            Ok(conflicts)
        })
    }

    /// What is held against visits on this device: those that wait for an answer first, each the newest first. Blocks.
    pub fn contests(&self) -> Result<Vec<Contested>, ClientError> {
        let clocks = self.clock.read();
        self.view(|view| {
            let mut found = Vec::new();
            each_visit(view, |visit, shown| {
                for contest in shown.contests {
                    let may = steps(view, &clocks, visit, &contest)?;
                    let supervisor = may.iter().any(|step| step.to_core().finds());
                    found.push(Contested {
                        visit: visit.to_string(),
                        outlet: shown.outlet.clone(),
                        outlet_name: shown.outlet_name.clone(),
                        waits_for_own: match Standing::from_name(&contest.standing) {
                            Some(Standing::Open) => supervisor,
                            Some(Standing::Asked) => !supervisor && !may.is_empty(),
                            _ => false,
                        },
                        contest,
                        may,
                    });
                }
                Ok(())
            })?;
            let waits = |c: &Contested| {
                Standing::from_name(&c.contest.standing).is_some_and(Standing::waits)
            };
            found.sort_by_key(|c| (!waits(c), Reverse(c.contest.at_ms)));
            Ok(found)
        })
    }

    /// The visits of an outlet that are on this device, the newest first. Blocks.
    pub fn outlet_visits(&self, outlet: String) -> Result<Vec<Visit>, ClientError> {
        let outlet: OutletId = outlet.parse()?;
        self.view(|view| {
            let mut visits = Vec::new();
            for id in view.documents()? {
                let (Some(visit), Some(kept)) = (id.visit(), view.document(id)?) else { continue };
                let begun = VisitView::read(&kept.document).start;
                if begun.is_some_and(|start| start.outlet == outlet) {
                    visits.push(shown_visit(view, visit, &kept)?);
                }
            }
            visits.sort_by_key(|visit| Reverse(visit.begun_ms));
            Ok(visits)
        })
    }

    /// This person's visits that a supervisor has sent back and that wait for an answer. Blocks.
    pub fn send_backs(&self) -> Result<Vec<SendBack>, ClientError> {
        self.view(|view| {
            let mut backs = Vec::new();
            each_visit(view, |visit, shown| {
                let mine = shown.recordings.iter().any(|r| r.own && !r.withdrawn);
                if shown.status == "sent_back" && mine {
                    let reviews = shown.reviews.into_iter().filter(|r| r.standing && !r.approved);
                    backs.extend(reviews.map(|review| SendBack {
                        visit: visit.to_string(),
                        outlet_name: shown.outlet_name.clone(),
                        review,
                    }));
                }
                Ok(())
            })?;
            Ok(backs)
        })
    }

    /// What [`Client::propose_again`] would leave out now, for its person to decide. Blocks, and writes nothing.
    pub fn would_propose(&self, document: String) -> Result<Proposal, ClientError> {
        let (document, instance) = (document.parse()?, random()?);
        let clocks = self.clock.read();
        self.view(|view| {
            let done = execute(view, &clocks, None, Command::ProposeAgain { document, instance })?;
            Ok(Proposal::of(&done))
        })
    }

    /// Proposes again what the server has refused of a document, as far as it may be written now; `document` is as
    /// [`Client::outstanding`] names it. Blocks; saved when it returns.
    pub fn propose_again(&self, document: String) -> Result<Proposal, ClientError> {
        let (document, instance) = (document.parse()?, random()?);
        let clocks = self.clock.read();
        self.change(|view, writer| {
            let done = execute(view, &clocks, None, Command::ProposeAgain { document, instance })?;
            let proposal = Proposal::of(&done);
            send_photos_of(writer, &done.writes)?;
            apply(writer, done.writes)?;
            Ok(proposal)
        })
    }

    /// Drops from this device what the server has refused of a document. The server keeps what it was given.
    /// Blocks; saved when it returns.
    pub fn give_up(&self, document: String) -> Result<(), ClientError> {
        let (document, instance) = (document.parse()?, random()?);
        let clocks = self.clock.read();
        self.change(|view, writer| {
            let done = execute(view, &clocks, None, Command::GiveUp { document, instance })?;
            Ok(apply(writer, done.writes)?)
        })
    }

    /// Everything that the server has not confirmed yet. Blocks.
    pub fn outstanding(&self) -> Result<Outstanding, ClientError> {
        self.view(|view| {
            let mut documents = Vec::new();
            for id in view.documents()? {
                let Some(kept) = view.document(id)? else { continue };
                if !kept.pending.is_empty() {
                    let given = kept.given.iter().flat_map(|given| &given.changes);
                    let given: BTreeSet<&ChangeHash> =
                        given.filter(|change| kept.pending.contains(change)).collect();
                    let carried = u32::try_from(given.len()).unwrap_or(u32::MAX);
                    let colleagues = kept.given.iter().map(|given| name_of(view, given.device));
                    let colleagues = colleagues.collect::<Result<_, _>>()?;
                    let (refused, detail) = kept.refused.map(|r| (r.code, r.detail)).unzip();
                    documents.push(Unconfirmed {
                        carried,
                        colleagues,
                        document: id.to_string(),
                        entries: u32::try_from(kept.pending.len()).unwrap_or(u32::MAX),
                        advice: refused.as_deref().map(advice).unwrap_or_default().to_owned(),
                        refused,
                        detail: detail.unwrap_or_default(),
                    });
                }
            }
            let (mut photos, mut photo_bytes, mut photos_carried) = (0, 0, 0);
            view.reader.scan(PHOTOS, |_, bytes| {
                let state: PhotoState = read_cbor(bytes)?;
                if state.attached && !state.sent && state.unwanted.is_none() {
                    photos += 1;
                    photo_bytes += u64::from(state.bytes);
                    photos_carried += u32::from(state.given == Some(true));
                }
                Ok(())
            })?;
            let carried = view.cargo()?;
            Ok(Outstanding {
                documents,
                photos,
                photo_bytes,
                photos_carried,
                cargo: u32::try_from(carried.len()).unwrap_or(u32::MAX),
                cargo_bytes: carried.iter().map(|carried| u64::from(carried.bytes)).sum(),
                cargo_since_ms: carried.iter().map(|carried| carried.since_ms).min(),
                unreadable: unreadable(view)?,
            })
        })
    }

    /// Drops what [`Client::outstanding`] names as unreadable: its person knows. Blocks.
    pub fn forget_unreadable(&self) -> Result<(), ClientError> {
        self.change(|_, writer| Ok(forget_remains(writer)?))
    }

    /// Removes the photos that the server has confirmed from this device, as when its storage is full, but for those of work
    /// that it has not confirmed, or has refused: it forgets them a while after that is discarded. Returns how many bytes
    /// that freed. Blocks.
    pub fn free_space(&self) -> Result<u64, ClientError> {
        let before = self.vault.usage()?.bytes;
        // In one change: a sync that hears of a restored server wants them sent again.
        self.change(|view, _| {
            let needed = view.unconfirmed_photos()?;
            view.reader
                .scan(PHOTOS, |name, bytes| {
                    let state: PhotoState = read_cbor(bytes)?;
                    if let (true, Ok(hash)) = (state.sent, <[u8; 32]>::try_from(name))
                        && !needed.contains(&BlobHash(hash))
                    {
                        self.vault.remove(&hash)?;
                    }
                    Ok(())
                })
                .map_err(ClientError::from)
        })?;
        Ok(before.saturating_sub(self.vault.usage()?.bytes))
    }

    /// Has the next sync compare all that is here with the server, as one does every day: for a device whose
    /// storage is in doubt. Blocks; saved when it returns.
    pub fn count_anew(&self) -> Result<(), ClientError> {
        self.change(|view, writer| {
            let profile = Profile { held: None, ..view.profile.clone() };
            Ok(apply(writer, vec![Write::Profile(Box::new(profile))])?)
        })
    }

    /// A JSON text for a support desk: counts, versions, positions in the log, and ids of documents whose
    /// work was refused. No names, no observations, no places, no keys. Blocks.
    pub fn diagnostics(&self) -> Result<String, ClientError> {
        let outstanding = self.outstanding()?;
        self.view(|view| {
            let mut records = serde_json::Map::new();
            for kind in RecordKind::ALL {
                let count = view.reader.count(records_of(kind))?;
                records.insert(format!("{kind:?}").to_lowercase(), count.into());
            }
            let clocks = self.clock.read();
            let refused: Vec<_> = outstanding
                .documents
                .iter()
                .filter(|d| d.refused.is_some())
                .map(|d| serde_json::json!({ "document": d.document, "code": d.refused }))
                .collect();
            let photos = self.vault.usage()?;
            let report = serde_json::json!({
                "library": env!("CARGO_PKG_VERSION"),
                "protocol": sync_core::wire::PROTOCOL,
                "organisation": view.profile.org.to_string(),
                "device": view.profile.device.to_string(),
                "sequence": view.profile.cursor.map(|c| c.sequence),
                "clock_ahead_ms": clocks.wall_ms.saturating_sub(view.profile.server_ms(&clocks)),
                "heard_from_server_in_this_boot":
                    view.profile.witness.is_some_and(|w| w.boot == clocks.boot),
                "records": records,
                "documents": view.documents()?.len(),
                "waiting": outstanding.documents.len(),
                "mended": view.profile.mended.unwrap_or(0),
                "refused": refused,
                "unreadable":
                    outstanding.unreadable.iter().map(|u| &u.document).collect::<Vec<_>>(),
                "photos": photos.count,
                "photo_bytes": photos.bytes,
                "photos_waiting": outstanding.photos,
                "photos_with_colleagues": outstanding.photos_carried,
                "with_colleagues":
                    outstanding.documents.iter().filter(|d| d.carried > 0).count(),
                "cargo": outstanding.cargo,
                "cargo_bytes": outstanding.cargo_bytes,
                "cargo_since_ms": outstanding.cargo_since_ms,
            });
            Ok(serde_json::to_string_pretty(&report).unwrap_or_default())
        })
    }
}

#[uniffi::export(async_runtime = "tokio")]
impl Client {
    /// Enrols this folder with a one-time code from the console. Async; needs a network. A lost answer does
    /// no harm: the same code works again from this folder. A folder whose access was withdrawn, or that a restored
    /// server has forgotten, is enrolled again for the same person like this, with all that it holds. While it or a sync
    /// runs, another one is [`ClientError::Syncing`].
    pub async fn enrol(
        self: Arc<Self>,
        server: String,
        code: String,
        label: String,
    ) -> Result<Enrolment, ClientError> {
        crate::enrol::enrol(&self, &server, &code, &label).await
    }

    /// Syncs, and from then on signs with another key; the one before is worth nothing any more. Async; needs a
    /// network. Should it fail half-way, the next sync goes on with it.
    pub async fn change_key(self: Arc<Self>) -> Result<(), ClientError> {
        crate::enrol::change_key(self).await
    }

    /// Hands over what is new here and fetches what is new there, photos last. Async; needs a network.
    /// Capturing goes on meanwhile and is taken along. Ends early, with everything safe, when the network
    /// fails or `cancel` says so; call it again later.
    #[uniffi::method(default(progress = None, cancel = None))]
    pub async fn sync(
        self: Arc<Self>,
        progress: Option<Arc<dyn Progress>>,
        cancel: Option<Arc<Cancel>>,
    ) -> Result<SyncReport, ClientError> {
        crate::sync::sync(self, progress, cancel).await
    }

    /// A photo of a document that this person sees, whoever took it: from this device if it is here whole, and from the
    /// server otherwise. Async. Nothing of it is kept here. Ask for as many as you like: a few are fetched at a time.
    ///
    /// # Errors
    /// [`ClientError::NotHere`] if the server has not got it or the person does not see it, and
    /// [`ClientError::Refused`] with the code `erased` or `retired` if it is not kept any more.
    pub async fn fetch_photo(
        self: Arc<Self>,
        hash: String,
        size: PhotoSize,
    ) -> Result<Vec<u8>, ClientError> {
        let hash: BlobHash = hash.parse()?;
        if size == PhotoSize::Whole {
            match self.vault.get(&hash.0) {
                Ok(Some(bytes)) => return Ok(bytes),
                Ok(None) | Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        crate::sync::fetch_photo(&self, hash, size).await
    }

    /// Waits until the server has something new for somebody in the organisation, as a sign to sync again.
    /// Async; needs a network, and fails when it goes away. Drop or cancel it to stop waiting.
    pub async fn wait_for_news(self: Arc<Self>) -> Result<(), ClientError> {
        crate::sync::wait_for_news(&self).await
    }
}

impl Client {
    /// The file of a photo that is to be sent, if it is here. One that does not read costs itself only, like a row.
    pub(crate) fn photo_to_send(&self, hash: BlobHash) -> Result<Option<Vec<u8>>, ClientError> {
        match self.vault.get(&hash.0) {
            Err(StoreError::Damaged(_)) => {
                let sealed = self.vault.sealed(&hash.0)?.unwrap_or_default();
                self.store.write(|writer| set_photo_aside(writer, hash, sealed.clone()))?;
                self.vault.remove(&hash.0)?;
                Ok(None)
            }
            read => Ok(read?),
        }
    }

    /// Removes the photos that nothing here names any more: their screens were left, or their documents have gone out of
    /// sight or were given up. What the server has goes at once, and after [`UNNAMED_MS_MAX`] what no screen has named, or what
    /// the server has not wanted for so long; any other waits, since what was accepted may name it. Counted by what the
    /// server's clock said in syncs, so that no clock of the device can take one away.
    pub(crate) fn forget_unnamed(&self) -> Result<(), ClientError> {
        self.change(|view, writer| {
            let mut unnamed = Vec::new();
            let Some(now_ms) = view.profile.witness.map(|witness| witness.server_ms) else {
                return Ok(());
            };
            view.reader.scan(PHOTOS, |name, bytes| {
                let state: PhotoState = read_cbor(bytes)?;
                let is_unnamed =
                    !state.attached || state.idle_ms.is_some() || state.unwanted.is_some();
                if let (true, Ok(hash)) = (is_unnamed, <[u8; 32]>::try_from(name)) {
                    unnamed.push((BlobHash(hash), state));
                }
                Ok(())
            })?;
            // What no screen has named, and what left this phone or was given up and is not wanted by the server either.
            let over_ms = |state: &PhotoState| match (state.attached, state.unwanted) {
                (false, _) => state.idle_ms,
                (true, Some((since_ms, _))) => {
                    Some(since_ms.max(state.idle_ms.unwrap_or(since_ms)))
                }
                (true, None) => None,
            };
            let is_over = |state: &PhotoState| {
                over_ms(state)
                    .is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= UNNAMED_MS_MAX)
            };
            // What was given up may have come into the record since. All that is here is read for that, and so not each time.
            let named = match unnamed.iter().any(|(_, state)| !state.sent && is_over(state)) {
                true => view.named_photos()?,
                false => HashSet::new(),
            };
            for (hash, state) in unnamed {
                if !state.sent && named.contains(&hash) {
                    writer.put(PHOTOS, &hash.0, &to_cbor(&state.named()))?;
                } else if state.sent || is_over(&state) {
                    // First the file: one that nobody knows of would never go away.
                    self.vault.remove(&hash.0)?;
                    writer.delete(PHOTOS, &hash.0)?;
                } else if !state.attached && state.idle_ms.is_none_or(|since_ms| since_ms > now_ms)
                {
                    let state = PhotoState { idle_ms: Some(now_ms), ..state };
                    writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
                }
            }
            Ok(())
        })
    }

    /// The server takes a photo from nobody, as nothing there names it. If nothing here does either, it is offered seldom, and
    /// [`Client::forget_unnamed`] takes it away at last.
    pub(crate) fn is_not_wanted(&self, hash: BlobHash, now_ms: i64) -> Result<(), ClientError> {
        self.change(|view, writer| {
            let Some(bytes) = writer.get(PHOTOS, &hash.0)? else { return Ok(()) };
            if !view.named_photos()?.contains(&hash) {
                let state: PhotoState = read_cbor(&bytes)?;
                writer.put(PHOTOS, &hash.0, &to_cbor(&state.unwanted(now_ms)))?;
            }
            Ok(())
        })
    }

    /// Removes a photo that was erased, sent or not.
    pub(crate) fn erase_photo(&self, hash: BlobHash) -> Result<(), ClientError> {
        self.vault.remove(&hash.0)?;
        self.store.write(|writer| Ok(writer.delete(PHOTOS, &hash.0).map(drop)?))
    }

    /// [`Client::open`] with other clocks.
    pub fn with_clock(
        folder: &str,
        key: &[u8],
        clock: Box<dyn Clock>,
    ) -> Result<Self, ClientError> {
        let key: Zeroizing<[u8; 32]> =
            Zeroizing::new(key.try_into().map_err(|_| invalid("key", "needs exactly 32 bytes"))?);
        let folder = Path::new(folder);
        let store = Store::open(folder, &key)?;
        let vault = Vault::open(folder, &store.derive(b"photos"))?;
        let (position, syncing) = (Mutex::new(None), Syncing::default());
        let fetching = Semaphore::new(FETCHED_AT_ONCE_MAX);
        Ok(Self { store, vault, clock, position, syncing, fetching })
    }

    /// Reads with the folder's enrolment.
    pub(crate) fn view<T>(
        &self,
        work: impl Fn(&View<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.past_damage(|| self.store.read(|reader| with_view(reader, &self.vault, &work)))
    }

    /// Writes with the folder's enrolment.
    pub(crate) fn change<T>(
        &self,
        work: impl Fn(&View<'_>, &Writer<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        self.past_damage(|| {
            self.store.write(|writer| with_view(writer, &self.vault, |view| work(view, writer)))
        })
    }

    /// Does it again without the rows that do not read, should there be some: one bad document must cost that
    /// document only.
    pub(crate) fn past_damage<T>(
        &self,
        work: impl Fn() -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let done = work();
        if !matches!(done, Err(ClientError::Damaged { .. })) {
            return done;
        }
        let (clocks, instance) = (self.clock.read(), random()?);
        let aside =
            self.store.write(|writer| set_rows_aside(writer, &self.vault, &clocks, instance));
        match aside {
            Ok(1..) => work(),
            _ => done,
        }
    }

    /// How photos are made. A row that does not read is no reason to take none.
    fn setting(&self) -> Result<Setting, ClientError> {
        self.store.read(|reader| match reader.get(OWN, own::PHOTO_SETTING) {
            Ok(Some(bytes)) => Ok(read_cbor(&bytes).unwrap_or_default()),
            Ok(None) | Err(StoreError::Damaged(_)) => Ok(Setting::default()),
            Err(error) => Err(error.into()),
        })
    }

    fn fresh_ms(&self) -> u64 {
        u64::try_from(self.clock.read().wall_ms).unwrap_or(0) & 0xffff_ffff_ffff
    }

    /// Where the device is, if that was said a short while ago.
    fn place(&self, now: &Clocks) -> Option<Geo> {
        let located = *self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let (geo, then) = located?;
        let is_fresh =
            then.boot == now.boot && now.boot_ms.saturating_sub(then.boot_ms) <= POSITION_MS_MAX;
        is_fresh.then_some(geo)
    }

    /// Does a command in one transaction; returns its document and newest change.
    fn execute(
        &self,
        photos: Vec<Photo>,
        command: impl Fn(Vec<PhotoRef>) -> Result<Command, ClientError>,
    ) -> Result<(DocId, String), ClientError> {
        let clocks: Clocks = self.clock.read();
        let place = self.place(&clocks);
        self.change(|view, writer| {
            let mut refs = Vec::with_capacity(photos.len());
            for photo in &photos {
                let hash: BlobHash = photo.hash.parse()?;
                let bytes = writer.get(PHOTOS, &hash.0)?.ok_or_else(|| not_here("photo"))?;
                let state = read_cbor::<PhotoState>(&bytes)?.named();
                writer.put(PHOTOS, &hash.0, &to_cbor(&state))?;
                let PhotoState { bytes, phash, origin, .. } = state;
                refs.push(PhotoRef { hash, bytes, phash, check: photo.check, origin });
            }
            let done = execute(view, &clocks, place, command(refs)?)?;
            apply(writer, done.writes)?;
            let change = done.change.map(|c| c.to_string()).unwrap_or_default();
            Ok((done.document, change))
        })
    }
}

pub(crate) fn origin_of(prepared: &Prepared) -> PhotoOrigin {
    let Camera { taken, place, editor, written_ms } = prepared.camera;
    PhotoOrigin {
        file: BlobHash(prepared.original),
        shown_ms: taken.map(|taken| taken.shown_ms),
        offset_min: taken.and_then(|taken| taken.offset_min),
        place: place.map(|at| Geo {
            lon_e6: at.lon_e6,
            lat_e6: at.lat_e6,
            accuracy_m: None,
            mock: None,
        }),
        editor: editor.map(str::to_owned),
        written_ms,
    }
}

/// The server of an enrolment, with what opens it.
#[derive(Debug, Clone, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Server {
    #[n(0)]
    pub(crate) url: String,
    #[n(1)]
    pub(crate) token: String,
    #[n(2)]
    pub(crate) organisation_name: String,
    #[n(3)]
    pub(crate) user_name: String,
}

impl Server {
    pub(crate) fn enrolment(&self, view: &View<'_>) -> Enrolment {
        Enrolment {
            organisation: view.profile.org.to_string(),
            organisation_name: self.organisation_name.clone(),
            user: view.profile.user.to_string(),
            user_name: self.user_name.clone(),
            server: self.url.clone(),
            fingerprint: fingerprint_text(&view.profile.key),
        }
    }
}

fn with_view<T>(
    reader: &Reader<'_>,
    vault: &Vault,
    work: impl Fn(&View<'_>) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    work(&View::open(reader, vault)?.ok_or(ClientError::NotEnrolled)?)
}

pub(crate) fn read_cbor<'b, T: minicbor::Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, StoreError> {
    from_cbor(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

fn new_note(text: &str) -> Result<Note, ClientError> {
    Ok(Note::new(text, random()?)?)
}

fn not_here(what: &str) -> ClientError {
    ClientError::NotHere { what: what.into() }
}

/// How this person may go on with a contest: what would be taken, and nothing of it is kept.
fn steps(
    view: &View<'_>,
    clocks: &Clocks,
    visit: VisitId,
    contest: &Contest,
) -> Result<Vec<ContestStep>, ClientError> {
    let (seen, contest) = (contest.state.parse()?, contest.id.parse()?);
    let text = Note::new("?", [0; 16])?;
    let mut steps = Vec::new();
    for step in Step::ALL {
        let (text, photos) = (text.clone(), Vec::new());
        let command = Command::Answer { visit, contest, seen, step, text, photos };
        match execute(view, clocks, None, command) {
            Ok(_) => steps.push(ContestStep::of(step)),
            Err(CommandError::Store(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(steps)
}
