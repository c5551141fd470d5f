//! Photos on the device: what a camera gives becomes a small JPEG that tells nothing but the picture, and
//! lies sealed in a folder until it has been sent.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use picture::{Camera, Doubt, Flaw, Look, Upright};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::store::{StoreError, mac, make_dir, random, seal, subkey, sync_dir, unseal};

/// Longest file that is accepted.
pub(crate) const INPUT_BYTES_MAX: usize = 40 << 20;
/// Most pixels of a picture that is accepted: a phone has little memory, and a camera of 48 million pixels gives
/// smaller pictures too.
pub(crate) const INPUT_PIXELS_MAX: u64 = 25_000_000;

/// The longest photo that a server takes.
pub(crate) const BYTES_MAX: usize = 20 << 20;
/// By how much the quality is lowered for a photo that is longer, and how far at most.
const QUALITY_STEP_PERCENT: u8 = 10;
const QUALITY_PERCENT_MIN: u8 = 30;

/// How photos are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub(crate) struct Setting {
    /// The longer side, at most, in pixels.
    #[n(0)]
    pub(crate) side_pixels: u32,
    /// Of the JPEG, 1 to 100.
    #[n(1)]
    pub(crate) quality_percent: u8,
}

impl Default for Setting {
    fn default() -> Self {
        Self { side_pixels: 1_600, quality_percent: 80 }
    }
}

/// Why a file cannot become a photo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PhotoError {
    /// More bytes than are accepted.
    #[error("is a file of more than 40 MiB")]
    TooLong,
    /// It makes a photo of more bytes than a server takes.
    #[error("makes a photo of more than 20 MiB: set photos to be made smaller")]
    TooFine,
    /// It is no picture, or not such a one.
    #[error("cannot be used: {0}{advice}", advice = advice(.0))]
    Flawed(#[from] Flaw),
}

fn advice(flaw: &Flaw) -> String {
    match flaw {
        Flaw::TooLarge { .. } => {
            let millions = INPUT_PIXELS_MAX / 1_000_000;
            format!("; {millions} million are accepted: set the camera to smaller pictures")
        }
        _ => String::new(),
    }
}

/// A photo as it is kept and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// The file: upright, without EXIF, colour profile or any other metadata.
    pub(crate) jpeg: Vec<u8>,
    /// SHA-256 of `jpeg`.
    pub(crate) sha256: [u8; 32],
    /// SHA-256 of the file that the camera wrote.
    pub(crate) original: [u8; 32],
    /// Pixels from left to right.
    pub(crate) width: u32,
    /// Pixels from top to bottom.
    pub(crate) height: u32,
    /// The picture's difference hash.
    pub(crate) phash: u64,
    /// What the camera wrote beside the picture.
    pub(crate) camera: Camera,
    /// How it looks.
    pub(crate) look: Look,
    /// What may be wrong with it.
    pub(crate) doubts: Vec<Doubt>,
}

/// Makes the file that is kept from the file that a camera wrote. It is a function of the bytes and the setting alone.
pub(crate) fn prepare(bytes: &[u8], setting: Setting) -> Result<Prepared, PhotoError> {
    if bytes.len() > INPUT_BYTES_MAX {
        return Err(PhotoError::TooLong);
    }
    let decoded = picture::decode(bytes, INPUT_PIXELS_MAX)?;
    let camera = decoded.camera;
    let picture = decoded.upright(setting.side_pixels);
    let jpeg = fitting(&picture, setting.quality_percent, BYTES_MAX)?;
    let look = Look::at(&picture);
    Ok(Prepared {
        sha256: Sha256::digest(&jpeg).into(),
        original: Sha256::digest(bytes).into(),
        width: picture.width,
        height: picture.height,
        phash: picture::difference_hash(&picture),
        camera,
        look,
        doubts: look.doubts(),
        jpeg,
    })
}

/// The JPEG of a picture, of this quality, or of the best below it that has so many bytes at most.
fn fitting(picture: &Upright, quality: u8, bytes_max: usize) -> Result<Vec<u8>, PhotoError> {
    let mut quality = quality;
    loop {
        let jpeg = picture.jpeg(quality)?;
        if jpeg.len() <= bytes_max {
            return Ok(jpeg);
        }
        if quality <= QUALITY_PERCENT_MIN {
            return Err(PhotoError::TooFine);
        }
        quality = quality.saturating_sub(QUALITY_STEP_PERCENT).max(QUALITY_PERCENT_MIN);
    }
}

/// The folder of sealed photos. A file's name is an HMAC of the photo's hash, so the folder tells how many
/// there are and how long they are, and nothing else.
pub(crate) struct Vault {
    dir: PathBuf,
    name_key: Zeroizing<[u8; 32]>,
    file_key: Zeroizing<[u8; 32]>,
}

/// What a [`Vault`] holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// How many photos.
    pub(crate) count: u64,
    /// Their length on the disk, in bytes.
    pub(crate) bytes: u64,
}

const UNFINISHED: &str = "part";

impl Vault {
    /// Opens the folder `photos` in the store's directory. The key is the store's, for this purpose; holding
    /// the store also keeps every other process away from here.
    pub(crate) fn open(dir: &Path, key: &[u8; 32]) -> Result<Self, StoreError> {
        let vault = Self {
            dir: dir.join("photos"),
            name_key: subkey(key, &[b"name"]),
            file_key: subkey(key, &[b"file"]),
        };
        make_dir(&vault.dir)?;
        for entry in fs::read_dir(&vault.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(vault)
    }

    /// Keeps a photo under its hash. Once this is `Ok` it survives a loss of power; at no time is there half
    /// a photo.
    pub(crate) fn put(&self, hash: &[u8; 32], bytes: &[u8]) -> Result<(), StoreError> {
        let sealed = seal(&self.file_key, hash, &[bytes])?;
        let path = self.path(hash);
        let chance = hex(&random::<4>()?);
        let unfinished = path.with_extension(format!("{chance}.{UNFINISHED}"));
        let written = File::create_new(&unfinished)
            .and_then(|mut file| {
                file.write_all(&sealed)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&unfinished, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&unfinished);
            return Err(error.into());
        }
        Ok(sync_dir(&self.dir)?)
    }

    /// The photo with this hash, if it is kept.
    pub(crate) fn get(&self, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(sealed) = self.sealed(hash)? else { return Ok(None) };
        let mut plain = Vec::new();
        unseal(&self.file_key, hash, &sealed, &mut plain)
            .ok_or_else(|| StoreError::Damaged(format!("the photo {}", hex(hash))))?;
        Ok(Some(plain))
    }

    /// Whether there is a file of it.
    pub(crate) fn holds(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        Ok(self.path(hash).try_exists()?)
    }

    /// Its file as it lies there.
    pub(crate) fn sealed(&self, hash: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(present(fs::read(self.path(hash)))?)
    }

    /// Removes a photo; whether it was there.
    pub(crate) fn remove(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        if present(fs::remove_file(self.path(hash)))?.is_none() {
            return Ok(false);
        }
        sync_dir(&self.dir)?;
        Ok(true)
    }

    /// How many photos there are, and how much room they take.
    pub(crate) fn usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage::default();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some() {
                continue;
            }
            // Another thread may just have removed it.
            if let Some(metadata) = present(entry.metadata())? {
                usage.count += 1;
                usage.bytes += metadata.len();
            }
        }
        Ok(usage)
    }

    fn path(&self, hash: &[u8; 32]) -> PathBuf {
        self.dir.join(hex(&mac::<16>(&self.name_key, &[hash])))
    }
}

fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::codecs::jpeg::JpegEncoder;
    use image::imageops::FilterType;
    use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

    use super::*;
    use crate::store::tests::Scratch;

    /// A picture of soft patches; each seed gives another.
    fn drawn(width: u32, height: u32, seed: u8) -> DynamicImage {
        let patches = RgbImage::from_fn(11, 10, |x, y| {
            let chance = Sha256::digest([seed, x as u8, y as u8]);
            Rgb([chance[0], chance[1], chance[2]])
        });
        DynamicImage::from(patches).resize_exact(width, height, FilterType::CatmullRom)
    }

    fn prepare(bytes: &[u8]) -> Result<Prepared, PhotoError> {
        super::prepare(bytes, Setting::default())
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// The real photographs.
    fn photographs() -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/photos");
        let entries = fs::read_dir(dir).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "jpg"));
        paths.sort();
        paths.iter().map(|path| fs::read(path).unwrap()).collect()
    }

    /// `jpeg` with an EXIF block that holds this orientation and a GPS position.
    fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x02".to_vec();
        exif.extend([1, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0]);
        exif.extend([0x88, 0x25, 0, 4, 0, 0, 0, 1, 0, 0, 0, 38]);
        exif.extend([0; 4]);
        exif.extend(b"\0\x01\0\x01\0\x02\0\0\0\x02N\0\0\0\0\0\0\0GPS-PLANTED");
        let mut out = jpeg[..2].to_vec();
        out.extend([0xff, 0xe1]);
        out.extend((exif.len() as u16 + 2).to_be_bytes());
        out.extend(exif);
        out.extend(&jpeg[2..]);
        out
    }

    /// The markers before the picture's data.
    fn markers(jpeg: &[u8]) -> Vec<u8> {
        let (mut at, mut found) = (2, Vec::new());
        loop {
            assert_eq!(jpeg[at], 0xff);
            found.push(jpeg[at + 1]);
            if jpeg[at + 1] == 0xda {
                return found;
            }
            at += 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
        }
    }

    fn distance(a: &Prepared, b: &Prepared) -> u32 {
        (a.phash ^ b.phash).count_ones()
    }

    #[test]
    fn any_accepted_file_becomes_a_small_jpeg() {
        for (format, (width, height), expected) in [
            (ImageFormat::Jpeg, (2_000, 1_500), (1_600, 1_200)),
            (ImageFormat::Png, (1_000, 3_201), (500, 1_600)),
            (ImageFormat::WebP, (1_601, 9), (1_600, 9)),
            (ImageFormat::Jpeg, (320, 240), (320, 240)),
            (ImageFormat::Png, (5_000, 1), (1_600, 1)),
            (ImageFormat::Png, (1, 1), (1, 1)),
        ] {
            let bytes = encoded(&drawn(width, height, 3), format);
            let made = prepare(&bytes).unwrap();
            assert_eq!((made.width, made.height), expected);
            assert_eq!(prepare(&bytes).unwrap(), made);
            assert_eq!(made.sha256, <[u8; 32]>::from(Sha256::digest(&made.jpeg)));
            let read = image::load_from_memory_with_format(&made.jpeg, ImageFormat::Jpeg).unwrap();
            assert_eq!((read.width(), read.height()), expected);
        }
        for picture in [
            DynamicImage::new_luma8(20, 10),
            DynamicImage::new_luma_a16(20, 10),
            DynamicImage::new_rgba16(20, 10),
        ] {
            prepare(&encoded(&picture, ImageFormat::Png)).unwrap();
        }
    }

    #[test]
    fn what_the_camera_wrote_goes_with_the_photo() {
        let mut made = prepare(&encoded(&drawn(40, 30, 3), ImageFormat::Png)).unwrap();
        made.camera = Camera {
            taken: Some(picture::Taken { shown_ms: 1_000, offset_min: Some(-90) }),
            place: Some(picture::Place { lon_e6: 2, lat_e6: -3 }),
            editor: Some("Snapseed"),
            written_ms: Some(99_000),
        };
        let origin = crate::client::origin_of(&made);
        assert_eq!(origin.file.0, made.original);
        assert_eq!((origin.shown_ms, origin.offset_min), (Some(1_000), Some(-90)));
        let place = origin.place.map(|at| (at.lon_e6, at.lat_e6, at.accuracy_m, at.mock));
        assert_eq!(place, Some((2, -3, None, None)));
        assert_eq!((origin.editor.as_deref(), origin.written_ms), (Some("Snapseed"), Some(99_000)));
    }

    #[test]
    fn twelve_megapixels_take_no_more_than_a_hundred_megabytes() {
        let jpeg = encoded(&drawn(4_000, 3_000, 5), ImageFormat::Jpeg);
        for (orientation, size) in [(1, (1_600, 1_200)), (6, (1_200, 1_600))] {
            let (file, mut made) = (with_exif(&jpeg, orientation), None);
            let held = allocation_counter::measure(|| made = Some(prepare(&file))).bytes_max;
            let made = made.unwrap().unwrap();
            assert_eq!((made.width, made.height), size);
            assert!(held + file.len() as u64 <= 100_000_000, "{held}");
        }
    }

    #[test]
    fn a_photo_that_no_server_would_take_is_made_coarser_or_refused() {
        let picture = picture::decode(&encoded(&drawn(640, 480, 3), ImageFormat::Png), u64::MAX);
        let picture = picture.unwrap().upright(640);
        let [fine, coarse] = [100, 70].map(|quality| picture.jpeg(quality).unwrap());
        assert_eq!(fitting(&picture, 100, fine.len()), Ok(fine));
        assert_eq!(fitting(&picture, 100, coarse.len()), Ok(coarse));
        assert_eq!(fitting(&picture, 100, 1_000), Err(PhotoError::TooFine));
        assert_eq!(fitting(&picture, 30, 1_000), Err(PhotoError::TooFine));
    }

    #[test]
    fn metadata_goes_and_the_picture_stands_upright() {
        let lying = RgbImage::from_fn(64, 32, |x, _| Rgb(if x < 32 { [250; 3] } else { [5; 3] }));
        let plain = encoded(&DynamicImage::from(lying), ImageFormat::Jpeg);
        assert_eq!(prepare(&plain).unwrap().width, 64);
        for (orientation, size, bright) in [
            (1, (64, 32), (0, 0)),
            (2, (64, 32), (63, 0)),
            (3, (64, 32), (63, 31)),
            (4, (64, 32), (0, 31)),
            (5, (32, 64), (0, 0)),
            (6, (32, 64), (0, 0)),
            (7, (32, 64), (0, 63)),
            (8, (32, 64), (0, 63)),
        ] {
            let bytes = with_exif(&plain, orientation);
            let made = prepare(&bytes).unwrap();
            assert_eq!((made.width, made.height), size);
            let read = image::load_from_memory(&made.jpeg).unwrap().into_luma8();
            assert!(read[bright].0[0] > 200, "orientation {orientation}");
            assert!(read[(size.0 - 1 - bright.0, size.1 - 1 - bright.1)].0[0] < 50);
            let picture_only = [0xe0, 0xc0, 0xdb, 0xc4, 0xda];
            assert!(markers(&made.jpeg).iter().all(|marker| picture_only.contains(marker)));
            assert!(bytes.windows(11).any(|w| w == b"GPS-PLANTED"));
            assert!(!made.jpeg.windows(3).any(|w| w == b"GPS"));
        }
    }

    #[test]
    fn one_picture_in_many_files_keeps_its_hash() {
        let mut pictures = photographs();
        pictures.extend((0..6).map(|seed| encoded(&drawn(640, 480, seed), ImageFormat::Png)));
        let made: Vec<_> = pictures.iter().map(|bytes| prepare(bytes).unwrap()).collect();
        for (bytes, made) in pictures.iter().zip(&made).step_by(3) {
            let picture = image::load_from_memory(bytes).unwrap();
            let (width, height) = (picture.width(), picture.height());
            for variant in [
                picture.resize_exact(width * 3 / 4, height * 3 / 4, FilterType::Triangle),
                picture.resize_exact(width * 5 / 4, height * 4 / 3, FilterType::Lanczos3),
                picture.brighten(12),
                picture.blur(1.5),
            ] {
                let mut jpeg = Vec::new();
                let encoder = JpegEncoder::new_with_quality(&mut jpeg, 60);
                variant.to_rgb8().write_with_encoder(encoder).unwrap();
                assert!(distance(&prepare(&jpeg).unwrap(), made) <= 6);
            }
            assert!(distance(&prepare(&made.jpeg).unwrap(), made) <= 1);
        }
        for (n, one) in made.iter().enumerate() {
            for other in &made[..n] {
                assert!(distance(one, other) >= 10, "{:016x} {:016x}", one.phash, other.phash);
            }
        }
    }

    #[test]
    fn the_hash_is_read_row_by_row() {
        let hash = |picture: RgbImage| {
            let (width, height) = picture.dimensions();
            picture::difference_hash(&picture::Upright { rgb: picture.into_raw(), width, height })
        };
        let rising = RgbImage::from_fn(90, 80, |x, y| {
            Rgb(if y < 10 { [x as u8 * 2; 3] } else { [200 - x as u8 * 2; 3] })
        });
        assert_eq!(hash(rising), 0xff << 56);
        assert_eq!(hash(RgbImage::new(90, 80)), 0);
    }

    #[test]
    fn what_is_wrong_with_a_photo_is_told_and_it_is_taken_all_the_same() {
        let sharp = photographs().swap_remove(0);
        let sharp = image::load_from_memory(&sharp).unwrap().into_rgb8();
        let with = |change: &dyn Fn(u8) -> u8| {
            let mut picture = sharp.clone();
            picture.iter_mut().for_each(|c| *c = change(*c));
            prepare(&encoded(&DynamicImage::from(picture), ImageFormat::Png)).unwrap().doubts
        };
        assert_eq!(with(&|c| c), []);
        assert_eq!(with(&|c| c / 12), [Doubt::TooDark]);
        assert_eq!(with(&|c| 235 + c / 13), [Doubt::TooBright]);
        let blurred = DynamicImage::from(sharp).blur(6.0);
        let blurred = prepare(&encoded(&blurred, ImageFormat::Png)).unwrap();
        assert_eq!(blurred.doubts, [Doubt::Blurred], "{:?}", blurred.look);
    }

    #[test]
    fn side_and_quality_are_as_they_are_set() {
        let bytes = encoded(&drawn(900, 600, 4), ImageFormat::Png);
        let made = |side_pixels, quality_percent| {
            super::prepare(&bytes, Setting { side_pixels, quality_percent }).unwrap()
        };
        let (fine, coarse) = (made(600, 95), made(600, 40));
        assert_eq!((fine.width, fine.height), (600, 400));
        assert!(fine.jpeg.len() > 2 * coarse.jpeg.len());
        assert_eq!(fine.original, <[u8; 32]>::from(Sha256::digest(&bytes)));
    }

    #[test]
    fn what_is_no_photo_is_refused() {
        let flaw = |bytes: &[u8]| match prepare(bytes) {
            Err(PhotoError::Flawed(flaw)) => Some(flaw),
            _ => None,
        };
        let damaged = |bytes: &[u8]| matches!(flaw(bytes), Some(Flaw::Damaged(_) | Flaw::CutShort));
        for other in [b"".as_slice(), b"GIF89a\x01\0\x01\0\0\0\0", b"%PDF-1.7", &[0; 99]] {
            assert_eq!(flaw(other), Some(Flaw::OtherFormat));
        }
        let png = encoded(&drawn(300, 200, 1), ImageFormat::Png);
        let jpeg = with_exif(&encoded(&drawn(300, 200, 1), ImageFormat::Jpeg), 1);
        let webp = encoded(&drawn(300, 200, 1), ImageFormat::WebP);
        for whole in [png, jpeg, webp] {
            prepare(&whole).unwrap();
            for cut in [whole.len() / 20, whole.len() / 2, whole.len() - 12] {
                assert!(damaged(&whole[..cut]), "{cut} of {}", whole.len());
            }
        }
        assert_eq!(prepare(&vec![0xff; INPUT_BYTES_MAX + 1]), Err(PhotoError::TooLong));
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let mut jpeg = encoded(&DynamicImage::new_rgb8(16, 16), ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        jpeg[frame + 5..frame + 9].fill(0xff);
        let refused = |bytes: &[u8], width, height| {
            let flaw = Flaw::TooLarge { width, height };
            assert_eq!(prepare(bytes), Err(PhotoError::Flawed(flaw)));
        };
        refused(&jpeg, 65_535, 65_535);
        refused(&encoded(&DynamicImage::new_luma8(8_000, 6_000), ImageFormat::Jpeg), 8_000, 6_000);

        let bomb = encoded(&DynamicImage::new_luma8(60_001, 1_000), ImageFormat::Png);
        assert!(bomb.len() < 1 << 20);
        refused(&bomb, 60_001, 1_000);
    }

    #[test]
    fn no_file_makes_it_panic() {
        let mut seeds: Vec<_> = photographs().into_iter().take(2).collect();
        for format in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            seeds.push(encoded(&drawn(60, 40, 2), format));
        }
        seeds.push(with_exif(&seeds[seeds.len() - 3], 6));
        for seed in seeds {
            for n in 0..30 {
                let mut bytes = seed.clone();
                let at = if n < 20 { n * 6 } else { n * 7_919 } % bytes.len();
                bytes[at] = bytes[at].wrapping_mul(31).wrapping_add(n as u8 | 1);
                let _ = prepare(&bytes);
                bytes.truncate(at);
                let _ = prepare(&bytes);
            }
        }
    }

    #[test]
    fn the_vault_keeps_photos_sealed() {
        let scratch = Scratch::new();
        let vault = Vault::open(&scratch.0, &[3; 32]).unwrap();
        let photo = prepare(&encoded(&drawn(200, 100, 5), ImageFormat::Png)).unwrap();
        assert_eq!(vault.get(&photo.sha256).unwrap(), None);
        assert_eq!(vault.usage().unwrap(), Usage::default());
        vault.put(&photo.sha256, b"an earlier attempt").unwrap();
        vault.put(&photo.sha256, &photo.jpeg).unwrap();
        vault.put(&[1; 32], b"").unwrap();
        fs::write(scratch.0.join("photos/left.over.part"), b"by a crash").unwrap();

        let vault = Vault::open(&scratch.0, &[3; 32]).unwrap();
        assert_eq!(vault.get(&photo.sha256).unwrap().unwrap(), photo.jpeg);
        assert_eq!(vault.get(&[1; 32]).unwrap().unwrap(), b"");
        let bytes = photo.jpeg.len() as u64 + 2 * 40;
        assert_eq!(vault.usage().unwrap(), Usage { count: 2, bytes });
        for (path, bytes) in scratch.files() {
            let mut samples = photo.jpeg.chunks_exact(16).step_by(50);
            assert!(samples.all(|sample| !bytes.windows(16).any(|w| w == sample)));
            assert!(!path.to_str().unwrap().contains(&hex(&photo.sha256)[..8]));
        }
        let other = Vault::open(&scratch.0, &[4; 32]).unwrap();
        assert_eq!(other.get(&photo.sha256).unwrap(), None);

        assert!(vault.remove(&[1; 32]).unwrap() && !vault.remove(&[1; 32]).unwrap());
        assert_eq!(vault.usage().unwrap().count, 1);
    }

    #[test]
    fn touched_photos_are_noticed() {
        let scratch = Scratch::new();
        let vault = Vault::open(&scratch.0, &[3; 32]).unwrap();
        vault.put(&[1; 32], b"one").unwrap();
        vault.put(&[2; 32], b"two").unwrap();
        let (one, two) = (vault.path(&[1; 32]), vault.path(&[2; 32]));
        let damaged = || matches!(vault.get(&[1; 32]), Err(StoreError::Damaged(_)));
        let sound = fs::read(&one).unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&one, bytes).unwrap();
            assert!(damaged());
            fs::write(&one, &sound[..at]).unwrap();
            assert!(damaged());
        }
        fs::copy(&two, &one).unwrap();
        assert!(damaged());
        fs::write(&one, sound).unwrap();
        assert_eq!(vault.get(&[1; 32]).unwrap().unwrap(), b"one");
    }
}
