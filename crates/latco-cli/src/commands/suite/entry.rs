//! A result of the suite: one planner on one task.

use std::collections::BTreeMap;

use latco_agent::Evaluation as Evaluated;
use latco_plan::catalogue::{self, PLANNERS};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{benchmark::PLANNERS as COMPARED, error::CliError, output::grouped};

/// Tells one version of a checkpoint, or of a planner's settings, from another.
const CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);

/// A promise below this share of a task's largest figure is next to nothing.
const NEXT_TO_NOTHING: f64 = 0.01;

/// The checksum (CRC-32C) of some bytes, in hexadecimal digits.
pub fn checksum(bytes: &[u8]) -> String {
    format!("{:08x}", CHECKSUM.checksum(bytes))
}

/// What a result is of, beside the planner: results of something else are no answer to what is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The environment's name; results of early versions do not say it.
    #[serde(default)]
    pub environment: String,
    /// The environment's arguments; tasks of the catalogue have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arguments: BTreeMap<String, Value>,
    /// The checksum of the checkpoint.
    pub checkpoint: String,
    /// Steps of a plan.
    pub horizon: usize,
    /// Steps executed of a plan before the next is made.
    pub replan_every: usize,
    /// Episodes side by side, which share the cores.
    #[serde(default = "one")]
    pub envs: usize,
}

fn one() -> usize {
    1
}

/// One planner on one task.
#[derive(Clone, Serialize, Deserialize)]
pub struct Entry {
    #[serde(flatten)]
    pub evaluation: Evaluated,
    pub success_low: f64,
    pub success_high: f64,
    #[serde(flatten)]
    pub subject: Subject,
    /// The checksum of the planner's settings; results of early versions do not say it, and are taken for
    /// those of the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<String>,
}

impl Entry {
    /// Refuses figures that are not finite, which JSON cannot hold.
    pub fn new(evaluation: Evaluated, subject: Subject) -> Result<Self, CliError> {
        let figures = [
            evaluation.return_mean,
            evaluation.return_std,
            evaluation.virtual_reward_mean,
            evaluation.rollout_reward_mean,
            evaluation.violation_max,
        ];
        if figures.iter().any(|figure| !figure.is_finite()) {
            return Err(CliError::Figures {
                env: evaluation.env,
                planner: evaluation.planner,
            });
        }
        let (success_low, success_high) = evaluation.success_interval();
        Ok(Self {
            settings: Some(settings(&evaluation.planner, subject.horizon)?),
            evaluation,
            success_low,
            success_high,
            subject,
        })
    }

    /// Whether the entry is of this subject, on this device, and of its planner as it is now.
    pub fn is_of(&self, subject: &Subject, device: &str) -> Result<bool, CliError> {
        // Of another version, which had other planners.
        if catalogue::info(&self.evaluation.planner).is_err() {
            return Ok(false);
        }
        let present = settings(&self.evaluation.planner, subject.horizon)?;
        let is_present = self.settings.as_ref().is_none_or(|found| *found == present);
        Ok(is_present && self.evaluation.device == device && self.subject == *subject)
    }

    /// Whether the entry is what is asked for.
    pub fn answers(&self, planner: &str, episodes: usize, seed: u64) -> bool {
        let found = &self.evaluation;
        found.planner == planner && (found.episodes, found.seed) == (episodes, seed)
    }

    /// Whether the other entry would take this one's place.
    pub fn gives_way_to(&self, other: &Self) -> bool {
        let [own, others] = [self, other].map(|entry| (&entry.evaluation, &entry.subject));
        own.0.planner == others.0.planner && own.0.device == others.0.device && own.1 == others.1
    }

    /// Where the planner stands: in the order of the comparison, others after it.
    pub fn rank(&self) -> usize {
        let others = PLANNERS.iter().map(|info| info.name);
        let mut order = COMPARED.into_iter().chain(others);
        let own = self.evaluation.planner.as_str();
        order.position(|name| name == own).unwrap_or(usize::MAX)
    }

    /// The entry as a row of the table, its task of this [`scale`].
    pub fn row(&self, scale: f64) -> String {
        let e = &self.evaluation;
        format!(
            "| `{}` | `{}` | {:.2} ({:.2}–{:.2}) | {} | {} | {} | {:.1} | {} | {:.2} | {:.3} | {} |",
            cell(&e.env),
            e.planner,
            e.success_rate,
            self.success_low,
            self.success_high,
            e.episodes,
            known(e.promised_mean, 1),
            known(e.rolled_out_mean, 1),
            e.return_mean,
            known(got_share(e, scale), 2),
            e.backed_share,
            e.plan_seconds_median,
            grouped(e.model_steps_per_plan.round() as usize),
        )
    }

    /// The entry as columns of the data file, each with its name, its task of this [`scale`].
    pub fn columns(&self, scale: f64) -> [(&'static str, String); 23] {
        let (e, subject) = (&self.evaluation, &self.subject);
        let text = |value: &dyn ToString| value.to_string();
        let known = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        [
            ("env", text(&e.env)),
            ("planner", text(&e.planner)),
            ("episodes", text(&e.episodes)),
            ("seed", text(&e.seed)),
            ("horizon", text(&subject.horizon)),
            ("replan_every", text(&subject.replan_every)),
            ("success_rate", text(&e.success_rate)),
            ("success_low", text(&self.success_low)),
            ("success_high", text(&self.success_high)),
            ("return_mean", text(&e.return_mean)),
            ("return_std", text(&e.return_std)),
            ("promised_mean", known(e.promised_mean)),
            ("rolled_out_mean", known(e.rolled_out_mean)),
            ("got_share", known(got_share(e, scale))),
            ("virtual_reward_mean", text(&e.virtual_reward_mean)),
            ("rollout_reward_mean", text(&e.rollout_reward_mean)),
            ("violation_max", text(&e.violation_max)),
            ("backed_share", text(&e.backed_share)),
            ("plan_seconds_median", text(&e.plan_seconds_median)),
            ("plan_seconds_max", text(&e.plan_seconds_max)),
            ("model_steps_per_plan", text(&e.model_steps_per_plan)),
            ("device", text(&e.device)),
            ("checkpoint", text(&subject.checkpoint)),
        ]
    }
}

/// The checksum of a planner's settings for plans of so many steps.
fn settings(planner: &str, horizon: usize) -> Result<String, CliError> {
    let settings = catalogue::info(planner)?.settings().with_horizon(horizon);
    Ok(checksum(&serde_json::to_vec(&settings)?))
}

/// How large the returns of a task are: the largest mean that was promised or got among its `results`.
pub fn scale<'a>(results: impl IntoIterator<Item = &'a Evaluated>) -> f64 {
    let figures = |result: &Evaluated| [result.promised_mean.unwrap_or(0.0), result.return_mean];
    let figures = results.into_iter().flat_map(figures);
    figures.map(f64::abs).fold(0.0, f64::max)
}

/// The share of what was promised that was got; none where next to nothing was promised, of which a share
/// tells nothing.
pub fn got_share(result: &Evaluated, scale: f64) -> Option<f64> {
    let promised = result.promised_mean?;
    let share = result.got_share();
    share.filter(|_| promised >= NEXT_TO_NOTHING * scale)
}

/// A name in a cell of a table.
pub fn cell(name: &str) -> String {
    name.replace('|', "\\|")
}

/// A figure that results of earlier versions lack.
pub fn known(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
