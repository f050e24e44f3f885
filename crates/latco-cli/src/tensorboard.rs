//! Event files that TensorBoard opens: scalars, images and animations over steps.
//!
//! A file is a sequence of records (TFRecord), each a protocol buffer `Event`:
//!
//! ```text
//! record = length: u64, masked(crc32c(length)): u32, event, masked(crc32c(event)): u32
//! masked(c) = rotate_right(c, 15) + 0xa282ead8
//! ```
//!
//! The crates that write such files are no longer kept up or build with `protoc`; the few messages
//! that are needed stand here.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prost::{Message, Oneof};

const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
const MASK: u32 = 0xa282_ead8;

/// The version of the format that lets a restart take back later steps.
const VERSION: &str = "brain.Event:2";

/// `tensorflow.Event`.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

/// What an event tells.
#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    Session(Session),
}

/// `tensorflow.Summary`.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// `tensorflow.Summary.Value`.
#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4")]
    content: Option<Content>,
}

/// What a value is.
#[derive(Clone, PartialEq, Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    Scalar(f32),
    #[prost(message, tag = "4")]
    Picture(Picture),
}

/// `tensorflow.Summary.Image`: a PNG or a GIF.
#[derive(Clone, PartialEq, Message)]
struct Picture {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 3 for RGB.
    #[prost(int32, tag = "3")]
    colours: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded: Vec<u8>,
}

/// `tensorflow.SessionLog`: at its start, steps from here on that older files have are void.
#[derive(Clone, PartialEq, Message)]
struct Session {
    /// 1 for a start.
    #[prost(int32, tag = "1")]
    status: i32,
}

/// A file of events that grows.
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Begins a file in `folder` for a run that stands at `step`: what older files have of later steps is void.
    pub fn create(folder: &Path, step: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut events = Self {
            file: new_file(folder)?,
        };
        events.write(0, What::FileVersion(VERSION.to_owned()))?;
        events.write(step + 1, What::Session(Session { status: 1 }))?;
        Ok(events)
    }

    /// Adds numbers of one step, each with its tag.
    pub fn scalars(&mut self, step: usize, scalars: &[(&str, f32)]) -> io::Result<()> {
        let value = |&(tag, scalar): &(&str, f32)| Value {
            tag: tag.to_owned(),
            content: Some(Content::Scalar(scalar)),
        };
        let values = scalars.iter().map(value).collect();
        self.write(step, What::Summary(Summary { values }))
    }

    /// Adds a picture of `(width, height)` pixels, encoded as PNG or GIF.
    pub fn picture(
        &mut self,
        step: usize,
        tag: &str,
        (width, height): (usize, usize),
        encoded: Vec<u8>,
    ) -> io::Result<()> {
        let picture = Picture {
            height: height as i32,
            width: width as i32,
            colours: 3,
            encoded,
        };
        let value = Value {
            tag: tag.to_owned(),
            content: Some(Content::Picture(picture)),
        };
        let values = vec![value];
        self.write(step, What::Summary(Summary { values }))
    }

    fn write(&mut self, step: usize, what: What) -> io::Result<()> {
        let event = Event {
            wall_time: since_1970().as_secs_f64(),
            step: step as i64,
            what: Some(what),
        };
        self.file.write_all(&record(&event.encode_to_vec()))
    }
}

/// A file that is not there yet; TensorBoard reads those of a folder in the order of their names.
fn new_file(folder: &Path) -> io::Result<File> {
    let seconds = since_1970().as_secs();
    let mut count = 0;
    loop {
        let name = format!("events.out.tfevents.{seconds:010}.latco.{count:03}");
        match File::create_new(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => count += 1,
            result => return result,
        }
    }
}

fn since_1970() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    [
        length.as_slice(),
        &masked_checksum(&length).to_le_bytes(),
        event,
        &masked_checksum(event).to_le_bytes(),
    ]
    .concat()
}

fn masked_checksum(bytes: &[u8]) -> u32 {
    CHECKSUM.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The events of the one file in `folder`; every checksum must be right.
    fn read(folder: &Path) -> Vec<Event> {
        let mut files = fs::read_dir(folder).unwrap();
        let bytes = fs::read(files.next().unwrap().unwrap().path()).unwrap();
        assert!(files.next().is_none());
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let (of_length, after) = after.split_at(4);
            assert_eq!(of_length, masked_checksum(length).to_le_bytes());
            let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            let (event, after) = after.split_at(length);
            let (of_event, after) = after.split_at(4);
            assert_eq!(of_event, masked_checksum(event).to_le_bytes());
            events.push(Event::decode(event).unwrap());
            rest = after;
        }
        events
    }

    fn write(folder: &Path) -> Vec<u8> {
        let image = latco_env::Image::new(2, 1, vec![9; 6]).unwrap();
        let png = image.to_png().unwrap();
        let mut events = EventFile::create(&folder.join("events"), 7).unwrap();
        events
            .scalars(10, &[("train/loss", 1.5), ("train/kl", -2.0)])
            .unwrap();
        events
            .picture(20, "predict/frames", (2, 1), png.clone())
            .unwrap();
        png
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let png = write(folder.path());
        let events = read(&folder.path().join("events"));
        let [version, start, scalars, picture] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(version.what, Some(What::FileVersion(VERSION.to_owned())));
        // Step 7 itself is done, and stays.
        assert_eq!(start.step, 8);
        assert_eq!(start.what, Some(What::Session(Session { status: 1 })));
        assert_eq!(scalars.step, 10);
        let Some(What::Summary(summary)) = &scalars.what else {
            panic!("{scalars:?}");
        };
        let values: Vec<_> = (summary.values.iter())
            .map(|value| (value.tag.as_str(), value.content.clone()))
            .collect();
        let expected = [
            ("train/loss", Some(Content::Scalar(1.5))),
            ("train/kl", Some(Content::Scalar(-2.0))),
        ];
        assert_eq!(values, expected);
        let Some(What::Summary(summary)) = &picture.what else {
            panic!("{picture:?}");
        };
        let expected = Picture {
            height: 1,
            width: 2,
            colours: 3,
            encoded: png,
        };
        assert_eq!(summary.values[0].content, Some(Content::Picture(expected)));
    }

    /// The CRC-32C of these digits is known to be e3069283; the rest is arithmetic.
    #[test]
    fn the_checksum_is_masked() {
        assert_eq!(CHECKSUM.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(masked_checksum(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn files_of_one_second_do_not_overwrite_each_other() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            EventFile::create(folder.path(), 0).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn tensorboard_reads_it() {
        const SCRIPT: &str = "
import sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1]).Reload()
assert events.Tags()['scalars'] == ['train/loss', 'train/kl'], events.Tags()
assert [(e.step, e.value) for e in events.Scalars('train/loss')] == [(10, 1.5)]
picture, = events.Images('predict/frames')
assert (picture.step, picture.width, picture.height) == (20, 2, 1), picture
assert picture.encoded_image_string.startswith(b'\\x89PNG')
";
        let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
        if !python(&["-c", "import tensorboard"]).is_ok_and(|output| output.status.success()) {
            println!("not checked: no Python with tensorboard here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let path = folder.path().join("events");
        let output = python(&["-c", SCRIPT, path.to_str().unwrap()]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
    }
}
