//! How well a photo that is not sharp is told, on real photographs as they are and blurred by so much.
//! `cargo test -p picture --test blur -- --nocapture` prints the table.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use picture::{Doubt, Look, PIXELS_MAX, decode};

fn photographs() -> Vec<RgbImage> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photos");
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "jpg")).collect();
    paths.sort();
    paths.iter().map(|path| image::open(path).unwrap().into_rgb8()).collect()
}

/// What a lens out of focus does, nearly: a bell of this deviation in pixels.
fn out_of_focus(photo: &RgbImage, pixels: f32) -> RgbImage {
    DynamicImage::from(photo.clone()).blur(pixels).into_rgb8()
}

/// What a hand that moves does: each point is drawn out over so many pixels, to the right or down.
fn moved(photo: &RgbImage, (pixels, down): (u32, bool)) -> RgbImage {
    let (width, height) = photo.dimensions();
    RgbImage::from_fn(width, height, |x, y| {
        let along = (0..pixels).map(|step| match down {
            true => photo.get_pixel(x, (y + step).min(height - 1)),
            false => photo.get_pixel((x + step).min(width - 1), y),
        });
        let sum =
            along.fold([0_u32; 3], |sum, Rgb(c)| std::array::from_fn(|n| sum[n] + u32::from(c[n])));
        Rgb(sum.map(|sum| (sum / pixels) as u8))
    })
}

/// How sharp a photo is, and whether it is told that it is not.
fn told(photo: &RgbImage) -> (u32, bool) {
    let mut file = Cursor::new(Vec::new());
    photo.write_to(&mut file, ImageFormat::Png).unwrap();
    let look = Look::at(&decode(&file.into_inner(), PIXELS_MAX).unwrap().upright(1_600));
    (look.sharpness, look.doubts().contains(&Doubt::Blurred))
}

#[test]
fn blurred_photographs_are_told_and_sharp_ones_are_not() {
    let photographs = photographs();
    assert!(photographs.len() >= 24);
    println!(
        "| {} photographs of 348 pixels | told | least, middle and greatest sharpness |",
        photographs.len()
    );
    let told_of = |what: String, blur: &dyn Fn(&RgbImage) -> RgbImage| {
        let mut all: Vec<(u32, bool)> =
            photographs.iter().map(|photo| told(&blur(photo))).collect();
        all.sort_unstable();
        let count = all.iter().filter(|(_, told)| *told).count();
        let [least, middle, most] = [0, all.len() / 2, all.len() - 1].map(|at| all[at].0);
        println!("| {what} | {count} | {least} / {middle} / {most} |");
        count
    };
    let all = photographs.len();
    assert_eq!(told_of("as they are".into(), &|photo| photo.clone()), 0);
    for (pixels, least) in [(1.0, 4), (2.0, all), (3.0, all), (4.0, all), (6.0, all)] {
        let count =
            told_of(format!("out of focus by {pixels}"), &|photo| out_of_focus(photo, pixels));
        assert!(count >= least, "{pixels}");
    }
    for (pixels, least) in [(4, 0), (8, 1), (12, 8), (16, 11), (24, 17)] {
        for down in [false, true] {
            let to = if down { "down" } else { "to the right" };
            let count =
                told_of(format!("moved by {pixels} {to}"), &|photo| moved(photo, (pixels, down)));
            assert!(count >= least, "{pixels} {to}");
        }
    }
}
