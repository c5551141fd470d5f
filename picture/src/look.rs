//! Whether a photo can be used: sharp enough, and neither dark nor blinding. A warning, never a refusal.

use crate::file::Upright;

/// Where sharpness is measured: a picture of this longer side, so that it does not depend on the camera.
const SIDE_PIXELS: u32 = 800;
/// Variance of the Laplacian in the sharpest quarter of the tiles, below which nothing is sharp.
const SHARPNESS_MIN: u32 = 60;
/// Mean brightness, of 255.
const DARK_BELOW: u8 = 40;
const BRIGHT_ABOVE: u8 = 225;
/// Share of the pixels that are black, or white, in percent.
const LOST_PERCENT_MAX: u8 = 70;
/// Tiles from left to right, and from top to bottom.
const TILES: usize = 8;

/// How a photo looks, in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Variance of the Laplacian of the grey picture of 800 pixels' length, in the sharpest quarter of its tiles.
    pub sharpness: u32,
    /// Mean brightness, of 255.
    pub brightness: u8,
    /// Pixels that are nearly black, in percent.
    pub dark_percent: u8,
    /// Pixels that are nearly white, in percent.
    pub bright_percent: u8,
}

/// What may be wrong with a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Nothing in it is sharp: take it again.
    Blurred,
    /// Too little light.
    TooDark,
    /// Too much of it.
    TooBright,
}

impl Look {
    /// Looks at a picture.
    pub fn at(picture: &Upright) -> Self {
        let long = picture.width.max(picture.height);
        let scaled = |side: u32| (side * SIDE_PIXELS / long).max(1);
        let (width, height) = match long > SIDE_PIXELS {
            true => (scaled(picture.width), scaled(picture.height)),
            false => (picture.width, picture.height),
        };
        let grey = picture.grey_in(width, height);
        let count = grey.len().max(1);
        let percent = |of: usize| (of * 100 / count) as u8;
        let sum: usize = grey.iter().map(|g| usize::from(*g)).sum();
        Self {
            sharpness: sharpness(&grey, width as usize, height as usize),
            brightness: (sum / count) as u8,
            dark_percent: percent(grey.iter().filter(|g| **g < 16).count()),
            bright_percent: percent(grey.iter().filter(|g| **g > 245).count()),
        }
    }

    /// What may be wrong. A dark picture is told as dark, although nothing in it is sharp either.
    pub fn doubts(&self) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        if self.brightness < DARK_BELOW || self.dark_percent > LOST_PERCENT_MAX {
            doubts.push(Doubt::TooDark);
        }
        if self.brightness > BRIGHT_ABOVE || self.bright_percent > LOST_PERCENT_MAX {
            doubts.push(Doubt::TooBright);
        }
        if doubts.is_empty() && self.sharpness < SHARPNESS_MIN {
            doubts.push(Doubt::Blurred);
        }
        doubts
    }
}

fn sharpness(grey: &[u8], width: usize, height: usize) -> u32 {
    if width < 3 || height < 3 {
        return u32::MAX;
    }
    let mut tiles = [(0_i64, 0_i64, 0_i64); TILES * TILES];
    for y in 1..height - 1 {
        let rows = [y - 1, y, y + 1].map(|y| &grey[y * width..(y + 1) * width]);
        let across = y * TILES / height * TILES;
        for x in 1..width - 1 {
            let around = [rows[0][x], rows[2][x], rows[1][x - 1], rows[1][x + 1]];
            let around: i64 = around.into_iter().map(i64::from).sum();
            let edge = around - 4 * i64::from(rows[1][x]);
            let tile = &mut tiles[across + x * TILES / width];
            *tile = (tile.0 + 1, tile.1 + edge, tile.2 + edge * edge);
        }
    }
    let variance = |(n, sum, squares): &(i64, i64, i64)| (squares - sum * sum / n) / n;
    let mut sharp: Vec<i64> = tiles.iter().filter(|tile| tile.0 > 0).map(variance).collect();
    sharp.sort_unstable();
    let at = sharp.len() * 3 / 4;
    u32::try_from(sharp.get(at).copied().unwrap_or_default()).unwrap_or(u32::MAX)
}
