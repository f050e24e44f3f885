//! Every planner on random linear-quadratic problems, whose best plan is known in closed form.
//!
//! Sizes, systems, starts of the search and first multipliers are random. There are at most as many
//! actions as latents and reward residuals, so that the best actions are unique, and they keep
//! clear of their bounds: they are those of the finite-horizon regulator. A plan is judged by its
//! actions alone, which are rolled out in double precision.

mod common {
    #[expect(dead_code, reason = "the rest is for tests/linear_quadratic.rs")]
    pub mod linear_quadratic;
}

use burn::tensor::Device;
use common::linear_quadratic::{DenseWeights, FiniteHorizon, LinearQuadratic, Sizes};
use latco_plan::{
    NoObserver, Noise, PlanContext, Planner,
    collocation::{
        CemLatcoConfig, DualConfig, DualRule, FirstOrderConfig, GaussNewtonConfig, GraspConfig,
        Initialisation, Transcription,
    },
    methods::{BestOfN, Refined},
    shooting::{CemConfig, GradientShootingConfig, IcemConfig, MppiConfig},
    solve::{Method, Solver},
};
use nalgebra::DVector;
use proptest::{prelude::*, test_runner::RngSeed};

/// A random problem and a random start of the search.
#[derive(Clone, Debug)]
struct Case {
    sizes: Sizes,
    /// Of the problem's numbers and of the planner's.
    seed: u64,
    /// λ₀.
    dynamics: f64,
    /// ν₀.
    actions: f64,
    /// The standard deviation of the first plan.
    start: f64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1..4_usize, 1..4_usize, 1..9_usize);
    let sizes = sizes.prop_flat_map(|(latent, residuals, horizon)| {
        (1..=latent.min(residuals)).prop_map(move |action| Sizes {
            latent,
            action,
            residuals,
            horizon,
        })
    });
    let multiplier = || (-1.0..1.0).prop_map(|exponent| 10_f64.powf(exponent));
    (sizes, any::<u64>(), multiplier(), multiplier(), 0.1..1.0).prop_map(
        |(sizes, seed, dynamics, actions, start)| Case {
            sizes,
            seed,
            dynamics,
            actions,
            start,
        },
    )
}

/// Few seeded cases, so that all of them take seconds.
fn some(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

/// The distance of a plan from the best one.
#[derive(Debug)]
struct Miss {
    /// The largest difference of any action, the best ones being below 1.
    action: f64,
    /// The share of what can be gained over doing nothing.
    regret: f64,
}

impl Miss {
    /// Nothing is better than the best.
    fn within(&self, action: f64) -> Result<(), TestCaseError> {
        prop_assert!(self.regret >= -1e-9, "{self:?}");
        prop_assert!(self.action <= action, "{self:?} is beyond {action:.0e}");
        Ok(())
    }

    fn forgoes_at_most(&self, share: f64) -> Result<(), TestCaseError> {
        prop_assert!(
            (-1e-9..=share).contains(&self.regret),
            "{self:?} is beyond {share:.0e}"
        );
        Ok(())
    }
}

impl Case {
    fn with_problem<T>(&self, check: impl FnOnce(&LinearQuadratic, &FiniteHorizon<'_>) -> T) -> T {
        let noise = &mut Noise::new(self.seed);
        let system = LinearQuadratic::random(self.sizes, noise, &Device::default());
        let problem = FiniteHorizon::random(&system, self.sizes.horizon, noise);
        check(&system, &problem)
    }

    /// How far the planned actions are from the regulator's.
    fn miss(&self, planner: &dyn Planner) -> Result<Miss, TestCaseError> {
        self.miss_of(planner, |problem| {
            problem.actions(&problem.optimum().unknowns)
        })
    }

    /// How far they are from others, which should keep clear of the bounds.
    fn miss_of(
        &self,
        planner: &dyn Planner,
        expected: impl FnOnce(&FiniteHorizon<'_>) -> DVector<f64>,
    ) -> Result<Miss, TestCaseError> {
        self.with_problem(|system, problem| {
            let expected = expected(problem);
            prop_assume!(expected.amax() < 0.9);
            let mut observer = NoObserver;
            let context = PlanContext::new(self.seed, &mut observer);
            let plan = planner.plan_with(system, &problem.belief(), context);
            let actions = plan.unwrap().actions.try_into_vec_as::<f32>().unwrap();
            let found = DVector::from_iterator(actions.len(), actions.into_iter().map(f64::from));
            let [best, reached] = [&expected, &found].map(|actions| problem.return_of(actions));
            let idle = problem.virtual_return(&problem.idle());
            let miss = Miss {
                action: (found - expected).amax(),
                regret: (best - reached) / (best - idle),
            };
            println!(
                "{} {:?} action {:.1e} regret {:.1e}",
                planner.name(),
                self.sizes,
                miss.action,
                miss.regret
            );
            Ok(miss)
        })
    }

    fn dual(&self, rate: f64, threshold: f64) -> DualConfig {
        DualConfig {
            rule: DualRule::Logarithmic { rate },
            dynamics: self.dynamics,
            actions: self.actions,
            threshold,
            ..DualConfig::default()
        }
    }

    /// Gauss–Newton with this case's start and multipliers and ε = 1e-8.
    fn gauss_newton(&self) -> GaussNewtonConfig {
        GaussNewtonConfig {
            horizon: self.sizes.horizon,
            plans: 1,
            initialisation: Initialisation::Normal { std: self.start },
            dual: self.dual(0.3, 1e-8),
            ..GaussNewtonConfig::default()
        }
    }

    /// Gauss–Newton on the actions alone from one random sequence.
    fn polished(&self, name: &'static str, mut method: Refined<BestOfN>) -> Solver {
        method.set_horizon(self.sizes.horizon);
        method.search.samples = 1;
        method.search.kept = 1;
        method.search.initial_std = self.start;
        method.refinement.tolerance = 0.0;
        Solver::new(name, method).unwrap()
    }

    /// Adam with this case's start and multipliers, ε = 1e-5 on the squared distance of which the
    /// measure makes `scale` times as much. Adam must keep up with the multipliers, hence κ = 0.003
    /// in 3,000 steps: with κ = 0.1 they reach their ceiling before the plan has moved, and hold it
    /// there.
    fn first_order(&self, method: FirstOrderConfig, scale: f64) -> Solver {
        let dual = self.dual(0.003, 1e-5 * scale);
        Solver::new(
            "latco-first-order",
            FirstOrderConfig {
                horizon: self.sizes.horizon,
                plans: 1,
                iterations: 3_000,
                learning_rate: 0.03,
                initialisation: Initialisation::Normal { std: self.start },
                dual: DualConfig {
                    dynamics: self.dynamics / scale,
                    ..dual
                },
                ..method
            },
        )
        .unwrap()
    }

    fn grasp(&self) -> GraspConfig {
        GraspConfig {
            horizon: self.sizes.horizon,
            consistency: self.dynamics,
            ..GraspConfig::default()
        }
    }
}

/// What `½ ‖Δ / σ‖²` makes of `‖Δ‖²` for the systems' deviation of 0.1.
const IN_DEVIATIONS: f64 = 50.0;

/// What a plan may miss that spends `√ε` in each step on reward, for ε = 1e-5.
const FIRST_ORDER_SLACK: f64 = 1e-2;

proptest! {
    #![proptest_config(some(12))]

    /// Where the goal is out of reach, a plan spends `√ε = 1e-4` in each step on reward, and an action
    /// makes up for the jumps of several.
    #[test]
    fn gauss_newton_collocation_finds_the_optimum(case in cases()) {
        let planner = Solver::new("gauss-newton", case.gauss_newton()).unwrap();
        case.miss(&planner)?.within(2e-4)?;
    }

    /// Deviations do not move the best mean plan of a linear system.
    #[test]
    fn gauss_newton_collocation_of_gaussians_finds_the_optimum(case in cases()) {
        let planner = Solver::new("gauss-newton", GaussNewtonConfig {
            transcription: Transcription::Gaussian { samples: 8 },
            ..case.gauss_newton()
        });
        case.miss(&planner.unwrap())?.within(2e-4)?;
    }

    /// With λ = 1e8 the penalised problem is the regulator's but for the last digits of single
    /// precision.
    #[test]
    fn collocation_without_relaxation_finds_the_optimum(case in cases()) {
        let planner = Solver::new("gauss-newton", GaussNewtonConfig {
            horizon: case.sizes.horizon,
            ..GaussNewtonConfig::no_relaxation()
        });
        case.miss(&planner.unwrap())?.within(2e-4)?;
    }

    /// Without dual ascent a plan reaches the minimiser of the penalised problem with λ = 8, and no
    /// more: its actions rely on jumps.
    #[test]
    fn collocation_without_constraint_finds_the_minimiser_for_its_penalty(case in cases()) {
        let config = GaussNewtonConfig {
            horizon: case.sizes.horizon,
            ..GaussNewtonConfig::no_constraint()
        };
        let weights = DenseWeights {
            dynamics: vec![config.dual.dynamics; config.horizon],
            actions: vec![config.dual.actions; config.horizon],
            defect_damping: 0.0,
            action_damping: 0.0,
            latent_damping: 0.0,
        };
        let planner = Solver::new("gauss-newton", config).unwrap();
        let miss = case.miss_of(&planner, |problem| {
            let idle = problem.idle();
            problem.actions(&(problem.damped_step(&idle, &weights) + idle))
        })?;
        prop_assert!(miss.action <= 1e-1, "{miss:?}");
    }

    /// Steps are accepted by costs in single precision, whose last digits are the regret allowed.
    #[test]
    fn gauss_newton_shooting_finds_the_optimum(case in cases()) {
        for (name, method) in [
            ("shooting-gn", Refined::gauss_newton_shooting()),
            ("ilqr", Refined::ilqr()),
        ] {
            case.miss(&case.polished(name, method))?.forgoes_at_most(1e-6)?;
        }
    }

    /// Adam's steps end at a tenth of 0.05: it settles within a small part of that.
    #[test]
    fn gradient_shooting_finds_the_optimum(case in cases()) {
        let planner = Solver::new("shooting-gd", GradientShootingConfig {
            horizon: case.sizes.horizon,
            plans: 1,
            iterations: 500,
            learning_rate: 0.05,
            initial_std: case.start,
            tolerance: 0.0,
            ..GradientShootingConfig::default()
        });
        case.miss(&planner.unwrap())?.within(1e-3)?;
    }
}

proptest! {
    #![proptest_config(some(5))]

    #[test]
    fn first_order_collocation_finds_the_optimum(case in cases()) {
        let planner = case.first_order(FirstOrderConfig::default(), 1.0);
        case.miss(&planner)?.within(FIRST_ORDER_SLACK)?;
    }

    /// The mean of particles moves as a single one would, whatever their spread.
    #[test]
    fn collocation_of_particles_finds_the_optimum(case in cases()) {
        let planner = case.first_order(FirstOrderConfig::particles(5), 1.0);
        case.miss(&planner)?.within(FIRST_ORDER_SLACK)?;
    }

    #[test]
    fn collocation_by_likelihood_finds_the_optimum(case in cases()) {
        let planner = case.first_order(FirstOrderConfig::likelihood(), IN_DEVIATIONS);
        case.miss(&planner)?.within(FIRST_ORDER_SLACK)?;
    }

    #[test]
    fn collocation_of_gaussians_finds_the_optimum(case in cases()) {
        let planner = case.first_order(FirstOrderConfig::gaussian(), 1.0);
        case.miss(&planner)?.within(FIRST_ORDER_SLACK)?;
    }

    #[test]
    fn collocation_by_divergence_finds_the_optimum(case in cases()) {
        let planner = case.first_order(FirstOrderConfig::kl(), IN_DEVIATIONS);
        case.miss(&planner)?.within(FIRST_ORDER_SLACK)?;
    }

    /// GRASP's relaxed cost has no gradient through the state inputs of the dynamics, so that
    /// no action is asked to help any step but its own. By itself it comes to rest at actions that are
    /// greedy: each minimises one step's cost from where the relaxed latents are.
    #[test]
    fn the_relaxed_steps_of_grasp_find_greedy_actions(case in cases()) {
        let planner = Solver::new("grasp", GraspConfig {
            plans: 1,
            iterations: 2_000,
            synchronise_every: 2_000,
            rollout_steps: 0,
            noise: 0.0,
            action_rate: 0.01,
            latent_rate: 0.01,
            ..case.grasp()
        });
        let miss = case.miss_of(&planner.unwrap(), |problem| problem.greedy(case.dynamics))?;
        prop_assert!(miss.action <= 1e-1, "{miss:?}");
    }

    /// It is the synchronisation, gradient steps through the full rollout, that finds the optimum,
    /// if it may take enough of them.
    #[test]
    fn the_rollout_steps_of_grasp_find_the_optimum(case in cases()) {
        let planner = Solver::new("grasp", GraspConfig {
            iterations: 50,
            rollout_steps: 1_500,
            action_rate: 0.01,
            ..case.grasp()
        });
        case.miss(&planner.unwrap())?.within(2e-4)?;
    }
}

proptest! {
    #![proptest_config(some(12))]

    /// Five rollout steps of 0.05 at each synchronisation, the default, come near it.
    #[test]
    fn grasp_comes_near_the_optimum(case in cases()) {
        let planner = Solver::new("grasp", case.grasp());
        case.miss(&planner.unwrap())?.forgoes_at_most(0.1)?;
    }

    #[test]
    fn cem_comes_near_the_optimum(case in cases()) {
        let planner = Solver::new("cem", CemConfig {
            horizon: case.sizes.horizon,
            iterations: 30,
            ..CemConfig::default()
        });
        case.miss(&planner.unwrap())?.forgoes_at_most(1e-2)?;
    }

    #[test]
    fn icem_comes_near_the_optimum(case in cases()) {
        let planner = Solver::new("icem", IcemConfig {
            horizon: case.sizes.horizon,
            iterations: 30,
            noise_exponent: 0.5,
            ..IcemConfig::default()
        });
        case.miss(&planner.unwrap())?.forgoes_at_most(1e-2)?;
    }

    /// Its mean keeps the deviation of the samples that it averages.
    #[test]
    fn mppi_comes_near_the_optimum(case in cases()) {
        let planner = Solver::new("mppi", MppiConfig {
            horizon: case.sizes.horizon,
            iterations: 30,
            min_std: 0.01,
            noise_exponent: 0.0,
            ..MppiConfig::default()
        });
        case.miss(&planner.unwrap())?.forgoes_at_most(2e-2)?;
    }

    /// Collocation refines what the search finds.
    #[test]
    fn cem_refined_by_collocation_finds_the_optimum(case in cases()) {
        let planner = Solver::new("cem-latco", CemLatcoConfig {
            search: CemConfig {
                horizon: case.sizes.horizon,
                ..CemLatcoConfig::default().search
            },
            refinement: case.gauss_newton(),
        });
        case.miss(&planner.unwrap())?.within(2e-4)?;
    }
}
