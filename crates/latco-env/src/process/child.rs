//! A child process that answers requests within deadlines and never outlives its owner.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::ProcessError;
use super::protocol::{
    Frame, FrameProblem, Kind, Numbered, Refusal, Refused, Request, parse, read_frame, write_frame,
};

/// Lines of standard error that are kept for messages.
const KEPT_LINES: usize = 12;

/// Bytes of one such line, characters of a message.
const LONGEST_LINE: u64 = 500;

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
    last_lines: Arc<Mutex<VecDeque<String>>>,
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
            Ok(Ok(frame)) => self.of_this_request(frame),
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
    fn of_this_request(&self, frame: Frame) -> Result<Frame, ProcessError> {
        let Numbered { id } = parse(&frame.header)?;
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
        let lines = self.last_lines.lock();
        let lines = lines.unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
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

/// Reads lines until the stream ends and keeps the beginnings of the last.
fn keep_last_lines(stderr: ChildStderr, kept: Arc<Mutex<VecDeque<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let (mut line, mut at_start) = (Vec::new(), true);
        while let Ok(1..) = stderr
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            // The rest of a long line is not kept.
            let keep = at_start && !text.is_empty();
            at_start = line.ends_with(b"\n");
            line.clear();
            if !keep {
                continue;
            }
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(text);
        }
    })
}

/// A refusal as an error; `interpreter` is what packages are installed for.
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
    } = error;
    let reason = shortened(&message);
    Some(match kind {
        Kind::Argument => ProcessError::Argument { reason },
        Kind::Package => ProcessError::Package {
            reason,
            interpreter: interpreter.to_owned(),
            install,
        },
        Kind::UnknownId => ProcessError::UnknownId { reason, nearest },
        Kind::Picture => ProcessError::Picture { reason },
        Kind::ActionSpace => ProcessError::Actions { reason },
        Kind::TimeLimit => ProcessError::TimeLimit { reason },
        Kind::Exception => ProcessError::Exception {
            call,
            reason,
            trace: last_lines_of(&trace),
        },
    })
}

fn last_lines_of(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(shortened).collect();
    lines[lines.len().saturating_sub(KEPT_LINES)..].join("\n")
}

fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_LINE as usize).collect()
}
