//! Whether a picture may be of a screen: the grid of a screen's dots, sampled by another grid of dots, leaves waves of
//! one length all over the picture, in two directions, that a shelf does not have.

use crate::file::Upright;

/// From this figure on [`screen`] is worth a look.
pub const SCREEN_MIN: u32 = 22;

/// Points of a window from side to side.
const SIDE: usize = 256;
/// Windows from side to side, at most.
const WINDOWS: usize = 3;
/// The slowest wave that counts: so many in a window. Goods on shelves repeat more slowly.
const WAVES_MIN: i32 = 28;

/// How far the strongest two fast waves of different directions stand out of those of their length: the weaker one's
/// power over the median, as 10 log10. 0 for a picture without a window of 256 by 256 pixels.
pub fn screen(picture: &Upright) -> u32 {
    let (width, height) = (picture.width as usize, picture.height as usize);
    if width < SIDE || height < SIDE {
        return 0;
    }
    let grey = picture.grey();
    let (across, down) = ((width / SIDE).min(WINDOWS), (height / SIDE).min(WINDOWS));
    let place = |n: usize, of: usize, length: usize| (length - SIDE) * (2 * n + 1) / (2 * of);
    let mut power = vec![0_f32; SIDE * SIDE];
    for j in 0..down {
        for i in 0..across {
            let (x, y) = (place(i, across, width), place(j, down, height));
            add_power(&grey[y * width + x..], width, &mut power);
        }
    }
    standing_out(&power)
}

fn add_power(grey: &[u8], stride: usize, power: &mut [f32]) {
    let fade: Vec<f32> = (0..SIDE)
        .map(|at| 0.5 - 0.5 * (std::f32::consts::TAU * (at as f32 + 0.5) / SIDE as f32).cos())
        .collect();
    let row = |y: usize| &grey[y * stride..y * stride + SIDE];
    let sum: u32 = (0..SIDE).flat_map(row).map(|g| u32::from(*g)).sum();
    let mean = sum as f32 / (SIDE * SIDE) as f32;
    let mut re: Vec<f32> = (0..SIDE)
        .flat_map(|y| (0..SIDE).map(move |x| (x, y)))
        .map(|(x, y)| (f32::from(row(y)[x]) - mean) * fade[x] * fade[y])
        .collect();
    let mut im = vec![0.0; SIDE * SIDE];
    for y in 0..SIDE {
        let line = y * SIDE..(y + 1) * SIDE;
        fourier(&mut re[line.clone()], &mut im[line]);
    }
    let (mut column_re, mut column_im) = ([0.0; SIDE], [0.0; SIDE]);
    for x in 0..SIDE {
        for y in 0..SIDE {
            (column_re[y], column_im[y]) = (re[y * SIDE + x], im[y * SIDE + x]);
        }
        fourier(&mut column_re, &mut column_im);
        for y in 0..SIDE {
            power[y * SIDE + x] += column_re[y].powi(2) + column_im[y].powi(2);
        }
    }
}

/// The Fourier transform of a line, in place; its length is a power of two.
fn fourier(re: &mut [f32], im: &mut [f32]) {
    let n = re.len();
    let bits = n.trailing_zeros();
    for at in 0..n {
        let other = at.reverse_bits() >> (usize::BITS - bits);
        if at < other {
            re.swap(at, other);
            im.swap(at, other);
        }
    }
    let mut half = 1;
    while half < n {
        let (sin, cos) = (-std::f32::consts::PI / half as f32).sin_cos();
        for begin in (0..n).step_by(2 * half) {
            let (mut wr, mut wi) = (1.0, 0.0);
            for a in begin..begin + half {
                let b = a + half;
                let (tr, ti) = (re[b] * wr - im[b] * wi, re[b] * wi + im[b] * wr);
                (re[b], im[b]) = (re[a] - tr, im[a] - ti);
                (re[a], im[a]) = (re[a] + tr, im[a] + ti);
                (wr, wi) = (wr * cos - wi * sin, wr * sin + wi * cos);
            }
        }
        half *= 2;
    }
}

fn standing_out(power: &[f32]) -> u32 {
    let half = SIDE as i32 / 2;
    let at = |u: i32, v: i32| {
        power[(v.rem_euclid(half * 2) * half * 2 + u.rem_euclid(half * 2)) as usize]
    };
    // Rings of eight waves' width: what is usual for a length.
    let mut rings: Vec<Vec<f32>> = vec![Vec::new(); half as usize];
    let mut waves = Vec::new();
    for v in 0..half {
        for u in -half + 1..half {
            let length = f64::from(u * u + v * v).sqrt() as i32;
            if length < WAVES_MIN || length >= half || (v == 0 && u < 0) {
                continue;
            }
            // Straight edges and the blocks of JPEG lie on the axes.
            if u.abs() <= 2 || v.abs() <= 2 || (u % 32 == 0 && v % 32 == 0) {
                continue;
            }
            let ring = (length / 8) as usize;
            rings[ring].push(at(u, v));
            waves.push((ring, u, v));
        }
    }
    let usual: Vec<f32> = rings
        .into_iter()
        .map(|mut ring| {
            ring.sort_by(f32::total_cmp);
            ring.get(ring.len() / 2).copied().unwrap_or(0.0).max(1.0)
        })
        .collect();
    let mut found: Vec<(f32, i32, i32)> =
        waves.into_iter().map(|(ring, u, v)| (at(u, v) / usual[ring], u, v)).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some((first, u, v)) = found.first().copied() else { return 0 };
    let across = |p: i32, q: i32| {
        let (cross, dot) = (u * q - v * p, u * p + v * q);
        f64::from(cross).abs() > 0.5 * f64::from(dot).abs()
    };
    let second = found.iter().find(|(_, p, q)| across(*p, *q)).map_or(0.0, |found| found.0);
    (10.0 * first.min(second).max(1.0).log10()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wave_comes_out_at_its_place() {
        let wave = |at: usize| (std::f32::consts::TAU * 5.0 * at as f32 / 64.0).cos();
        let mut re: Vec<f32> = (0..64).map(wave).collect();
        let mut im = vec![0.0; 64];
        fourier(&mut re, &mut im);
        for at in 0..64 {
            let expected = if at == 5 || at == 59 { 32.0 } else { 0.0 };
            assert!((re[at] - expected).abs() < 1e-3 && im[at].abs() < 1e-3, "{at}");
        }
    }

    #[test]
    fn a_grid_stands_out_and_one_direction_is_not_enough() {
        let picture = |f: &dyn Fn(u32, u32) -> f64| {
            let grey = |at: u32| (f(at % 400, at / 400) * 255.0).clamp(0.0, 255.0) as u8;
            let rgb = (0..400 * 300).flat_map(|at| [grey(at); 3]).collect();
            Upright { rgb, width: 400, height: 300 }
        };
        let noise = |x: u32, y: u32| {
            let n = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b))
                .wrapping_mul(0xc2b2_ae35);
            f64::from(n >> 16) / 65_536.0 * 0.1
        };
        let wave = |x: f64, y: f64| 0.05 * (x * 1.3 + y * 0.4).sin();
        let plain = picture(&|x, y| 0.4 + noise(x, y));
        let striped = picture(&|x, y| 0.4 + noise(x, y) + wave(x.into(), y.into()));
        let grid = picture(&|x, y| {
            let (p, q) = (f64::from(x), f64::from(y));
            0.4 + noise(x, y) + wave(p, q) + wave(-q, p)
        });
        assert!(screen(&plain) < 20, "{}", screen(&plain));
        assert!(screen(&striped) < SCREEN_MIN, "{}", screen(&striped));
        assert!(screen(&grid) >= SCREEN_MIN, "{}", screen(&grid));
        assert_eq!(screen(&Upright { rgb: vec![9; 30], width: 5, height: 2 }), 0);
    }
}
