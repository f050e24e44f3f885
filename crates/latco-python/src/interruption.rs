//! Exceptions and Ctrl-C on their way through Rust.
//!
//! A model's functions and an observer have no error to return, so an exception of Python's, or a
//! `KeyboardInterrupt`, unwinds through the planner as a panic does, without its message, and is itself
//! again where the call began.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use latco_plan::{Iteration, Observer};
use pyo3::{prelude::*, types::PyDict};
use pythonize::pythonize;

use crate::errors::Kind;

struct Raised(PyErr);

/// Ends the work that [`with_exceptions`] began with this exception.
pub fn raise(error: PyErr) -> ! {
    resume_unwind(Box::new(Raised(error)))
}

/// Does `work` without the interpreter; an exception that is [raised](raise) in it, on any of its
/// threads, is the answer.
pub fn with_exceptions<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    py.detach(|| caught(work))
}

/// As [`with_exceptions`], where the interpreter is free already.
pub fn caught<T>(work: impl FnOnce() -> T) -> PyResult<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(exception)
}

fn exception(payload: Box<dyn Any + Send>) -> PyErr {
    match payload.downcast::<Raised>() {
        Ok(raised) => raised.0,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Kind::Failure.error(text.unwrap_or_else(|| "a panic without a message".to_owned()))
        }
    }
}

/// Looks for signals after every iteration of a plan, and shows it to a function of Python's.
pub struct Watch(pub Option<Py<PyAny>>);

impl Watch {
    fn look(&self, iteration: &Iteration) -> PyResult<()> {
        Python::attach(|py| {
            py.check_signals()?;
            match &self.0 {
                None => Ok(()),
                Some(observer) => {
                    let told = pythonize(py, iteration)?;
                    observer.call1(py, (told.cast_into::<PyDict>()?,)).map(drop)
                }
            }
        })
    }
}

impl Observer for Watch {
    fn iteration(&mut self, iteration: &Iteration) {
        if let Err(error) = self.look(iteration) {
            raise(error);
        }
    }
}
