//! The sizes that a model may have.

use latco::model::WorldModelConfig;

/// Components of an action.
pub const ACTION_SIZE: usize = 4;

/// The preset of the shipped checkpoints and that of the LatCo paper, by name.
pub fn presets() -> [(&'static str, WorldModelConfig); 2] {
    [
        ("small", WorldModelConfig::small(ACTION_SIZE)),
        ("paper", WorldModelConfig::paper(ACTION_SIZE)),
    ]
}
