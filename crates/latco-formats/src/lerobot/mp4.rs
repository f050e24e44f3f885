//! Where the frames of a video lie in an MP4 file (ISO/IEC 14496-12).

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use latco_env::EpisodeFileProblem;
use mp4_atom::{Atom, Codec, Header, Moov, ReadAtom, ReadFrom, Stbl, StszSamples};

use crate::error::FormatProblem;

/// The most bytes of a file's table of contents.
const MOST_CONTENTS: usize = 256 << 20;

/// A frame as it is encoded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub offset: u64,
    pub size: usize,
    /// Seconds from the beginning.
    pub time: f64,
    /// Whether it is decoded without those before it.
    pub is_key: bool,
}

/// The video of a file, in AV1.
#[derive(Debug)]
pub(super) struct Track {
    pub width: usize,
    pub height: usize,
    pub samples: Vec<Sample>,
}

impl Track {
    pub fn read(path: &Path) -> Result<Self, EpisodeFileProblem> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let contents = contents(BufReader::new(file))?;
        let track = contents.trak.iter().find_map(|track| {
            let media = &track.mdia;
            match media.minf.stbl.stsd.codecs.first() {
                Some(Codec::Av01(video)) => Some((media, video)),
                _ => None,
            }
        });
        let Some((media, video)) = track else {
            return Err(unsupported(
                "its video is not AV1, the one encoding that is read (LeRobot's default): encode it anew, \
                 record images (use_videos=False), or turn it into a folder of frames",
            ));
        };
        let samples = samples(&media.minf.stbl, media.mdhd.timescale, length)
            .ok_or_else(|| unsupported("a damaged MP4 file: its frames do not lie within it"))?;
        Ok(Self {
            width: usize::from(video.visual.width),
            height: usize::from(video.visual.height),
            samples,
        })
    }
}

/// The box `moov`.
fn contents(mut file: BufReader<File>) -> Result<Moov, EpisodeFileProblem> {
    while let Some(header) = <Option<Header>>::read_from(&mut file).map_err(refused)? {
        match header.size {
            Some(size) if header.kind == Moov::KIND && size <= MOST_CONTENTS => {
                return Moov::read_atom(&header, &mut file.take(size as u64)).map_err(refused);
            }
            Some(size) if header.kind != Moov::KIND => {
                let size = i64::try_from(size).unwrap_or(i64::MAX);
                file.seek(SeekFrom::Current(size))?;
            }
            _ => break,
        }
    }
    Err(unsupported("an MP4 file without a table of contents"))
}

/// All frames in their order: chunks hold runs of samples, one behind another; none where the tables
/// contradict each other or the length of the file.
fn samples(tables: &Stbl, timescale: u32, file_length: u64) -> Option<Vec<Sample>> {
    let sizes = sizes(&tables.stsz.samples, file_length)?;
    let chunks: Vec<u64> = match (&tables.stco, &tables.co64) {
        (Some(offsets), _) => offsets
            .entries
            .iter()
            .map(|&offset| offset.into())
            .collect(),
        (None, Some(offsets)) => offsets.entries.clone(),
        (None, None) => return None,
    };
    let delta = |run: &mp4_atom::SttsEntry| {
        std::iter::repeat_n(run.sample_delta, run.sample_count as usize)
    };
    let mut deltas = tables.stts.entries.iter().flat_map(delta);
    let mut runs = tables.stsc.entries.iter().peekable();
    let mut sizes = sizes.into_iter();
    let (mut samples, mut per_chunk, mut ticks) = (Vec::new(), 0, 0_u64);
    for (chunk, &start) in (1_u32..).zip(&chunks) {
        while let Some(run) = runs.next_if(|run| run.first_chunk <= chunk) {
            per_chunk = run.samples_per_chunk as usize;
        }
        let mut offset = start;
        for size in sizes.by_ref().take(per_chunk) {
            samples.push(Sample {
                offset,
                size: usize::try_from(size).ok()?,
                time: ticks as f64 / f64::from(timescale.max(1)),
                is_key: tables.stss.is_none(),
            });
            offset = offset.checked_add(size)?;
            if offset > file_length {
                return None;
            }
            ticks += u64::from(deltas.next()?);
        }
    }
    for &key in tables.stss.iter().flat_map(|keys| &keys.entries) {
        samples.get_mut((key as usize).checked_sub(1)?)?.is_key = true;
    }
    sizes.next().is_none().then_some(samples)
}

/// The bytes of each frame, all together no more than the file has.
fn sizes(samples: &StszSamples, file_length: u64) -> Option<Vec<u64>> {
    match samples {
        StszSamples::Different { sizes } => Some(sizes.iter().map(|&size| size.into()).collect()),
        &StszSamples::Identical { count, size } => {
            let all = u64::from(count) * u64::from(size);
            (all <= file_length).then(|| vec![size.into(); count as usize])
        }
    }
}

fn unsupported(problem: &str) -> EpisodeFileProblem {
    FormatProblem::Unsupported(problem.to_owned()).into()
}

fn refused(error: mp4_atom::Error) -> EpisodeFileProblem {
    FormatProblem::Library(Box::new(error)).into()
}
