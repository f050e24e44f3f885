//! Deadlines: the plan comes in time, or late by no more than an iteration.

mod common {
    pub mod point_mass;
}

use std::{
    fs,
    time::{Duration, Instant},
};

use common::point_mass::PointMass;
use latco_plan::{
    Iteration, Noise, Observer, PlanContext,
    catalogue::{PLANNERS, planner},
};

const PLANS: usize = 1_000;

/// Between which deadlines are drawn, evenly in their logarithm, in milliseconds.
const SHORTEST: f64 = 1.0;
const LONGEST: f64 = 200.0;

/// Time enough for an iteration on a busy machine.
const UNHURRIED: Duration = Duration::from_secs(20);

/// What the clock and the return of the plan may take.
const ALLOWANCE: Duration = Duration::from_millis(1);

/// The moments at which iterations ended.
struct Watch(Vec<Instant>);

impl Observer for Watch {
    fn iteration(&mut self, _iteration: &Iteration) {
        self.0.push(Instant::now());
    }
}

impl Watch {
    /// The longest iteration; what comes before the first is part of it. `None` where the deadline came
    /// in the midst of the first.
    fn longest(&self) -> Option<Duration> {
        let gaps = self.0.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max()
    }
}

/// For how long this process was ready to run and did not: its threads waited for a core, or the
/// machine itself was stopped. Known on Linux alone, elsewhere nothing is allowed for.
fn stolen() -> Duration {
    let waited = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    let stopped = fs::read_to_string("/proc/stat").ok().and_then(|text| {
        text.lines()
            .next()?
            .split_whitespace()
            .nth(8)?
            .parse::<u64>()
            .ok()
    });
    // Ticks of a hundredth of a second.
    Duration::from_nanos(waited) + Duration::from_millis(10 * stopped.unwrap_or(0))
}

/// One plan with a deadline.
struct Timed {
    planner: &'static str,
    deadline: Duration,
    late: Duration,
    longest_iteration: Option<Duration>,
    stolen: Duration,
}

impl Timed {
    fn plan(name: &'static str, deadline: Duration, seed: u64) -> Self {
        let planner = planner(name, None).unwrap();
        let model = PointMass { spread: 0.1 };
        let belief = PointMass::belief();
        let stolen_before = stolen();
        let started = Instant::now();
        let mut watch = Watch(vec![started]);
        let context = PlanContext::new(seed, &mut watch).with_deadline(Some(deadline));
        let plan = planner.plan_with(&model, &belief, context).unwrap();
        let elapsed = started.elapsed();
        let late = plan.late.unwrap_or_default();
        assert!(
            late <= elapsed.saturating_sub(deadline),
            "{name} claims to be later than it is"
        );
        assert_eq!(plan.late.is_some(), plan.elapsed > deadline, "{name}");
        Self {
            planner: name,
            deadline,
            late: elapsed.saturating_sub(deadline),
            longest_iteration: watch.longest(),
            stolen: stolen() - stolen_before,
        }
    }

    /// The longest iteration of this planner. A plan's own say too little: the first iteration of what
    /// comes next in a composition may be longer than all before it, and is not seen where it is
    /// interrupted.
    fn iteration(&self, all: &[Self]) -> Duration {
        let alike = all.iter().filter(|other| other.planner == self.planner);
        let longest = alike.filter_map(|other| other.longest_iteration).max();
        longest.unwrap_or_default()
    }

    /// Whether it was kept without any allowance for what was stolen.
    fn is_kept_outright(&self, all: &[Self]) -> bool {
        self.late <= self.iteration(all)
    }

    fn is_kept(&self, all: &[Self]) -> bool {
        self.late <= self.iteration(all) + self.stolen + ALLOWANCE
    }
}

#[test]
fn a_thousand_deadlines_are_missed_by_an_iteration_at_most() {
    let mut random = Noise::new(1);
    let mut timed: Vec<Timed> = (0..PLANS)
        .map(|plan| {
            let share = 0.5 + 0.5 * f64::from(random.uniform_scalar());
            let milliseconds = SHORTEST * (LONGEST / SHORTEST).powf(share);
            let deadline = Duration::from_secs_f64(milliseconds / 1e3);
            Timed::plan(PLANNERS[plan % PLANNERS.len()].name, deadline, plan as u64)
        })
        .collect();
    // Where the machine is so busy that no iteration ended within any deadline, nothing is known of one yet.
    for info in PLANNERS {
        let own = timed.iter().filter(|plan| plan.planner == info.name);
        if own.filter_map(|plan| plan.longest_iteration).count() == 0 {
            timed.push(Timed::plan(info.name, UNHURRIED, 0));
        }
    }
    report(&timed);
    let excused = timed.iter().filter(|plan| !plan.is_kept_outright(&timed));
    println!(
        "late by more than an iteration, before what was stolen: {}",
        excused.count()
    );
    let missed: Vec<String> = timed
        .iter()
        .filter(|plan| !plan.is_kept(&timed))
        .map(|timed| {
            let Timed {
                planner,
                deadline,
                late,
                longest_iteration,
                stolen,
            } = timed;
            format!(
                "{planner}: {late:.1?} after {deadline:.1?}, longest iteration \
                 {longest_iteration:.1?}, stolen {stolen:.1?}"
            )
        })
        .collect();
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

/// The share of late plans and by how much, for each planner and for all.
fn report(timed: &[Timed]) {
    println!("planner: late of plans, median and largest lateness, longest iteration");
    for info in PLANNERS {
        let of_planner = timed.iter().filter(|timed| timed.planner == info.name);
        println!("{}: {}", info.name, summary(of_planner));
    }
    println!("all: {}", summary(timed.iter()));
    let long = timed
        .iter()
        .filter(|timed| timed.deadline.as_millis() >= 20);
    println!("deadlines of 20 ms and more: {}", summary(long));
}

fn summary<'a>(timed: impl Iterator<Item = &'a Timed>) -> String {
    let timed: Vec<&Timed> = timed.collect();
    let mut late: Vec<Duration> = timed.iter().map(|timed| timed.late).collect();
    late.retain(|late| !late.is_zero());
    late.sort();
    let median = late.get(late.len() / 2).copied().unwrap_or_default();
    let largest = late.last().copied().unwrap_or_default();
    let iteration = timed
        .iter()
        .filter_map(|timed| timed.longest_iteration)
        .max();
    format!(
        "{} of {}, {median:.1?}, {largest:.1?}, {:.1?}",
        late.len(),
        timed.len(),
        iteration.unwrap_or_default()
    )
}
