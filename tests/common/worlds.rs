//! Tiny world models.

use latco_model::WorldModelConfig;

/// The smallest sizes that still have every part; `deterministic` 0 selects the SSM.
pub fn tiny_config(deterministic: usize) -> WorldModelConfig {
    WorldModelConfig {
        image_size: 32,
        pooling: 1,
        stochastic: 4,
        deterministic,
        hidden: 8,
        reward_units: 8,
        depth: 2,
        ..WorldModelConfig::small(2)
    }
}
