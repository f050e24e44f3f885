//! A child process that answers requests within deadlines and never outlives its owner.

use std::collections::VecDeque;
use std::io::{BufReader, ErrorKind, Read};
use std::mem;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::ProcessError;
use super::protocol::{
    Frame, FrameProblem, Kind, Numbered, Refusal, Refused, Request, beginning, parse, read_frame,
    write_frame,
};

/// Lines of standard error that are kept for messages.
const KEPT_LINES: usize = 16;

/// Bytes of one such line, characters of a message.
const LONGEST_LINE: usize = 500;

/// Frames that are kept of a traceback that begins with the innermost: few enough that what is said before it
/// and after it is kept too.
const KEPT_FRAMES: usize = 12;

/// What Python's faulthandler says before such a traceback.
const INNERMOST_FIRST: &str = "(most recent call first)";

/// How long a process that was told to end, or has ended, is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// How long a process that hangs has to say where.
#[cfg(unix)]
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A deadline, and the argument that sets it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub seconds: f64,
    pub argument: &'static str,
}

type Answer = Result<Frame, FrameProblem>;

/// The process, its pipes, and the threads that read them.
pub(super) struct Process {
    child: Child,
    requests: Option<ChildStdin>,
    /// Requests so far.
    asked: u64,
    answers: Receiver<Answer>,
    last_lines: Arc<Mutex<LastLines>>,
    stderr_reader: JoinHandle<()>,
}

impl Process {
    /// Starts the program with pipes to it, in a process group of its own.
    pub fn start(mut command: Command, remedy: &'static str) -> Result<Self, ProcessError> {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| ProcessError::Start {
            program: command.get_program().to_string_lossy().into_owned(),
            reason: error.to_string(),
            remedy,
        })?;
        let last_lines = Arc::default();
        let stderr = child.stderr.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        Ok(Self {
            requests: child.stdin.take(),
            asked: 0,
            child,
            answers: read_answers(stdout),
            stderr_reader: keep_last_lines(stderr, Arc::clone(&last_lines)),
            last_lines,
        })
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The answer to a request. After an error the process is of no more use.
    pub fn ask(
        &mut self,
        request: &Request<'_>,
        payload: &[u8],
        deadline: Deadline,
    ) -> Result<Frame, ProcessError> {
        let call = request.call();
        self.asked += 1;
        let requests = self.requests.as_mut().expect("open until the drop");
        if write_frame(requests, self.asked, request, payload).is_err() {
            return Err(self.ended(call));
        }
        let seconds = deadline.seconds;
        match self.answers.recv_timeout(Duration::from_secs_f64(seconds)) {
            Ok(Ok(frame)) => self.of_this_request(frame, call),
            Ok(Err(FrameProblem::Garbled(reason))) => Err(ProcessError::Garbled { reason }),
            Ok(Err(FrameProblem::End)) | Err(RecvTimeoutError::Disconnected) => {
                Err(self.ended(call))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.ask_where_it_hangs();
                Err(ProcessError::Hung {
                    call,
                    seconds,
                    argument: deadline.argument,
                    last_lines: self.last_lines(),
                })
            }
        }
    }

    /// An answer that was not asked for would put every later one a step behind.
    fn of_this_request(&self, frame: Frame, call: &str) -> Result<Frame, ProcessError> {
        let Numbered { id } = parse(&frame.header, call)?;
        if id == self.asked {
            return Ok(frame);
        }
        let reason = format!("it answers request {id} where {} was asked", self.asked);
        Err(ProcessError::Garbled { reason })
    }

    /// What is known of a process whose pipes are closed.
    fn ended(&mut self, call: &'static str) -> ProcessError {
        let status = match wait(&mut self.child, GRACE) {
            Some(status) => describe(status),
            None => "closed its output".to_owned(),
        };
        let until = Instant::now() + GRACE;
        while !self.stderr_reader.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        ProcessError::Ended {
            call,
            status,
            last_lines: self.last_lines(),
        }
    }

    fn last_lines(&self) -> String {
        locked(&self.last_lines).text()
    }

    /// Python writes the present traceback to standard error; other programs end.
    fn ask_where_it_hangs(&self) {
        #[cfg(unix)]
        if let Some(process) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::USR1);
            thread::sleep(LAST_WORDS);
        }
    }

    /// Asks the process to end, which a healthy one does at once.
    pub fn close(mut self) {
        if let Some(mut requests) = self.requests.take() {
            let _ = write_frame(&mut requests, self.asked + 1, &Request::Close, &[]);
        }
        wait(&mut self.child, GRACE);
    }
}

/// Ends the process and all that it started, whatever state they are in.
impl Drop for Process {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(group) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of a process that ends within `time`.
fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + time;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            status => return status.ok().flatten(),
        }
    }
}

fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal {
            9 => "was killed by signal 9, as the system does where memory runs out,".to_owned(),
            _ => format!("was killed by signal {signal}"),
        };
    }
    match status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "ended".to_owned(),
    }
}

/// Reads frames until the stream ends or is garbled.
fn read_answers(stdout: ChildStdout) -> Receiver<Answer> {
    // One that nobody asked for may wait; a process that floods its output is not read on.
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut stdout = BufReader::with_capacity(1 << 16, stdout);
        loop {
            let answer = read_frame(&mut stdout);
            let over = answer.is_err();
            if sender.send(answer).is_err() || over {
                return;
            }
        }
    });
    receiver
}

/// Reads until the stream ends and keeps the last lines.
fn keep_last_lines(mut stderr: ChildStderr, kept: Arc<Mutex<LastLines>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = [0; 1 << 13];
        loop {
            match stderr.read(&mut bytes) {
                Ok(0) => return,
                Ok(read) => locked(&kept).push(&bytes[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

fn locked(lines: &Mutex<LastLines>) -> MutexGuard<'_, LastLines> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The beginnings of the last lines that a process wrote.
#[derive(Debug, Default)]
struct LastLines {
    ended: VecDeque<String>,
    /// What has come of the line that is not ended: a process may hang in the middle of it.
    begun: Vec<u8>,
    /// Frames so far of a traceback that begins with the innermost, where the last line was of one.
    frames: Option<usize>,
}

impl LastLines {
    fn push(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            // The rest of a long line is not kept.
            let room = LONGEST_LINE.saturating_sub(self.begun.len());
            self.begun.extend(&part[..room.min(part.len())]);
            if part.ends_with(b"\n") {
                let line = mem::take(&mut self.begun);
                self.end_line(readable(&line));
            }
        }
    }

    fn end_line(&mut self, line: String) {
        if line.is_empty() {
            return;
        }
        self.frames = match self.frames {
            _ if line.contains(INNERMOST_FIRST) => Some(0),
            Some(frames) if line.starts_with("  ") => Some(frames + 1),
            _ => None,
        };
        if self.frames.is_some_and(|frames| frames > KEPT_FRAMES) {
            return;
        }
        if self.ended.len() == KEPT_LINES {
            self.ended.pop_front();
        }
        self.ended.push_back(line);
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> = self.ended.iter().cloned().collect();
        let begun = readable(&self.begun);
        if !begun.is_empty() {
            lines.push(begun);
        }
        lines.join("\n")
    }
}

fn readable(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// A refusal as an error, as is an `error` that is none of the protocol's; `interpreter` is what packages are
/// installed for.
pub(super) fn refused(
    header: &[u8],
    call: &'static str,
    interpreter: &str,
) -> Option<ProcessError> {
    let Refused { error } = serde_json::from_slice(header).ok()?;
    let Refusal {
        kind,
        message,
        trace,
        install,
        nearest,
    } = match serde_json::from_value(error?) {
        Ok(refusal) => refusal,
        Err(error) => {
            let reason = format!("its `error`: {error} in `{}`", beginning(header));
            return Some(ProcessError::Garbled { reason });
        }
    };
    let reason = shortened(&message);
    Some(match kind {
        Kind::Argument => ProcessError::Argument { reason },
        Kind::Package => ProcessError::Package {
            reason,
            interpreter: interpreter.to_owned(),
            install: install.unwrap_or_default(),
        },
        Kind::UnknownId => ProcessError::UnknownId { reason, nearest },
        Kind::Picture => ProcessError::Picture { reason },
        Kind::ActionSpace => ProcessError::Actions { reason },
        Kind::TimeLimit => ProcessError::TimeLimit { reason },
        Kind::Exception => ProcessError::Exception {
            call,
            reason,
            trace: last_lines_of(&trace.unwrap_or_default()),
        },
    })
}

fn last_lines_of(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(shortened).collect();
    lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(written: &[&str]) -> String {
        let mut lines = LastLines::default();
        for bytes in written {
            lines.push(bytes.as_bytes());
        }
        lines.text()
    }

    #[test]
    fn the_last_lines_are_kept_the_begun_one_among_them() {
        assert_eq!(
            kept(&["one\ntw", "o  \r\n", "\n \nthr", "ee"]),
            "one\ntwo\nthree"
        );
        let many: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let text = kept(&[&many, "password: "]);
        assert_eq!(text.lines().count(), KEPT_LINES + 1);
        assert!(text.starts_with("line 84") && text.ends_with("line 99\npassword:"));
        let long = "x".repeat(3 * LONGEST_LINE);
        assert_eq!(kept(&[&long, &long, "\nshort\n"]).len(), LONGEST_LINE + 6);
    }

    #[test]
    fn the_innermost_frames_of_a_traceback_are_kept() {
        let frames: String = (0..40)
            .map(|frame| format!("  File \"deep.py\", line {frame} in recurse\n"))
            .collect();
        let crash = ["Fatal Python error: Aborted\n\n", "Current thread 0x1 "];
        let first = "(most recent call first):\n";
        let after = "Extension modules: numpy (total: 1)\n";
        let text = kept(&[crash[0], crash[1], first, &frames, after]);
        assert!(
            text.starts_with("Fatal") && text.ends_with("(total: 1)"),
            "{text}"
        );
        assert!(
            text.contains("line 0 in") && text.contains("line 11 in"),
            "{text}"
        );
        assert!(!text.contains("line 12 in"), "{text}");
        // What is indented elsewhere is kept as any line.
        let text = kept(&[first, "over\n", &frames]);
        assert!(text.contains("line 39 in"), "{text}");
    }
}
