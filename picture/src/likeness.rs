//! Whether two pictures are of one origin: a hash by which the like can be found among many, and a sketch by which
//! what was found is looked at again.

use std::sync::LazyLock;

use crate::file::Upright;

/// Hashes of so few different bits are looked at again.
pub const NEAR_BITS: u32 = 11;

/// Sketches that agree so well are of one origin.
pub const AGREEMENT_MIN: u32 = 800;

/// How a picture is turned and enlarged before it is looked for, so that one that was cropped or held askew is found, and
/// the one that it was cropped of: either may come first. Tenths of a degree, and thousandths.
pub const TURNS: [(i32, i32); 12] = [
    (0, 1_000),
    (0, 960),
    (0, 920),
    (0, 880),
    (0, 1_060),
    (0, 1_120),
    (20, 940),
    (-20, 940),
    (40, 920),
    (-40, 920),
    (30, 1_075),
    (-30, 1_075),
];

/// Points from side to side of a sketch.
const SIDE: usize = 32;
/// Points that are compared: those in the middle, since the rim of a turned sketch is unknown.
const INNER: std::ops::Range<usize> = 5..27;
/// Points by which two sketches may lie beside each other.
const SHIFT: i32 = 3;

/// The difference hash of docs/data-model.md: of the grey picture averaged to 9 by 8, a bit says that a pixel is
/// darker than the one to its right; row by row, the first in the most significant bit.
pub fn difference_hash(picture: &Upright) -> u64 {
    let grey = picture.grey_in(9, 8);
    let pairs = grey.chunks_exact(9).flat_map(|row| row.windows(2));
    pairs.fold(0, |hash, pair| hash << 1 | u64::from(pair[0] < pair[1]))
}

/// 64 bits that are nearly the same for two files of one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub u64);

impl Hash {
    /// How many bits differ.
    #[inline]
    pub fn distance(self, other: Self) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}

/// An index holds each hash once for each of its bands, under the bits of that band.
pub const BANDS: u8 = 6;

/// Where each band begins, from the least significant bit: four of 11 bits and two of 10.
const BAND_STARTS: [u32; BANDS as usize + 1] = [0, 11, 22, 33, 44, 54, 64];

impl Hash {
    /// The bits of one of the [`BANDS`].
    pub fn band(self, band: u8) -> u16 {
        let (start, width) = place(band);
        // No band is wider than 11 bits.
        (self.0 >> start & ((1 << width) - 1)) as u16
    }

    /// The bands and what their bits may be, such that every hash of `near` or fewer different bits, up to
    /// [`NEAR_BITS`], has one of these. When 11 bits are shared out to six bands, one gets no more than one.
    pub fn probes(self, near: u32) -> impl Iterator<Item = (u8, u16)> {
        let spare = (near + 1).min(2 * u32::from(BANDS)); // each band takes its part and one more
        (0..BANDS).flat_map(move |band| {
            let share =
                spare / u32::from(BANDS) + u32::from(u32::from(band) < spare % u32::from(BANDS));
            let bits = self.band(band);
            let itself = (share > 0).then_some(bits);
            let flips = (0..place(band).1).filter(move |_| share > 1);
            itself
                .into_iter()
                .chain(flips.map(move |flip| bits ^ 1 << flip))
                .map(move |bits| (band, bits))
        })
    }
}

/// Where a band begins, and how many bits it has.
fn place(band: u8) -> (u32, u32) {
    let band = usize::from(band.min(BANDS - 1));
    (BAND_STARTS[band], BAND_STARTS[band + 1] - BAND_STARTS[band])
}

/// A picture as 32 by 32 grey points, whatever its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch([u8; SIDE * SIDE]);

impl Sketch {
    /// Of a picture.
    pub fn of(picture: &Upright) -> Self {
        let grey = picture.grey_in(SIDE as u32, SIDE as u32);
        let mut sketch = [0; SIDE * SIDE];
        sketch.iter_mut().zip(grey).for_each(|(to, from)| *to = from);
        Self(sketch)
    }

    /// As it was stored; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// 1,024 bytes, row by row.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The sketch turned and enlarged about its middle, by one of [`TURNS`]. The rim is drawn out where there is nothing.
    pub fn turned(&self, (tenths, thousandths): (i32, i32)) -> Self {
        let (sin, cos) = (f64::from(tenths) / 10.0).to_radians().sin_cos();
        let by = 1_000.0 / f64::from(thousandths);
        let middle = (SIDE as f64 - 1.0) / 2.0;
        let mut turned = [0; SIDE * SIDE];
        for (at, to) in turned.iter_mut().enumerate() {
            let (x, y) = ((at % SIDE) as f64 - middle, (at / SIDE) as f64 - middle);
            let (x, y) = (middle + (x * cos - y * sin) * by, middle + (x * sin + y * cos) * by);
            *to = self.point(x, y);
        }
        Self(turned)
    }

    fn point(&self, x: f64, y: f64) -> u8 {
        let most = SIDE as f64 - 1.0;
        let (x, y) = (x.clamp(0.0, most), y.clamp(0.0, most));
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(SIDE - 1), (top + 1).min(SIDE - 1));
        let (fx, fy) = (x - left as f64, y - top as f64);
        let at = |x: usize, y: usize| f64::from(self.0[y * SIDE + x]);
        let row = |y| at(left, y) * (1.0 - fx) + at(right, y) * fx;
        (row(top) * (1.0 - fy) + row(bottom) * fy).round() as u8
    }

    /// The signs of its 64 slowest waves (DCT-II), slowest first, without the one that is its brightness, against
    /// their median; the first in the most significant bit.
    pub fn hash(&self) -> Hash {
        static WAVES: LazyLock<[[f32; SIDE]; WAVES_MAX]> = LazyLock::new(|| {
            std::array::from_fn(|wave| {
                std::array::from_fn(|at| {
                    let turn = (at as f32 + 0.5) * wave as f32 / SIDE as f32;
                    (turn * std::f32::consts::PI).cos()
                })
            })
        });
        let waves = &*WAVES;
        let across: Vec<[f32; WAVES_MAX]> = self
            .0
            .chunks_exact(SIDE)
            .map(|row| {
                std::array::from_fn(|u| {
                    row.iter().zip(&waves[u]).map(|(g, w)| f32::from(*g) * w).sum()
                })
            })
            .collect();
        let mut found = [0_f32; 64];
        for (to, (u, v)) in found.iter_mut().zip(slowest()) {
            *to = across.iter().zip(&waves[v]).map(|(row, w)| row[u] * w).sum();
        }
        let mut sorted = found;
        sorted.sort_by(f32::total_cmp);
        let median = sorted[32];
        Hash(found.iter().fold(0, |hash, wave| hash << 1 | u64::from(*wave >= median)))
    }

    /// How well two sketches agree, from 0 to 1,000, wherever they agree best when one is moved a little over the
    /// other: their correlation, which neither brightness nor contrast changes.
    pub fn agreement(&self, other: &Self) -> u32 {
        let mut best = 0.0_f64;
        for dy in -SHIFT..=SHIFT {
            for dx in -SHIFT..=SHIFT {
                best = best.max(self.correlation(other, dx, dy));
            }
        }
        (best * 1_000.0) as u32
    }

    fn correlation(&self, other: &Self, dx: i32, dy: i32) -> f64 {
        let (mut a, mut b, mut aa, mut bb, mut ab) = (0_i64, 0_i64, 0_i64, 0_i64, 0_i64);
        for y in INNER {
            let from = (y as i32 + dy) as usize * SIDE;
            for x in INNER {
                let p = i64::from(self.0[from + (x as i32 + dx) as usize]);
                let q = i64::from(other.0[y * SIDE + x]);
                (a, b, aa, bb, ab) = (a + p, b + q, aa + p * p, bb + q * q, ab + p * q);
            }
        }
        let n = (INNER.len() * INNER.len()) as i64;
        let spread = ((n * aa - a * a) as f64) * ((n * bb - b * b) as f64);
        if spread <= 0.0 { 0.0 } else { (n * ab - a * b) as f64 / spread.sqrt() }
    }
}

const WAVES_MAX: usize = 11;

/// The 64 pairs of wave numbers with the smallest sums but (0, 0), and among equal sums the flatter first.
fn slowest() -> impl Iterator<Item = (usize, usize)> {
    (1..2 * WAVES_MAX).flat_map(|sum| (0..=sum).map(move |u| (u, sum - u))).take(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(seed: u32) -> Upright {
        let mut state = seed;
        let patches: Vec<u8> = (0..12 * 9 * 3)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        Upright { rgb: patches, width: 12, height: 9 }.resized(400, 300)
    }

    #[test]
    fn sixty_four_waves_are_all_that_is_asked_for() {
        let waves: Vec<_> = slowest().collect();
        assert_eq!(waves.len(), 64);
        assert!(waves.iter().all(|(u, v)| *u < WAVES_MAX && *v < WAVES_MAX));
    }

    #[test]
    fn no_near_hash_is_missed() {
        let mut state = 7_u64;
        let mut chance = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state ^ state >> 29
        };
        for near in 0..=NEAR_BITS {
            for _ in 0..200 {
                let hash = Hash(chance());
                let mut other = hash.0;
                while Hash(other).distance(hash) < near {
                    other ^= 1 << (chance() >> 58);
                }
                let other = Hash(other);
                assert!(hash.probes(near).any(|(band, bits)| other.band(band) == bits));
            }
        }
        assert_eq!(Hash(5).probes(11).count(), 4 * 12 + 2 * 11);
        assert_eq!(Hash(5).probes(0).count(), 1);
        let all = (0..BANDS).map(|band| u64::from(Hash(u64::MAX).band(band)).count_ones());
        assert_eq!(all.sum::<u32>(), 64);
    }

    #[test]
    fn one_picture_is_like_itself_in_every_size_and_light_and_unlike_others() {
        let (one, other) = (drawn(1), drawn(2));
        let sketch = Sketch::of(&one);
        assert_eq!(sketch.agreement(&sketch), 1_000);
        assert_eq!(Sketch::from_bytes(sketch.as_bytes()), Some(sketch.clone()));
        assert_eq!(Sketch::from_bytes(&[0; 9]), None);
        let small = Sketch::of(&one.resized(100, 75));
        assert!(sketch.hash().distance(small.hash()) <= 2);
        let mut bright = one.clone();
        bright.rgb.iter_mut().for_each(|c| *c = (u16::from(*c) * 4 / 5 + 50) as u8);
        assert!(sketch.hash().distance(Sketch::of(&bright).hash()) <= 2);
        assert!(sketch.agreement(&Sketch::of(&bright)) > 990);
        let other = Sketch::of(&other);
        assert!(sketch.hash().distance(other.hash()) > NEAR_BITS);
        assert!(sketch.agreement(&other) < 700);
    }

    #[test]
    fn a_picture_of_nothing_agrees_with_nothing() {
        let flat = Sketch([7; SIDE * SIDE]);
        assert_eq!(flat.agreement(&flat), 0);
        flat.turned(TURNS[5]).hash();
    }
}
