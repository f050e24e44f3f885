//! How the nodes of a relaxed plan leave the dynamics for the reward, and are pulled back.

use burn::tensor::Tensor;
use indicatif::ProgressBar;
use latco_agent::decoded_images;
use latco_env::Image;
use latco_model::WorldModel;
use latco_plan::{Iteration, LatentModel, Observer, Plan};

use crate::{
    drawing::{INK, Sheet, SheetRow, spread},
    error::CliError,
    progress,
};

/// Rows of relaxed iterations and columns of steps in the sheet, and the side of its images in pixels.
const ROWS: usize = 5;
const COLUMNS: usize = 8;
const SIDE: usize = 104;

/// Shows every iteration as it ends, and remembers those of the first plan.
pub struct Watch {
    spinner: ProgressBar,
    remembers: bool,
    present: Option<Iteration>,
    relaxed: Vec<(Iteration, Tensor<2>)>,
}

impl Watch {
    /// Shows iterations at `spinner`.
    pub fn new(spinner: ProgressBar) -> Self {
        Self {
            spinner,
            remembers: true,
            present: None,
            relaxed: Vec::new(),
        }
    }

    /// From now on plans are not remembered.
    pub fn only_count(&mut self) {
        self.remembers = false;
    }

    /// What the latents of `plan` depict, iteration by iteration and rolled out at last; `None` of a plan
    /// that kept the dynamics throughout, whose nodes are no latents, or that was one of several side by side.
    pub fn sheet(&self, model: &WorldModel, plan: &Plan) -> Option<Result<Image, CliError>> {
        let (_, nodes) = self.relaxed.first()?;
        let [horizon, size] = nodes.dims();
        // A weight of the episode's going on may stand behind the latent.
        let latent = LatentModel::latent_size(model);
        if size != latent && size != latent + 1 {
            return None;
        }
        let steps = spread(horizon, COLUMNS);
        let images = |nodes: &Tensor<2>| {
            let chosen = steps.iter().map(|&step| {
                let node = nodes.clone().narrow(0, step, 1);
                node.narrow(1, 0, latent)
            });
            decoded_images(model, Tensor::cat(chosen.collect(), 0))
        };
        let row = |label: String, nodes: &Tensor<2>| SheetRow {
            label,
            images: images(nodes),
            begins_group: false,
        };
        let chosen = spread(self.relaxed.len(), ROWS);
        let mut rows: Vec<_> = chosen
            .into_iter()
            .map(|index| {
                let (iteration, nodes) = &self.relaxed[index];
                row(label(iteration), nodes)
            })
            .collect();
        let total = plan.rollout.total();
        rows.push(SheetRow {
            begins_group: true,
            ..row(
                format!("rolled out\nreward {total:.1}"),
                &plan.rollout_latents,
            )
        });
        let heading = |&step: &usize| (format!("step {}", step + 1), INK);
        let sheet = Sheet {
            headings: steps.iter().map(heading).collect(),
            rows,
        };
        Some(sheet.render(SIDE))
    }
}

impl Observer for Watch {
    fn iteration(&mut self, iteration: &Iteration) {
        progress::show_iteration(&self.spinner, iteration);
        self.present = Some(iteration.clone());
    }

    fn trajectories(&mut self, _actions: &Tensor<3>, nodes: Option<&Tensor<3>>) {
        let Some((iteration, nodes)) = self.present.take().zip(nodes) else {
            return;
        };
        // Of plans side by side nobody tells which one the figures are of.
        let is_alone = nodes.dims()[0] == 1;
        if self.remembers && is_alone && iteration.violation_max > 0.0 {
            self.relaxed.push((iteration, nodes.clone().squeeze_dim(0)));
        }
    }
}

fn label(iteration: &Iteration) -> String {
    format!(
        "iteration {}\nreward {:.1}\nviolation {:.0e}\nλ {:.0}",
        iteration.index, iteration.reward, iteration.violation_max, iteration.multiplier_mean
    )
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn figures_stand_beside_the_latents_of_their_plan() {
        let iteration = Iteration {
            index: 0,
            reward: 1.0,
            violation_mean: 0.5,
            violation_max: 1.0,
            multiplier_mean: 1.0,
            multiplier_max: 1.0,
            action_multiplier_max: 0.0,
        };
        for (plans, remembered) in [(1, 1), (2, 0)] {
            let mut watch = Watch::new(ProgressBar::hidden());
            let zeros = |size| Tensor::<3>::zeros([plans, 3, size], &Device::default());
            watch.iteration(&iteration);
            watch.trajectories(&zeros(2), Some(&zeros(4)));
            assert_eq!(watch.relaxed.len(), remembered, "{plans} plans");
        }
    }
}
