use latco_agent::*;
use latco_env::*;
use latco_model::*;
use latco_plan::{Planner, catalogue::planner, collocation::Objective, shooting::*};
use std::path::Path;
fn main() {
    let device = device::device("auto").unwrap();
    let args: Vec<String> = std::env::args().collect();
    let model = WorldModel::load(Path::new(&args[1]), &device).unwrap();
    let n: usize = args[2].parse().unwrap();
    let mut env = make("reach", &EnvOptions::default()).unwrap();
    let beliefs: Vec<_> = (0..n as u64)
        .map(|s| {
            let img = env.reset(900 + s);
            model.first_belief(image_tensor(&model, &img, &device).unwrap())
        })
        .collect();
    let mut all: Vec<(String, Box<dyn Planner>)> = vec![];
    for name in &args[3..] {
        match name.as_str() {
            "variants" => {
                all.push((
                    "gn 16".into(),
                    Box::new(
                        GaussNewtonShooting::new(GaussNewtonShootingConfig {
                            plans: 16,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gn 8 tol1e-3".into(),
                    Box::new(
                        GaussNewtonShooting::new(GaussNewtonShootingConfig {
                            plans: 8,
                            tolerance: 1e-3,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gn 8 damp 1e-1".into(),
                    Box::new(
                        GaussNewtonShooting::new(GaussNewtonShootingConfig {
                            plans: 8,
                            damping: 1e-1,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gn 8 std 1".into(),
                    Box::new(
                        GaussNewtonShooting::new(GaussNewtonShootingConfig {
                            plans: 8,
                            initial_std: 1.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gn 16 tol 1e-3 b3".into(),
                    Box::new(
                        GaussNewtonShooting::new(GaussNewtonShootingConfig {
                            plans: 16,
                            tolerance: 1e-3,
                            noise_exponent: 3.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "ilqr 256".into(),
                    Box::new(
                        Ilqr::new(IlqrConfig {
                            candidates: 256,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "ilqr 256 damp1e-1".into(),
                    Box::new(
                        Ilqr::new(IlqrConfig {
                            candidates: 256,
                            damping: 1e-1,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "ilqr 256 std1".into(),
                    Box::new(
                        Ilqr::new(IlqrConfig {
                            candidates: 256,
                            initial_std: 1.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gd r lr.2".into(),
                    Box::new(
                        GradientShooting::new(GradientShootingConfig {
                            objective: Objective::Reward,
                            learning_rate: 0.2,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gd r lr.05".into(),
                    Box::new(
                        GradientShooting::new(GradientShootingConfig {
                            objective: Objective::Reward,
                            learning_rate: 0.05,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gd r 50it".into(),
                    Box::new(
                        GradientShooting::new(GradientShootingConfig {
                            objective: Objective::Reward,
                            iterations: 50,
                            learning_rate: 0.2,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "gd r 16p 60it".into(),
                    Box::new(
                        GradientShooting::new(GradientShootingConfig {
                            objective: Objective::Reward,
                            plans: 16,
                            iterations: 60,
                            learning_rate: 0.15,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "icem m0".into(),
                    Box::new(
                        Icem::new(IcemConfig {
                            momentum: 0.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "icem b3".into(),
                    Box::new(
                        Icem::new(IcemConfig {
                            noise_exponent: 3.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "icem std 1".into(),
                    Box::new(
                        Icem::new(IcemConfig {
                            initial_std: 1.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "icem el 40".into(),
                    Box::new(
                        Icem::new(IcemConfig {
                            elites: 40,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
                all.push((
                    "icem el 40 std 1 b3".into(),
                    Box::new(
                        Icem::new(IcemConfig {
                            elites: 40,
                            initial_std: 1.0,
                            noise_exponent: 3.0,
                            ..Default::default()
                        })
                        .unwrap(),
                    ),
                ));
            }
            _ => all.push((name.clone(), planner(name, None).unwrap())),
        }
    }
    for (name, p) in all {
        let mut totals = vec![];
        let mut seconds = vec![];
        let mut steps = 0;
        let mut iterations = 0;
        let mut stops = [0; 3];
        for b in &beliefs {
            let plan = p.plan(&model, b).unwrap();
            totals.push(plan.rollout.total());
            seconds.push(plan.elapsed.as_secs_f32());
            steps += plan.model_steps;
            iterations += plan.trace.len();
            stops[plan.stop as usize] += 1;
        }
        seconds.sort_by(f32::total_cmp);
        println!(
            "{name:16} mean {:6.2} [{}] median {:.3} s, steps {}, iterations {}, converged/iterations/deadline {stops:?}",
            totals.iter().sum::<f32>() / n as f32,
            totals
                .iter()
                .map(|t| format!("{t:.1}"))
                .collect::<Vec<_>>()
                .join(" "),
            seconds[n / 2],
            steps / n,
            iterations as f32 / n as f32
        );
    }
}
