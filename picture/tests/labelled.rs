//! How well the two signals of photos do, on a labelled set that is built here from real photographs: pictures that are
//! one picture, and pictures that are not. `cargo test -p picture --test labelled -- --nocapture` prints the table.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;

use picture::{
    AGREEMENT_MIN, NEAR_BITS, PIXELS_MAX, SCREEN_MIN, Sketch, TURNS, Upright, decode, screen,
};

/// How many bits differ from the nearest earlier photo, how well it agrees with it, and how much it looks like a screen.
type Figure = ((u32, u32), u32);

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }

    /// Of either sign.
    fn away(&mut self, least: f64, most: f64) -> f64 {
        let sign = if self.unit() < 0.5 { -1.0 } else { 1.0 };
        sign * self.between(least, most)
    }

    /// Nearly normal, of deviation 1.
    fn noise(&mut self) -> f64 {
        (0..4).map(|_| self.unit() - 0.5).sum::<f64>() * 1.73
    }
}

fn photographs() -> Vec<Upright> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photos");
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        decode(&std::fs::read(path).unwrap(), PIXELS_MAX).unwrap().upright(1_600)
    };
    paths.iter().map(read).collect()
}

type Point = (f64, f64);
type Colour = [f64; 3];

fn colour(picture: &Upright, (x, y): Point) -> Colour {
    let (w, h) = (picture.width as usize, picture.height as usize);
    let (x, y) = (
        (x * w as f64 - 0.5).clamp(0.0, w as f64 - 1.0),
        (y * h as f64 - 0.5).clamp(0.0, h as f64 - 1.0),
    );
    let (left, top) = (x as usize, y as usize);
    let (fx, fy) = (x - left as f64, y - top as f64);
    let at = |x: usize, y: usize, c: usize| {
        f64::from(picture.rgb[(y.min(h - 1) * w + x.min(w - 1)) * 3 + c])
    };
    std::array::from_fn(|c| {
        let row = |y| at(left, y, c) * (1.0 - fx) + at(left + 1, y, c) * fx;
        row(top) * (1.0 - fy) + row(top + 1) * fy
    })
}

/// A picture of these sides whose every point, from 0 to 1 both ways, is asked for; four times for each pixel.
fn drawn(width: u32, height: u32, mut at: impl FnMut(Point) -> Colour) -> Upright {
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            let mut sum = [0.0; 3];
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let point = (
                    (f64::from(x) + dx) / f64::from(width),
                    (f64::from(y) + dy) / f64::from(height),
                );
                at(point).iter().zip(&mut sum).for_each(|(c, sum)| *sum += c / 4.0);
            }
            rgb.extend(sum.map(|c| c.clamp(0.0, 255.0).round() as u8));
        }
    }
    Upright { rgb, width, height }
}

fn again(picture: &Upright, quality: u8) -> Upright {
    decode(&picture.jpeg(quality).unwrap(), PIXELS_MAX).unwrap().upright(1_600)
}

/// Turned by degrees about its middle and cropped to a share of its sides; the middle moves by `shift`.
fn framed(picture: &Upright, degrees: f64, share: f64, shift: Point) -> Upright {
    let (sin, cos) = degrees.to_radians().sin_cos();
    drawn(picture.width, picture.height, |(x, y)| {
        let (x, y) = ((x - 0.5) * share, (y - 0.5) * share);
        colour(picture, (0.5 + shift.0 + x * cos - y * sin, 0.5 + shift.1 + x * sin + y * cos))
    })
}

fn lit(picture: &Upright, gain: f64, lift: f64, gamma: f64) -> Upright {
    let change =
        |c: u8| ((f64::from(c) / 255.0).powf(gamma) * 255.0 * gain + lift).clamp(0.0, 255.0) as u8;
    Upright { rgb: picture.rgb.iter().map(|c| change(*c)).collect(), ..*picture }
}

/// Where a point of the frame lies in what is seen askew: the corners are moved by these.
fn askew(corners: &[Point; 4], (x, y): Point) -> Point {
    let at = |pick: fn(&Point) -> f64| {
        let [a, b, c, d] = corners.each_ref().map(pick);
        (a * (1.0 - x) + b * x) * (1.0 - y) + (c * (1.0 - x) + d * x) * y
    };
    (x + at(|p| p.0), y + at(|p| p.1))
}

fn corners(dice: &mut Dice, most: f64) -> [Point; 4] {
    std::array::from_fn(|_| (dice.between(-most, most), dice.between(-most, most)))
}

/// A photo of a screen that shows the picture: dots of red, green and blue with gaps between them, seen askew, with a
/// lens, a sensor's noise and another gamma.
fn of_a_screen(picture: &Upright, dice: &mut Dice) -> Upright {
    let dots = dice.between(330.0, 620.0);
    let side = 512;
    let frame = corners(dice, 0.025);
    let gamma = dice.between(0.85, 1.2);
    let mut seen = drawn(side * 2, side * 2, |point| {
        let (u, v) = askew(&frame, point);
        let (p, q) = (u * dots, v * dots);
        let plain = colour(picture, ((p.floor() + 0.5) / dots, (q.floor() + 0.5) / dots));
        let (across, down) = (p.fract().abs(), q.fract().abs());
        let row = if down < 0.82 { 1.0 } else { 0.25 };
        std::array::from_fn(|c| {
            let lamp = (across * 3.0 - c as f64) >= 0.1 && (across * 3.0 - c as f64) < 0.9;
            plain[c] * row * if lamp { 2.2 } else { 0.35 }
        })
    });
    seen = seen.resized(side, side); // the lens
    let strength = dice.between(2.0, 5.0);
    seen.rgb
        .iter_mut()
        .for_each(|c| *c = (f64::from(*c) + dice.noise() * strength).clamp(0.0, 255.0) as u8);
    again(&lit(&seen, 1.05, 0.0, gamma), 85)
}

/// The same shelf on another day, as nearly as one photograph allows: from another place, in other light, with other
/// goods in some places.
fn another_day(picture: &Upright, others: &[Upright], dice: &mut Dice) -> Upright {
    let frame = corners(dice, 0.10);
    let shift = (dice.away(0.06, 0.14), dice.away(0.04, 0.10));
    let share = dice.between(0.68, 0.85);
    let moved: Vec<(Point, f64, usize)> = (0..6)
        .map(|_| {
            let place = (dice.between(0.0, 0.8), dice.between(0.0, 0.8));
            (place, dice.between(0.15, 0.28), (dice.unit() * others.len() as f64) as usize)
        })
        .collect();
    let seen = drawn(picture.width, picture.height, |point| {
        for ((left, top), size, other) in &moved {
            let (x, y) = ((point.0 - left) / size, (point.1 - top) / size);
            if (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y) {
                return colour(&others[*other], (0.3 + x * 0.4, 0.3 + y * 0.4));
            }
        }
        let (x, y) = askew(&frame, point);
        colour(picture, (0.5 + (x - 0.5) * share + shift.0, 0.5 + (y - 0.5) * share + shift.1))
    });
    again(
        &lit(&seen, dice.between(0.8, 1.1), dice.between(-10.0, 15.0), dice.between(0.85, 1.2)),
        80,
    )
}

/// How near a photo comes to an earlier one at the turn that fits best, as the server finds it: bits and agreement.
fn best(turned: &[Sketch], earlier: &Sketch) -> (u32, u32) {
    let to = earlier.hash();
    let nearest = turned.iter().min_by_key(|turned| turned.hash().distance(to)).unwrap();
    (nearest.hash().distance(to), nearest.agreement(earlier))
}

fn found((bits, agreement): (u32, u32)) -> bool {
    bits <= NEAR_BITS && agreement >= AGREEMENT_MIN
}

#[test]
fn photos_that_were_used_before_and_photos_of_screens() {
    let photos = photographs();
    assert_eq!(photos.len(), 24);
    let earlier: Vec<Sketch> = photos.iter().map(Sketch::of).collect();
    let mut dice = Dice(2_026);
    let kinds = [
        "encoded again, smaller",
        "brighter, darker",
        "cropped by 4 %",
        "cropped by 8 %",
        "cropped by 12 %",
        "turned by 1 to 3 degrees",
        "turned by 3 to 5 degrees",
        "cropped, turned and lit",
        "of a screen",
        "another day",
    ];
    let mut rows = kinds.map(|kind| (kind, 0, 0, 0, Vec::new(), 0));
    let earlier_turned: Vec<_> = earlier.iter().map(|e| TURNS.map(|turn| e.turned(turn))).collect();
    let (mut closest, mut most_alike) = (Vec::new(), 0);
    for (n, photo) in photos.iter().enumerate() {
        for (kind, row) in rows.iter_mut().enumerate() {
            for _ in 0..2 {
                let crop = |share: f64, dice: &mut Dice| {
                    let spare = (1.0 - share) / 2.0;
                    let shift = (dice.between(-spare, spare), dice.between(-spare, spare));
                    again(&framed(photo, 0.0, share, shift), 80)
                };
                let turn = |degrees: f64, share: f64| {
                    again(&framed(photo, degrees, share, (0.0, 0.0)), 80)
                };
                let made = match kind {
                    0 => again(&photo.resized(240, 240), 45),
                    1 => again(
                        &lit(
                            photo,
                            dice.between(0.7, 1.25),
                            dice.between(-20.0, 25.0),
                            dice.between(0.8, 1.3),
                        ),
                        75,
                    ),
                    2 => crop(0.96, &mut dice),
                    3 => crop(0.92, &mut dice),
                    4 => crop(0.88, &mut dice),
                    5 => turn(dice.away(1.0, 3.0), 0.95),
                    6 => turn(dice.away(3.0, 5.0), 0.92),
                    7 => again(
                        &lit(
                            &framed(photo, dice.away(0.5, 2.0), 0.94, (0.01, -0.01)),
                            1.1,
                            5.0,
                            0.9,
                        ),
                        60,
                    ),
                    8 => of_a_screen(photo, &mut dice),
                    _ => another_day(photo, &photos, &mut dice),
                };
                let sketch = Sketch::of(&made);
                let turned = TURNS.map(|turn| sketch.turned(turn));
                let own = best(&turned, &earlier[n]);
                let others = earlier.iter().enumerate().filter(|(m, _)| *m != n);
                let others: Vec<_> = others.map(|(_, other)| best(&turned, other)).collect();
                closest.extend(others.iter().map(|(bits, _)| *bits));
                most_alike = most_alike.max(others.iter().map(|o| o.1).max().unwrap_or_default());
                row.1 += 1;
                row.5 += u32::from(found(best(&earlier_turned[n], &sketch)));
                row.2 += u32::from(found(own));
                row.3 += others.into_iter().filter(|other| found(*other)).count();
                row.4.push((own, screen(&made)));
            }
        }
    }
    let (mut round, mut right, mut missed, mut wrong, mut screens, mut screens_wrong, mut plain) =
        (0, 0, 0, 0, 0, 0, 0);
    println!(
        "{:<26} {:>5} {:>6} {:>6} {:>6}  bits p50/p90, agreement p50/p10, screen p10/p50/p90",
        "", "made", "found", "round", "other"
    );
    for (kind, (name, made, hits, others, figures, back)) in rows.iter().enumerate() {
        let part = |pick: &dyn Fn(&Figure) -> u32, share: usize| {
            let mut all: Vec<u32> = figures.iter().map(pick).collect();
            all.sort_unstable();
            all[(all.len() - 1) * share / 100]
        };
        let (bits, agreement) = (|f: &Figure| f.0.0, |f: &Figure| f.0.1);
        let of_screen = |f: &Figure| f.1;
        println!(
            "{name:<26} {made:>5} {hits:>6} {back:>6} {others:>6}  {}/{}, {}/{}, {}/{}/{}/{}",
            part(&bits, 50),
            part(&bits, 90),
            part(&agreement, 50),
            part(&agreement, 10),
            part(&of_screen, 10),
            part(&of_screen, 50),
            part(&of_screen, 90),
            part(&of_screen, 100),
        );
        let taken = figures.iter().filter(|f| f.1 >= SCREEN_MIN).count() as u32;
        if kind == 8 {
            screens += taken;
        } else {
            screens_wrong += taken;
            plain += made;
        }
        wrong += *others as u32;
        if kind == 9 {
            wrong += hits;
        } else {
            (right, missed, round) = (right + hits, missed + made - hits, round + back);
        }
    }
    closest.sort_unstable();
    println!(
        "other photographs: nearest {} bits, 1 % below {}, most alike {most_alike}",
        closest[0],
        closest[closest.len() / 100]
    );
    let share = |part: u32, rest: u32| f64::from(part) / f64::from(part + rest).max(1.0);
    let screens_made = rows[8].1;
    println!(
        "used before: precision {:.3}, recall {:.3}, {:.3} where the original comes last ({wrong} wrong); screen: precision {:.3}, recall {:.3} ({screens_wrong} of {plain} others)",
        share(right, wrong),
        share(right, missed),
        share(round, right + missed - round),
        share(screens, screens_wrong),
        share(screens, screens_made - screens),
    );
    assert!(share(right, wrong) >= 0.99, "precision of photos that were used before");
    assert!(share(right, missed) >= 0.85, "recall of photos that were used before");
    assert!(share(round, right + missed - round) >= 0.85, "recall of what they were made of");
    assert!(share(screens, screens_wrong) >= 0.9, "precision of photos of screens");
    assert!(share(screens, screens_made - screens) >= 0.5, "recall of photos of screens");
}

/// As phones send it: 1,600 pixels long. The photographs have less, so what is finer than they are comes from themselves:
/// their own finest detail, laid out in mirrored tiles, and a sensor's noise.
fn as_sent(photo: &Upright, dice: &mut Dice) -> Upright {
    let (w, h) = (photo.width, photo.height);
    let coarse = photo.resized(w / 3, h / 3).resized(w, h);
    let fine: Vec<f64> = photo
        .grey()
        .into_iter()
        .zip(coarse.grey())
        .map(|(all, coarse)| f64::from(all) - f64::from(coarse))
        .collect();
    let mirrored = |at: u32, side: u32| match at % (2 * side) {
        at if at < side => at,
        at => 2 * side - 1 - at,
    };
    let long = w.max(h);
    let mut sent = photo.resized(w * SENT / long, h * SENT / long);
    let (weight, noise) = (dice.between(0.4, 1.2), dice.between(1.0, 4.0));
    let (dx, dy) = (dice.between(0.0, 300.0) as u32, dice.between(0.0, 300.0) as u32);
    let width = sent.width;
    for (at, pixel) in (0..).zip(sent.rgb.as_chunks_mut::<3>().0) {
        let (x, y) = (mirrored(at % width + dx, w), mirrored(at / width + dy, h));
        let detail = fine[(y * w + x) as usize] * weight;
        for c in pixel {
            *c = (f64::from(*c) + detail + dice.noise() * noise).clamp(0.0, 255.0) as u8;
        }
    }
    again(&sent, 80)
}

/// The longer side of what phones send.
const SENT: u32 = 1_600;
/// Of what their cameras take here, before it is made smaller.
const TAKEN: u32 = 2_800;

/// A screen that shows the picture, photographed by a phone and sent: so many dots from side to side of the frame.
fn of_a_screen_as_sent(picture: &Upright, dots: f64, dice: &mut Dice) -> Upright {
    let (width, height) = (TAKEN, TAKEN * picture.height / picture.width);
    let down = dots * f64::from(height) / f64::from(width);
    let frame = corners(dice, 0.025);
    let mut seen = drawn(width, height, |point| {
        let (u, v) = askew(&frame, point);
        let (p, q) = (u * dots, v * down);
        let plain = colour(picture, ((p.floor() + 0.5) / dots, (q.floor() + 0.5) / down));
        let (across, along) = (p.fract().abs(), q.fract().abs());
        let row = if along < 0.82 { 1.0 } else { 0.25 };
        std::array::from_fn(|c| {
            let lamp = (across * 3.0 - c as f64) >= 0.1 && (across * 3.0 - c as f64) < 0.9;
            plain[c] * row * if lamp { 2.2 } else { 0.35 }
        })
    });
    let strength = dice.between(2.0, 5.0);
    let noisy = |c: &mut u8| {
        *c = (f64::from(*c) + dice.noise() * strength).clamp(0.0, 255.0) as u8;
    };
    seen.rgb.iter_mut().for_each(noisy);
    let gamma = dice.between(0.85, 1.2);
    again(&lit(&seen.within(SENT), 1.05, 0.0, gamma), 80)
}

#[test]
fn at_the_size_that_phones_send() {
    let mut dice = Dice(1_600);
    let (mut plain, mut screens) = (Vec::new(), Vec::new());
    for (n, photo) in photographs().iter().enumerate() {
        let sent = as_sent(photo, &mut dice);
        plain.push(screen(&sent));
        if n % 2 == 0 {
            plain.push(screen(&framed(&sent, dice.away(0.5, 3.0), 0.9, (0.0, 0.0))));
        }
        if n % 3 == 0 {
            // From a television across the room to a phone held before the phone.
            let dots = 600.0 * 4.0_f64.powf(n as f64 / 21.0);
            let made = of_a_screen_as_sent(&sent, dots, &mut dice);
            let sketch = Sketch::of(&made);
            let alike = best(&TURNS.map(|turn| sketch.turned(turn)), &Sketch::of(&sent));
            assert!(found(alike), "{dots:.0} dots: {alike:?}");
            screens.push((dots as u32, screen(&made)));
        }
    }
    plain.sort_unstable();
    println!(
        "1,600 pixels: screens, dots from side to side and dB: {screens:?}; others: {plain:?}"
    );
    let wrong = plain.iter().filter(|plain| **plain >= SCREEN_MIN).count();
    let right = screens.iter().filter(|(_, screen)| *screen >= SCREEN_MIN).count();
    assert_eq!(wrong, 0, "precision of photos of screens");
    assert!(right * 4 >= screens.len() * 3, "recall of photos of screens: {right}");
}
