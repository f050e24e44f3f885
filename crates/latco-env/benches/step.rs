//! Steps a second, stepping and rendering together: `cargo bench -p latco-env`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latco_env::{EnvOptions, catalogue, make};

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(1));
    for entry in catalogue() {
        let mut environment = make(entry.name, &EnvOptions::default()).expect("a known name");
        let mut seed = 0;
        environment.reset(seed);
        group.bench_function(entry.name, |bencher| {
            bencher.iter(|| {
                let action = environment.scripted_action();
                if environment.step(&action).expect("a valid action").done {
                    seed += 1;
                    environment.reset(seed);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
