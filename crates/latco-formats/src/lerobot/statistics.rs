//! What a data set's columns look like, `meta/stats.json`.

use serde_json::{Value, json};

/// The range, mean and standard deviation of each component of a feature.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    count: u64,
    components: Vec<Component>,
}

#[derive(Clone, Copy, Debug)]
struct Component {
    minimum: f64,
    maximum: f64,
    sum: f64,
    squares: f64,
}

impl Statistics {
    pub fn new(components: usize) -> Self {
        let nothing = Component {
            minimum: f64::INFINITY,
            maximum: f64::NEG_INFINITY,
            sum: 0.0,
            squares: 0.0,
        };
        Self {
            count: 0,
            components: vec![nothing; components],
        }
    }

    /// Counts rows of all components, one behind another.
    pub fn add(&mut self, values: impl IntoIterator<Item = f64>) {
        let size = self.components.len();
        let mut counted = 0;
        for (i, value) in values.into_iter().enumerate() {
            let component = &mut self.components[i % size];
            component.minimum = component.minimum.min(value);
            component.maximum = component.maximum.max(value);
            component.sum += value;
            component.squares += value * value;
            counted = i + 1;
        }
        self.count += (counted / size) as u64;
    }

    /// Each figure as `[component]`, times `scale`; those of images, whose rows are pixels, as `[component,
    /// 1, 1]`, and the count as that of the `frames`.
    pub fn json(&self, scale: f64, frames: Option<u64>) -> Value {
        let of = |figure: &dyn Fn(&Component) -> f64| -> Value {
            let figures = self
                .components
                .iter()
                .map(|component| scale * figure(component));
            match frames {
                Some(_) => figures.map(|figure| json!([[figure]])).collect(),
                None => figures.map(Value::from).collect(),
            }
        };
        let count = self.count.max(1) as f64;
        let mean = |component: &Component| component.sum / count;
        let variance = |component: &Component| component.squares / count - mean(component).powi(2);
        json!({
            "min": of(&|component| component.minimum),
            "max": of(&|component| component.maximum),
            "mean": of(&mean),
            "std": of(&|component| variance(component).max(0.0).sqrt()),
            "count": [frames.unwrap_or(self.count)],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_rows() {
        let mut statistics = Statistics::new(2);
        statistics.add([1.0, 10.0, 3.0, 10.0]);
        statistics.add([5.0, 40.0]);
        let figures = statistics.json(1.0, None);
        assert_eq!(figures["min"], json!([1.0, 10.0]));
        assert_eq!(figures["max"], json!([5.0, 40.0]));
        assert_eq!(figures["mean"], json!([3.0, 20.0]));
        assert_eq!(figures["count"], json!([3]));
        let deviation = figures["std"][0].as_f64().unwrap();
        assert!((deviation - (8.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        let pixels = statistics.json(0.5, Some(7));
        assert_eq!(pixels["max"], json!([[[2.5]], [[20.0]]]));
        assert_eq!(pixels["count"], json!([7]));
    }
}
