//! One iteration of each planner with its default settings, at small and paper sizes:
//! `cargo bench --bench planners`.
//!
//! Each sample is the mean over the iterations of one plan. Those of `cem-latco` are iterations of
//! its search and of its refinement. `random` is left out: it has no iterations.

use std::time::Duration;

use common::{
    device::device,
    iterations::{IterationClock, Task},
    presets::presets,
};
use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use latco::plan::catalogue::{PLANNERS, planner};

mod common {
    pub mod device;
    pub mod iterations;
    pub mod presets;
}

/// Steps of a plan.
const HORIZON: usize = 30;

/// Every iterative planner of the catalogue at both sizes.
fn iteration(criterion: &mut Criterion) {
    let iterative = PLANNERS.iter().filter(|info| info.name != "random");
    for (size, config) in presets() {
        let task = Task::new(config, &device());
        let mut group = criterion.benchmark_group(format!("iteration/{size}"));
        group.sampling_mode(SamplingMode::Flat);
        for info in iterative.clone() {
            let planner = planner(info.name, Some(HORIZON)).expect("a name of the catalogue");
            let mut clock = IterationClock::new(planner.as_ref(), &task);
            group.bench_function(info.name, |bencher| {
                bencher.iter_custom(|count| clock.mean().mul_f64(count as f64));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100));
    targets = iteration
}
criterion_main!(benches);
