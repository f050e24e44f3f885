//! Frames and messages: what docs/environments.md describes.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::ProcessError;

/// The version of the protocol.
pub(super) const PROTOCOL: u64 = 1;

/// The longest header that is accepted, in bytes.
const LONGEST_HEADER: usize = 1 << 20;

/// The longest payload that is accepted, in bytes: pictures are far smaller.
pub(super) const LONGEST_PAYLOAD: usize = 1 << 26;

/// A JSON header and the bytes that follow it.
#[derive(Debug)]
pub(super) struct Frame {
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Why no frame could be read.
#[derive(Debug)]
pub(super) enum FrameProblem {
    /// The stream ended, within a frame or between two.
    End,
    /// The bytes are none of a frame.
    Garbled(String),
}

impl From<io::Error> for FrameProblem {
    fn from(_: io::Error) -> Self {
        Self::End
    }
}

/// Reads one frame.
pub(super) fn read_frame(stream: &mut impl Read) -> Result<Frame, FrameProblem> {
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix)?;
    let (first, second) = prefix.split_at(4);
    let length = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes")) as usize;
    let (header, payload) = (length(first), length(second));
    if header > LONGEST_HEADER || payload > LONGEST_PAYLOAD {
        return Err(FrameProblem::Garbled(format!(
            "a frame begins with `{}`, which announces a header of {header} bytes and a payload of {payload}: only frames may be written to standard output",
            prefix.escape_ascii()
        )));
    }
    Ok(Frame {
        header: read_bytes(stream, header)?,
        payload: read_bytes(stream, payload)?,
    })
}

fn read_bytes(stream: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Writes one frame in one go.
pub(super) fn write_frame(
    stream: &mut impl Write,
    id: u64,
    request: &Request<'_>,
    payload: &[u8],
) -> io::Result<()> {
    let header = serde_json::to_vec(&Identified { id, request })?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(io::Error::other);
    let mut frame = Vec::with_capacity(8 + header.len() + payload.len());
    frame.extend(length(&header)?.to_le_bytes());
    frame.extend(length(payload)?.to_le_bytes());
    frame.extend(header);
    frame.extend(payload);
    stream.write_all(&frame)?;
    stream.flush()
}

/// A request with its number.
#[derive(Serialize)]
struct Identified<'a> {
    id: u64,
    #[serde(flatten)]
    request: &'a Request<'a>,
}

/// The number of the request that is answered.
#[derive(Debug, Deserialize)]
pub(super) struct Numbered {
    pub id: u64,
}

/// What is asked of the process.
#[derive(Debug, Serialize)]
#[serde(tag = "call", rename_all = "lowercase")]
pub(super) enum Request<'a> {
    /// Make the environment.
    Hello {
        protocol: u64,
        arguments: &'a Map<String, Value>,
        /// Seconds within which later calls are answered.
        deadline: f64,
    },
    /// Start the episode of a seed.
    Reset { seed: u64 },
    /// Execute the action of the payload.
    Step,
    /// Say what the expert would do.
    Expert,
    /// End.
    Close,
}

impl Request<'_> {
    pub fn call(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Reset { .. } => "reset",
            Self::Step => "step",
            Self::Expert => "expert",
            Self::Close => "close",
        }
    }
}

/// What every answer may be instead of itself: `error` is then a [`Refusal`].
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    #[serde(default)]
    pub error: Option<Value>,
}

/// Why the process cannot do what is asked.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    pub kind: Kind,
    pub message: String,
    #[serde(default)]
    pub trace: Option<String>,
    #[serde(default)]
    pub install: Option<String>,
    #[serde(default)]
    pub nearest: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Argument,
    Package,
    UnknownId,
    Picture,
    ActionSpace,
    TimeLimit,
    Exception,
}

/// The version alone: first thing to be looked at in the answer to hello.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub protocol: u64,
}

/// The answer to hello: what environment it is.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    pub action_low: Vec<f32>,
    pub action_high: Vec<f32>,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    #[serde(default = "one")]
    pub cameras: usize,
    pub time_limit: usize,
    /// The least and the largest reward of a step, where that is known.
    #[serde(default)]
    pub reward_range: Option<[f32; 2]>,
    /// Whether it answers the call `expert`.
    #[serde(default)]
    pub expert: bool,
}

impl Description {
    /// The first field in which another differs.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let fields = [
            ("action_low", self.action_low == other.action_low),
            ("action_high", self.action_high == other.action_high),
            ("height", self.height == other.height),
            ("width", self.width == other.width),
            ("channels", self.channels == other.channels),
            ("cameras", self.cameras == other.cameras),
            ("time_limit", self.time_limit == other.time_limit),
            ("reward_range", self.reward_range == other.reward_range),
            ("expert", self.expert == other.expert),
        ];
        let different = fields.into_iter().find(|(_, same)| !same);
        different.map(|(field, _)| field)
    }
}

fn one() -> usize {
    1
}

/// The answer to a step, beside its picture.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    /// `None` where it is not finite, which JSON cannot say; beyond single precision it is not finite either.
    pub reward: Option<f64>,
    pub terminated: bool,
    #[serde(default)]
    pub truncated: bool,
    #[serde(default)]
    pub success: bool,
}

/// The answer to `call` in a header.
pub(super) fn parse<'a, T: Deserialize<'a>>(
    header: &'a [u8],
    call: &str,
) -> Result<T, ProcessError> {
    serde_json::from_slice(header).map_err(|error| {
        let text = String::from_utf8_lossy(header);
        // Python's json writes these.
        let hint = match text.contains("NaN") || text.contains("Infinity") {
            true if call == "step" && reward_is_no_number(&text) => {
                return ProcessError::RewardNotFinite;
            }
            true => ": NaN and Infinity are no JSON",
            false => "",
        };
        ProcessError::Garbled {
            reason: format!("{error} in `{}`{hint}", beginning(header)),
        }
    })
}

/// Whether the reward in the text of a header is NaN or infinite, as Python's json writes them.
fn reward_is_no_number(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("\"reward\"") else {
        return false;
    };
    let value = rest.trim_start_matches([':', ' ', '-']);
    value.starts_with("NaN") || value.starts_with("Infinity")
}

/// The beginning of a header, for messages.
pub(super) fn beginning(header: &[u8]) -> String {
    let text = String::from_utf8_lossy(header);
    let start: String = text.chars().take(200).collect();
    start.escape_debug().to_string()
}
