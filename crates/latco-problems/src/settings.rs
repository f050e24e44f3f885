use std::fmt::{self, Display};

use serde::Serialize;

use crate::{Head, ProblemError, ProblemInfo, error::nearest, problems::info};

const ARGUMENTS: [&str; 4] = ["size", "horizon", "width", "head"];
const DEFAULT_HORIZON: usize = 100;
const DEFAULT_WIDTH: f64 = 0.2;
const LARGEST_HORIZON: usize = 10_000;
const LEAST_WIDTH: f64 = 1e-4;
const LARGEST_WIDTH: f64 = 1e4;

/// A problem and its arguments, each within its range.
///
/// Serialises as the arguments alone; the name stands beside them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ProblemSettings {
    #[serde(skip)]
    info: &'static ProblemInfo,
    size: usize,
    horizon: usize,
    width: f64,
    head: Head,
}

impl ProblemSettings {
    /// The default arguments of the problem `name`.
    ///
    /// # Errors
    /// [`ProblemError::UnknownProblem`].
    pub fn of(name: &str) -> Result<Self, ProblemError> {
        Ok(info(name)?.settings())
    }

    pub(crate) const fn default_of(info: &'static ProblemInfo) -> Self {
        Self::known(info, info.size, DEFAULT_HORIZON, DEFAULT_WIDTH, Head::Gauss)
    }

    /// Arguments that are known to be in range.
    pub(crate) const fn known(
        info: &'static ProblemInfo,
        size: usize,
        horizon: usize,
        width: f64,
        head: Head,
    ) -> Self {
        Self {
            info,
            size,
            horizon,
            width,
            head,
        }
    }

    /// The problem's name.
    pub fn name(&self) -> &'static str {
        self.info.name
    }

    /// The problem's entry in the catalogue.
    pub fn info(&self) -> &'static ProblemInfo {
        self.info
    }

    /// How many dimensions, or effectors, there are.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The steps T of a plan, which lasts one unit of time.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// The width w of the reward.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// The reward's head.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The same problem of another size.
    ///
    /// # Errors
    /// [`ProblemError::Argument`] unless it is 1 to 64, or the only size there is.
    pub fn with_size(self, size: usize) -> Result<Self, ProblemError> {
        if !(1..=self.info.largest_size).contains(&size) {
            return Err(self.refused_size(size));
        }
        Ok(Self { size, ..self })
    }

    /// The same problem in `horizon` steps.
    ///
    /// # Errors
    /// [`ProblemError::Argument`] unless it is 1 to 10,000.
    pub fn with_horizon(self, horizon: usize) -> Result<Self, ProblemError> {
        if !(1..=LARGEST_HORIZON).contains(&horizon) {
            return Err(self.refused_horizon(horizon));
        }
        Ok(Self { horizon, ..self })
    }

    /// The same problem with a reward of this width.
    ///
    /// # Errors
    /// [`ProblemError::Argument`] unless it is 0.0001 to 10,000.
    pub fn with_width(self, width: f64) -> Result<Self, ProblemError> {
        if !(LEAST_WIDTH..=LARGEST_WIDTH).contains(&width) {
            return Err(self.refused_width(width));
        }
        Ok(Self { width, ..self })
    }

    /// The same problem with another head.
    pub fn with_head(self, head: Head) -> Self {
        Self { head, ..self }
    }

    /// The same problem with `argument` read from `value`, as users type them.
    ///
    /// # Errors
    /// [`ProblemError::UnknownArgument`], [`ProblemError::UnknownHead`], and
    /// [`ProblemError::Argument`] for what is no number or out of range.
    pub fn with(self, argument: &str, value: &str) -> Result<Self, ProblemError> {
        match argument {
            "size" => self.with_size(value.parse().map_err(|_| self.refused_size(value))?),
            "horizon" => self.with_horizon(value.parse().map_err(|_| self.refused_horizon(value))?),
            "width" => self.with_width(value.parse().map_err(|_| self.refused_width(value))?),
            "head" => Ok(self.with_head(value.parse()?)),
            _ => Err(ProblemError::UnknownArgument {
                name: argument.to_owned(),
                nearest: nearest(argument, &ARGUMENTS),
                known: ARGUMENTS.join(", "),
            }),
        }
    }

    fn refused_size(&self, found: impl Display) -> ProblemError {
        let expected = match self.info.largest_size {
            1 => "1, its only size".to_owned(),
            largest => format!("a whole number from 1 to {largest}"),
        };
        self.refused("size", found, expected)
    }

    fn refused_horizon(&self, found: impl Display) -> ProblemError {
        let expected = format!("a whole number from 1 to {LARGEST_HORIZON}");
        self.refused("horizon", found, expected)
    }

    fn refused_width(&self, found: impl Display) -> ProblemError {
        let expected = format!("a number from {LEAST_WIDTH} to {LARGEST_WIDTH}");
        self.refused("width", found, expected)
    }

    fn refused(
        &self,
        argument: &'static str,
        found: impl Display,
        expected: String,
    ) -> ProblemError {
        ProblemError::Argument {
            problem: self.name(),
            argument,
            found: found.to_string(),
            expected,
        }
    }
}

/// The name and the arguments as users type them; the size where there are several.
impl Display for ProblemSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        if self.info.largest_size > 1 {
            write!(formatter, " size={}", self.size)?;
        }
        let (horizon, width, head) = (self.horizon, self.width, self.head);
        write!(formatter, " horizon={horizon} width={width} head={head}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PROBLEMS;

    fn message(name: &str, argument: &str, value: &str) -> String {
        let made = ProblemSettings::of(name).and_then(|settings| settings.with(argument, value));
        made.unwrap_err().to_string()
    }

    #[test]
    fn arguments_have_the_promised_defaults() {
        for info in PROBLEMS {
            let settings = info.settings();
            let size = match info.name {
                "point" => 4,
                "effectors" => 8,
                _ => 1,
            };
            assert_eq!((settings.size(), settings.horizon()), (size, 100));
            assert_eq!((settings.width(), settings.head()), (0.2, Head::Gauss));
            assert_eq!(ProblemSettings::of(info.name), Ok(settings));
        }
    }

    #[test]
    fn arguments_are_read_as_users_type_them() {
        let settings = ProblemSettings::of("point").unwrap();
        let typed = [
            ("size", "16"),
            ("horizon", "50"),
            ("width", "0.1"),
            ("head", "cauchy"),
        ];
        let settings = typed
            .into_iter()
            .try_fold(settings, |settings, (argument, value)| {
                settings.with(argument, value)
            })
            .unwrap();
        assert_eq!((settings.size(), settings.horizon()), (16, 50));
        assert_eq!((settings.width(), settings.head()), (0.1, Head::Cauchy));
        assert_eq!(
            settings.to_string(),
            "point size=16 horizon=50 width=0.1 head=cauchy"
        );
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(
            json,
            r#"{"size":16,"horizon":50,"width":0.1,"head":"cauchy"}"#
        );
    }

    #[test]
    fn unknown_names_get_the_nearest_and_all() {
        let unknown = ProblemSettings::of("quadroter").unwrap_err().to_string();
        assert!(
            unknown.contains("did you mean `quadrotor`?") && unknown.contains("point, effectors")
        );
        let unknown = message("point", "heigt", "3");
        assert!(unknown.contains("`heigt`") && unknown.contains("size, horizon, width, head"));
        let unknown = message("point", "head", "gaus");
        assert!(
            unknown.contains("did you mean `gauss`?") && unknown.contains("gauss, cauchy, sigmoid")
        );
    }

    #[test]
    fn arguments_out_of_range_say_what_was_found_and_expected() {
        for (argument, values) in [
            ("size", ["0", "-1", "65", "2.5", "NaN", ""]),
            ("horizon", ["0", "-1", "10001", "1e3", "ten", ""]),
            ("width", ["0", "-0.1", "NaN", "inf", "wide", ""]),
        ] {
            for value in values {
                let message = message("point", argument, value);
                let found = value
                    .parse::<f64>()
                    .map_or(value.to_owned(), |number| number.to_string());
                let is_named = message.contains(&format!("is {value},"))
                    || message.contains(&format!("is {found},"));
                assert!(
                    message.starts_with(&format!("`{argument}` of `point`")),
                    "{message}"
                );
                assert!(is_named && message.contains(", expected a"), "{message}");
                assert_eq!(message.lines().count(), 1);
            }
        }
    }

    #[test]
    fn only_two_problems_come_in_several_sizes() {
        for info in PROBLEMS {
            let larger = info.settings().with_size(64);
            match info.name {
                "point" | "effectors" => assert_eq!(larger.map(|settings| settings.size()), Ok(64)),
                _ => assert!(
                    larger
                        .unwrap_err()
                        .to_string()
                        .contains("expected 1, its only size")
                ),
            }
        }
    }
}
