use thiserror::Error;

/// Why there is no such problem.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProblemError {
    /// No problem has this name.
    #[error("unknown problem `{name}`, did you mean `{nearest}`? Known: {known}")]
    UnknownProblem {
        /// The name found.
        name: String,
        /// The known name that is nearest to it.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// No argument of a problem has this name.
    #[error("unknown argument `{name}`, did you mean `{nearest}`? Known: {known}")]
    UnknownArgument {
        /// The name found.
        name: String,
        /// The known name that is nearest to it.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// No reward head has this name.
    #[error("unknown head `{name}`, did you mean `{nearest}`? Known: {known}")]
    UnknownHead {
        /// The name found.
        name: String,
        /// The known name that is nearest to it.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// An argument is out of its range.
    #[error("`{argument}` of `{problem}` is {found}, expected {expected}")]
    Argument {
        /// The problem's name.
        problem: &'static str,
        /// The argument's name.
        argument: &'static str,
        /// The value found.
        found: String,
        /// What is accepted.
        expected: String,
    },
}

/// The name among `known` that takes the fewest edits from `name`.
pub(crate) fn nearest(name: &str, known: &[&'static str]) -> &'static str {
    let edits = |known: &&&str| strsim::damerau_levenshtein(name, known);
    known.iter().min_by_key(edits).copied().unwrap_or_default()
}
