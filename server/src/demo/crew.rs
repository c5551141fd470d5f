//! The people of the demo: each has a phone of its own, and uses it through the mobile library.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use endcap_mobile::{
    Call, CheckKind, Client, ClientError, Found, Observation, Planogram, Position, Subject, Value,
};
use image::{Rgb, RgbImage};
use sync_core::document::Entry;
use sync_core::id::{Gtin, UserId, VisitId};
use sync_core::model::catalogue::Person;
use sync_core::model::people::Role;
use sync_core::model::visit::{Note, Review, Verdict};
use sync_core::visit::Status;

use super::brand::Brand;
use super::camera::photograph;
use crate::app::{App, Tenant};
use crate::{files, now_ms, people, random, store};

/// How many reps and how many of the distributors' staff are out.
const REPS: usize = 5;
const STAFF: usize = 3;

/// A few lines of chance that depend on the person alone (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    fn of(user: UserId) -> Self {
        Self::seeded(user.as_bytes())
    }

    fn seeded(bytes: &[u8]) -> Self {
        let mix = |n: u64, b: &u8| (n ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or(0) % n.max(1)
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

#[expect(clippy::disallowed_methods, reason = "people take their time, and one can watch them")]
async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Sends everyone out. Ends only when it is dropped.
pub(super) async fn work(
    app: Arc<App>,
    tenant: Arc<Tenant>,
    brand: Brand,
    server: String,
    phones: PathBuf,
) {
    let brand = Arc::new(brand);
    let mut crew = tokio::task::JoinSet::new();
    for (place, user) in out(&tenant).into_iter().enumerate() {
        let someone = Someone {
            app: Arc::clone(&app),
            tenant: Arc::clone(&tenant),
            brand: Arc::clone(&brand),
            server: server.clone(),
            dice: Dice::of(user),
            taken: None,
            user,
            place,
            first_day: false,
        };
        crew.spawn(someone.live(phones.join(user.to_string())));
    }
    crew.spawn(supervise(Arc::clone(&app), Arc::clone(&tenant), Arc::clone(&brand)));
    crew.spawn(async move {
        pause(45_000).await;
        if let Err(error) = super::publish_reset(&app, &tenant).await {
            tracing::warn!(%error, "demo: the seasonal change was not published");
        }
    });
    while crew.join_next().await.is_some() {}
}

/// Staff who share a call today with a rep, those reps, and a few others.
fn out(tenant: &Tenant) -> Vec<UserId> {
    let world = tenant.world();
    let role = |user: &UserId| world.people.get(user).map(|p: &Person| p.role);
    let mut calls: Vec<_> = world.calls.values().collect();
    calls.sort_by_key(|c| (c.day, c.id));
    let (mut reps, mut staff) = (Vec::new(), Vec::new());
    for call in calls {
        if let [rep, also] = call.people[..]
            && staff.len() < STAFF
            && !staff.contains(&also)
            && role(&also) == Some(Role::DistributorStaff)
        {
            staff.push(also);
            if !reps.contains(&rep) {
                reps.push(rep);
            }
        }
    }
    let mut others: Vec<UserId> = world.people.values().map(|p| p.id).collect();
    others.retain(|p| role(p) == Some(Role::Rep) && !reps.contains(p));
    others.sort();
    reps.extend(others);
    reps.truncate(REPS);
    reps.into_iter().chain(staff).collect()
}

struct Someone {
    app: Arc<App>,
    tenant: Arc<Tenant>,
    brand: Arc<Brand>,
    server: String,
    dice: Dice,
    user: UserId,
    place: usize,
    first_day: bool,
    /// The newest photo.
    taken: Option<Vec<u8>>,
}

impl Someone {
    async fn live(mut self, folder: PathBuf) {
        let phone = match self.phone(&folder).await {
            Ok(phone) => phone,
            Err(error) => {
                tracing::warn!(%error, "demo: a phone could not be set up");
                return;
            }
        };
        loop {
            if let Err(error) = self.day(&phone).await {
                tracing::debug!(%error, "demo: a step failed");
            }
            pause(4_000).await;
        }
    }

    /// A phone that is enrolled and has synced.
    async fn phone(&mut self, folder: &Path) -> Result<Arc<Client>, String> {
        let key = key(folder).map_err(|e| e.to_string())?;
        let phone = Client::open(folder.display().to_string(), key).map_err(|e| e.to_string())?;
        let enrolment = phone.enrolment().map_err(|e| e.to_string())?;
        if enrolment.as_ref().is_some_and(|enrolment| enrolment.server != self.server) {
            phone.server_moved(self.server.clone()).map_err(|e| e.to_string())?;
        }
        if enrolment.is_none() {
            self.first_day = true;
            let code = people::code_for(&self.app, &self.tenant, self.user)
                .await
                .map_err(|problem| problem.sentence())?;
            let label = ["Pixel 8a", "Galaxy A55", "iPhone 15", "Fairphone 5"][self.place % 4];
            let enrol = Arc::clone(&phone).enrol(self.server.clone(), code.code, label.into());
            enrol.await.map_err(|e| e.to_string())?;
        }
        Arc::clone(&phone).sync(None, None).await.map_err(|e| e.to_string())?;
        Ok(phone)
    }

    /// Goes through the open calls of today, mostly without a network; then settles what came back.
    async fn day(&mut self, phone: &Arc<Client>) -> Result<(), ClientError> {
        let mut open: Vec<Call> = phone.calls(None)?;
        open.retain(|call| match call.status.as_deref() {
            None => true,
            Some("in_progress" | "submitted") => !worked(phone, &call.visit),
            _ => false,
        });
        // Shared calls first: colleagues meet there, and disagree.
        open.sort_by_key(|call| call.colleagues.is_empty());
        for (done, call) in open.iter().enumerate() {
            self.visit(phone, call).await?;
            if std::mem::take(&mut self.first_day) {
                self.find(phone, call)?;
            }
            // The network comes back after one, two or three visits.
            if (done + self.place).is_multiple_of(3) || self.dice.percent(30) {
                self.sync(phone).await;
            }
        }
        self.sync(phone).await;
        self.answer(phone).await?;
        self.unplanned(phone).await
    }

    /// On the way from the first call some see an outlet that is not on the list.
    fn find(&self, phone: &Client, call: &Call) -> Result<(), ClientError> {
        let Some(found) = self.brand.comments.found.get(self.place) else { return Ok(()) };
        let address = format!("{}, {}", found.street, call.outlet.town);
        let (name, note) = (found.name.clone(), Some(found.note.clone()));
        phone.report_outlet(name, address, call.outlet.id.clone(), note, Vec::new()).map(drop)
    }

    async fn sync(&mut self, phone: &Arc<Client>) {
        if let Err(error) = Arc::clone(phone).sync(None, None).await {
            tracing::debug!(%error, "demo: no network");
        }
    }

    async fn visit(&mut self, phone: &Arc<Client>, call: &Call) -> Result<(), ClientError> {
        phone.locate(call.outlet.position.map(|p| self.near(p)))?;
        if call.colleagues.is_empty() && self.dice.percent(6) {
            let reasons = &self.brand.comments.not_possible;
            let reason = &reasons[self.dice.below(reasons.len())];
            let (code, text) = (reason.code.clone(), reason.text.clone());
            phone.not_possible(call.id.clone(), code, Some(text), Vec::new())?;
            pause(1_500).await;
            return Ok(());
        }
        let visit = phone.start_call(call.id.clone())?;
        self.audit(phone, &visit, &call.outlet, call.template, !call.colleagues.is_empty()).await
    }

    fn near(&mut self, place: Position) -> Position {
        let mut metres = || (self.dice.below(60) as f64 - 30.0) / 100_000.0;
        let (lon, lat) = (place.lon + metres(), place.lat + metres());
        Position { lon, lat, accuracy_m: Some(8 + self.dice.below(20) as u32), mock: Some(false) }
    }

    /// What there is to see: the same for everyone who looks at this thing in this outlet today, but for
    /// the few times that somebody miscounts.
    fn sight(&mut self, outlet: &str, what: &str) -> Dice {
        if self.dice.percent(2) {
            return Dice(self.dice.0);
        }
        let mut sight = Dice::seeded(format!("{outlet} {what}").as_bytes());
        sight.below(2);
        sight
    }

    /// One screen after the other, then the submission.
    async fn audit(
        &mut self,
        phone: &Arc<Client>,
        visit: &str,
        outlet: &endcap_mobile::Outlet,
        template: u32,
        shared: bool,
    ) -> Result<(), ClientError> {
        let template = phone.template(template)?;
        let quick = if self.place < 2 { 250 } else { 700 };
        for check in template.checks {
            // A colleague from the distributor does stock and price and leaves the questions.
            let staff = self.place >= REPS;
            let mut facts = Vec::new();
            let mut photos = Vec::new();
            let mut fact = |subject, value| {
                facts.push(Observation { check: check.id, subject, value });
            };
            match check.kind {
                // On a shared call the rep takes the shelf.
                CheckKind::Planogram if staff && shared && self.dice.percent(70) => continue,
                CheckKind::Planogram => {
                    for number in outlet.planograms.iter().take(2) {
                        let Ok(planogram) = phone.planogram(*number) else { continue };
                        let mut seen = Vec::new();
                        for position in &planogram.positions {
                            let what = format!("{number}/{}", position.number);
                            let mut sight = self.sight(&outlet.id, &what);
                            let (facings, found) =
                                shelf(&mut sight, position.facings, position.shelf);
                            seen.push(facings);
                            fact(
                                Subject::Position { planogram: *number, position: position.number },
                                Value::Shelf { facings, in_stock: sight.percent(70), found },
                            );
                        }
                        let picture = self.picture(&planogram, &seen);
                        if let Some(picture) = picture.filter(|_| self.dice.percent(80)) {
                            photos.push(phone.add_photo(picture, Some(check.id))?);
                        }
                    }
                }
                CheckKind::Stock { gtins } => {
                    for gtin in these(gtins, outlet) {
                        let mut sight = self.sight(&outlet.id, &gtin);
                        let on_shelf = sight.percent(91);
                        let units = on_shelf.then(|| 2 + sight.below(30) as u32);
                        fact(Subject::Product { gtin }, Value::Stock { on_shelf, units });
                    }
                }
                CheckKind::Price { gtins } => {
                    for gtin in these(gtins, outlet) {
                        let mut sight = self.sight(&outlet.id, &format!("price {gtin}"));
                        if let Some(minor) = self.price(&mut sight, &gtin, &outlet.channel) {
                            let value = Value::Price { minor, currency: "EUR".into() };
                            fact(Subject::Product { gtin }, value);
                        }
                    }
                }
                CheckKind::Display { display, .. } => {
                    let met = self.sight(&outlet.id, &check.title).percent(72);
                    fact(Subject::Display { display }, Value::Met { met });
                }
                _ if staff || shared && self.dice.percent(50) => continue,
                CheckKind::Choice { options } => {
                    let mut sight = self.sight(&outlet.id, &check.title);
                    let option = sight.below(options.len()) as u32;
                    fact(Subject::Outlet, Value::Choice { option });
                }
                CheckKind::YesNo => {
                    fact(
                        Subject::Outlet,
                        Value::YesNo { yes: self.sight(&outlet.id, &check.title).percent(80) },
                    );
                }
                CheckKind::Number => {
                    let number = self.sight(&outlet.id, &check.title).below(12) as i64;
                    fact(Subject::Outlet, Value::Number { number });
                }
                CheckKind::Text | CheckKind::Other => continue,
            }
            if facts.is_empty() && photos.is_empty() {
                continue;
            }
            phone.record(visit.to_owned(), facts, photos)?;
            pause(quick + self.dice.below(600) as u64).await;
            if self.dice.percent(12) {
                self.sync(phone).await;
            }
        }
        phone.submit(visit.to_owned())
    }

    /// The recommended price, a little off now and then.
    fn price(&self, sight: &mut Dice, gtin: &str, channel: &str) -> Option<i64> {
        let gtin: Gtin = gtin.parse().ok()?;
        let recommended = {
            let world = self.tenant.world();
            let list = world.catalogue.price_list_for(channel)?;
            list.in_force(gtin, sync_core::model::Day::at(crate::now_ms(), "UTC"))?
        };
        Some(match sight.below(100) {
            0..=7 => recommended + recommended / 12,
            8..=12 => recommended - recommended / 10,
            13..=25 => recommended + 2,
            _ => recommended,
        })
    }

    /// A photo of the shelf as it was found, drawn from the planogram.
    fn picture(&mut self, planogram: &Planogram, seen: &[u32]) -> Option<Vec<u8>> {
        let scale = f64::from(planogram.width_mm.max(1)) / 1_200.0;
        let px = |mm: u32| (f64::from(mm) / scale) as u32;
        let height = px(planogram.height_mm).clamp(200, 1_600);
        let mut image = RgbImage::from_fn(1_200, height, |x, y| {
            let shade = 214_u32.saturating_sub(y * 40 / height) as u8 - ((x / 300) % 2 * 3) as u8;
            Rgb([shade, shade, shade.saturating_add(6)])
        });
        let colours: Vec<(u32, u32)> = {
            let world = self.tenant.world();
            let product = |gtin: &str| world.catalogue.product(gtin.parse().ok()?).cloned();
            let each = planogram.positions.iter().map(|p| product(&p.product.gtin));
            each.map(|p| p.map_or((0x88_88_88, 200), |p| (p.colour, p.height_mm))).collect()
        };
        for shelf in &planogram.shelves {
            let y = height.saturating_sub(px(shelf.y_mm)).min(height - 1);
            fill(&mut image, 0, y.saturating_sub(2), 1_200, 10, [96, 98, 104]);
        }
        for ((position, facings), (colour, tall)) in
            planogram.positions.iter().zip(seen).zip(colours)
        {
            let Some(shelf) = planogram.shelves.iter().find(|s| s.number == position.shelf) else {
                continue;
            };
            let wide = px(position.width_mm / position.facings.max(1)).max(4);
            let tall = px(tall.min(shelf.height_mm));
            let top = height.saturating_sub(px(shelf.y_mm) + tall + 3);
            let [_, r, g, b] = colour.to_be_bytes();
            for n in 0..*facings {
                let x = px(position.x_mm) + n * wide;
                let lean = self.dice.below(5) as u32;
                fill(&mut image, x + 1, top + lean, wide - 2, tall.saturating_sub(lean), [r, g, b]);
                let label = [r / 2 + 120, g / 2 + 120, b / 2 + 120];
                fill(
                    &mut image,
                    x + 3,
                    top + lean + tall / 3,
                    wide.saturating_sub(6),
                    tall / 4,
                    label,
                );
            }
        }
        // One of them saves the way now and then, and sends an old picture again.
        if self.place == REPS - 1 && self.dice.percent(30) && self.taken.is_some() {
            return self.taken.clone();
        }
        self.taken = photograph(&image, now_ms(), &mut self.dice);
        self.taken.clone()
    }

    /// Answers what was sent back: says so, looks again, submits again.
    async fn answer(&mut self, phone: &Arc<Client>) -> Result<(), ClientError> {
        for back in phone.send_backs()? {
            let place =
                self.brand.comments.send_back.iter().position(|c| *c == back.review.comment);
            let place = place.unwrap_or_else(|| self.dice.below(24));
            let text = self.brand.comments.thread[place % self.brand.comments.thread.len()].clone();
            phone.comment(back.visit.clone(), text, Some(back.review.id))?;
            let visit = phone.visit(back.visit.clone())?;
            let own = |held: &&endcap_mobile::Held| held.said.iter().any(|s| s.own);
            let short =
                visit.values.iter().filter(own).find_map(|held| match &held.said[0].value {
                    Value::Shelf { facings, .. } if *facings == 0 => Some(held.clone()),
                    _ => None,
                });
            if let Some(held) = short {
                let value = Value::Shelf { facings: 2, in_stock: true, found: Found::AsPlanned };
                let fact = Observation { check: held.check, subject: held.subject, value };
                phone.record(back.visit.clone(), vec![fact], Vec::new())?;
                phone.submit(back.visit)?;
            }
            pause(2_000).await;
        }
        self.sync(phone).await;
        Ok(())
    }

    /// With nothing left on the plan, now and then a visit that nobody asked for.
    async fn unplanned(&mut self, phone: &Arc<Client>) -> Result<(), ClientError> {
        pause(15_000).await;
        if self.dice.percent(25) {
            let outlets = phone.find_outlets(String::new(), 500)?;
            if let Some(outlet) = outlets.get(self.dice.below(outlets.len())) {
                let template = match outlet.channel.as_str() {
                    "hypermarket" | "supermarket" => 1,
                    "horeca" => 3,
                    _ => 2,
                };
                phone.locate(outlet.position.map(|p| self.near(p)))?;
                let visit = phone.start_visit(outlet.id.clone(), template)?;
                self.audit(phone, &visit, outlet, template, false).await?;
            }
        }
        self.sync(phone).await;
        Ok(())
    }
}

fn shelf(sight: &mut Dice, planned: u32, shelf: u32) -> (u32, Found) {
    match sight.below(100) {
        0..=4 => (0, Found::AsPlanned),
        5..=9 if planned > 1 => (planned - 1, Found::AsPlanned),
        10..=12 => (planned, Found::MovedAlong),
        13 => (planned, Found::OtherShelf { shelf: if shelf > 1 { shelf - 1 } else { 2 } }),
        _ => (planned, Found::AsPlanned),
    }
}

fn worked(phone: &Client, visit: &str) -> bool {
    let visit = phone.visit(visit.to_owned());
    visit.is_ok_and(|v| v.recordings.iter().any(|r| r.own && !r.withdrawn))
}

fn these(named: Vec<String>, outlet: &endcap_mobile::Outlet) -> Vec<String> {
    if named.is_empty() { outlet.must_stock.clone() } else { named }
}

fn fill(image: &mut RgbImage, x: u32, y: u32, width: u32, height: u32, colour: [u8; 3]) {
    for y in y..y.saturating_add(height).min(image.height()) {
        for x in x..x.saturating_add(width).min(image.width()) {
            image.put_pixel(x, y, Rgb(colour));
        }
    }
}

/// A demo phone's key lies beside its folder, where a real one never would.
fn key(folder: &Path) -> std::io::Result<Vec<u8>> {
    let path = folder.with_extension("key");
    if let Ok(key) = std::fs::read(&path) {
        return Ok(key);
    }
    let key: [u8; 32] = random();
    files::write(&path, &key, files::Read::Owner)?;
    Ok(key.to_vec())
}

/// Supervisors look at what waits, approve most of it and send some back.
async fn supervise(app: Arc<App>, tenant: Arc<Tenant>, brand: Arc<Brand>) {
    let Some(boss) = brand.people.iter().find(|(p, _)| p.role == Role::Admin).map(|(p, _)| p.id)
    else {
        return;
    };
    let mut dice = Dice::of(boss);
    loop {
        pause(9_000).await;
        if let Err(error) = review_one(&app, &tenant, &brand, boss, &mut dice).await {
            tracing::debug!(error, "demo: a review failed");
        }
    }
}

async fn review_one(
    app: &App,
    tenant: &Arc<Tenant>,
    brand: &Brand,
    boss: UserId,
    dice: &mut Dice,
) -> Result<(), String> {
    let org = tenant.org;
    let id = tenant.id;
    let waiting = app.store.read(move |connection| {
        let mut query = connection.prepare_cached(
            "SELECT visit FROM visit WHERE org = ?1 AND status = ?2 AND conflicts = 0
             ORDER BY changed LIMIT 20",
        )?;
        let rows = query.query_map((org, Status::Submitted.as_str()), |row| row.get(0))?;
        let visits: Vec<VisitId> =
            rows.map(|r| r.map(VisitId::from_bytes)).collect::<Result<_, _>>()?;
        // A few always wait, so that there is something to do for whoever looks.
        visits
            .get(..visits.len().saturating_sub(8))
            .and_then(|old| old.first())
            .map(|visit| store::log::document(connection, org, id, (*visit).into()))
            .transpose()
    });
    let Some(held) = waiting.await.map_err(|e| e.to_string())? else { return Ok(()) };
    let heads = held.document.heads().to_vec();
    let (verdict, note) = if dice.percent(70) {
        (Verdict::Approved, None)
    } else {
        let comments = &brand.comments.send_back;
        let salt: [u8; 16] = random();
        let note = Note::new(&comments[dice.below(comments.len())], salt);
        (Verdict::SentBack, Some(note.map_err(|e| e.to_string())?))
    };
    let comment = note.as_ref().map(Note::digest);
    let review = move |when| Entry::Review(Review { by: boss, when, verdict, heads, comment });
    let acted = app.act(tenant, held.document.id(), note, review);
    acted.await.map(|_| ()).map_err(|e| e.to_string())
}
