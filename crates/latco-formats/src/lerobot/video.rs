//! Frames of a video in AV1.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use latco_env::EpisodeFileProblem;
use re_rav1d::dav1d::pixel::{MatrixCoefficients, YUVRange};
use re_rav1d::dav1d::{Decoder, Error, Picture, PixelLayout, PlanarImageComponent, Settings};
use yuv::{YuvError, YuvGrayImage, YuvPlanarImage, YuvRange, YuvStandardMatrix};

use super::columns::guarded;
use super::mp4::{Sample, Track};
use crate::error::FormatProblem;
use crate::rows::{ImageLayout, RowSource};

/// A file's frames, in their order.
#[derive(Debug)]
pub(super) struct Video {
    pub path: PathBuf,
    track: Track,
}

impl Video {
    pub fn open(path: &Path) -> Result<Self, EpisodeFileProblem> {
        Ok(Self {
            path: path.to_path_buf(),
            track: Track::read(path)?,
        })
    }

    pub fn layout(&self, name: &str) -> Result<ImageLayout, FormatProblem> {
        let Track { width, height, .. } = self.track;
        ImageLayout::of(name, &[self.track.samples.len(), height, width, 3])
    }

    /// The frame that is shown next to a time, in seconds.
    pub fn frame_at(&self, time: f64) -> usize {
        let samples = &self.track.samples;
        let after = samples.partition_point(|sample| sample.time < time);
        let distance = |frame: usize| {
            let sample = samples.get(frame);
            sample.map_or(f64::INFINITY, |sample| (sample.time - time).abs())
        };
        let before = after.saturating_sub(1);
        if distance(before) < distance(after) {
            before
        } else {
            after
        }
    }

    fn decode(&self, frames: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        let samples = &self.track.samples;
        let Some(wanted) = samples.get(frames.clone()) else {
            return Err(FormatProblem::Rows {
                name: "video".to_owned(),
                expected: frames.end,
                got: samples.len(),
            }
            .into());
        };
        let before = &samples[..frames.start];
        let key = match wanted.first() {
            Some(first) if !first.is_key => {
                before.iter().rposition(|sample| sample.is_key).unwrap_or(0)
            }
            _ => frames.start,
        };
        let mut file = File::open(&self.path)?;
        let mut decoder = self.decoder()?;
        let mut pixels = Vec::new();
        for (frame, sample) in (key..frames.end).zip(&samples[key..]) {
            let picture = decode(&mut decoder, read(&mut file, sample)?, frame)?;
            if frame >= frames.start {
                self.convert(&picture, &mut pixels)?;
            }
        }
        Ok(pixels)
    }

    /// On this thread alone, each frame as soon as it is there and once, none larger than the file says.
    fn decoder(&self) -> Result<Decoder, EpisodeFileProblem> {
        let area = self.track.width * self.track.height;
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        settings.set_frame_size_limit(u32::try_from(area).unwrap_or(u32::MAX));
        Decoder::with_settings(&settings).map_err(refused)
    }

    /// Appends a frame's pixels, `[height, width, 3]`.
    fn convert(&self, picture: &Picture, pixels: &mut Vec<u8>) -> Result<(), EpisodeFileProblem> {
        let (width, height) = (picture.width(), picture.height());
        let (expected_width, expected_height) = (self.track.width, self.track.height);
        if (width as usize, height as usize) != (expected_width, expected_height) {
            let problem = format!(
                "a frame of {width}x{height} in a video of {expected_width}x{expected_height}"
            );
            return Err(FormatProblem::Unsupported(problem).into());
        }
        if picture.bit_depth() != 8 {
            let problem = format!("a video of {} bits, expected 8", picture.bit_depth());
            return Err(FormatProblem::Unsupported(problem).into());
        }
        let start = pixels.len();
        pixels.resize(start + expected_width * expected_height * 3, 0);
        colours(picture, &mut pixels[start..])
            .map_err(|error| FormatProblem::Library(Box::new(error)).into())
    }
}

impl RowSource for Video {
    fn read(&self, rows: Range<usize>) -> Result<Vec<u8>, EpisodeFileProblem> {
        guarded(|| self.decode(rows))
    }
}

fn read(file: &mut File, sample: &Sample) -> Result<Vec<u8>, EpisodeFileProblem> {
    file.seek(SeekFrom::Start(sample.offset))?;
    let mut bytes = vec![0; sample.size];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The picture that a sample shows, which is the frame `index`. It is asked for no more often than needed: re_rav1d
/// 0.1.3 loses 48 bytes at every answer.
fn decode(
    decoder: &mut Decoder,
    sample: Vec<u8>,
    index: usize,
) -> Result<Picture, EpisodeFileProblem> {
    let index = index as i64;
    let mut sent = decoder.send_data(sample, None, Some(index), None);
    loop {
        let shown = match decoder.get_picture() {
            Ok(picture) => Some(picture),
            Err(Error::Again) => None,
            Err(error) => return Err(refused(error)),
        };
        match (sent, shown) {
            (_, Some(picture)) if picture.timestamp() == Some(index) => return Ok(picture),
            (Ok(()), Some(_)) => {}
            (Ok(()), None) => return Err(refused("a sample without a frame")),
            (Err(Error::Again), Some(_)) => sent = decoder.send_pending_data(),
            (Err(error), _) => return Err(refused(error)),
        }
    }
}

/// A picture in red, green and blue. Where the video does not tell by which matrix it was made, that of
/// BT.601, as by ffmpeg.
fn colours(picture: &Picture, rgb: &mut [u8]) -> Result<(), YuvError> {
    let (width, height) = (picture.width(), picture.height());
    let stride = 3 * width;
    let range = match picture.color_range() {
        YUVRange::Limited => YuvRange::Limited,
        YUVRange::Full => YuvRange::Full,
    };
    let matrix = match picture.matrix_coefficients() {
        MatrixCoefficients::BT709 => YuvStandardMatrix::Bt709,
        MatrixCoefficients::BT2020NonConstantLuminance => YuvStandardMatrix::Bt2020,
        _ => YuvStandardMatrix::Bt601,
    };
    let luma = picture.plane(PlanarImageComponent::Y);
    let luma_stride = picture.stride(PlanarImageComponent::Y);
    if picture.pixel_layout() == PixelLayout::I400 {
        let grey = YuvGrayImage {
            y_plane: luma.as_ref(),
            y_stride: luma_stride,
            width,
            height,
        };
        return yuv::yuv400_to_rgb(&grey, rgb, stride, range, matrix);
    }
    let [blue, red] =
        [PlanarImageComponent::U, PlanarImageComponent::V].map(|part| picture.plane(part));
    let planes = YuvPlanarImage {
        y_plane: luma.as_ref(),
        y_stride: luma_stride,
        u_plane: blue.as_ref(),
        u_stride: picture.stride(PlanarImageComponent::U),
        v_plane: red.as_ref(),
        v_stride: picture.stride(PlanarImageComponent::V),
        width,
        height,
    };
    match picture.pixel_layout() {
        PixelLayout::I444 => yuv::yuv444_to_rgb(&planes, rgb, stride, range, matrix),
        PixelLayout::I422 => yuv::yuv422_to_rgb(&planes, rgb, stride, range, matrix),
        _ => yuv::yuv420_to_rgb(&planes, rgb, stride, range, matrix),
    }
}

fn refused(error: impl fmt::Display) -> EpisodeFileProblem {
    FormatProblem::Unsupported(format!("a damaged video: {error}")).into()
}
