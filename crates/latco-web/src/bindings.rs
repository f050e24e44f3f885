//! What a page calls. Everything that can fail throws an `Error` whose message is the typed error's
//! sentence; figures come as plain objects, pictures as RGBA bytes.

use js_sys::{Float32Array, Function, JSON, Uint8Array, Uint8ClampedArray};
use latco_agent::Agent as LatcoAgent;
use latco_env::{Image, catalogue};
use latco_plan::Iteration;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;

use crate::{
    Imagined, IterationPicture, Place, PlanReport, Playground as Loop, Setup, WebError, planners,
};

/// A panic is an error of this library. It reaches the page as an exception that says where it happened.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        wasm_bindgen::throw_str(&format!("latco has failed, please report it: {panic}"));
    }));
}

impl From<WebError> for JsValue {
    fn from(error: WebError) -> Self {
        JsError::new(&error.to_string()).into()
    }
}

/// Numbers of a place in what `path` returns.
const PLACE: usize = 3;

/// The tasks: `[{name, about, horizon, replanEvery}]`.
#[wasm_bindgen]
pub fn tasks() -> Result<JsValue, JsValue> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Task {
        name: &'static str,
        about: &'static str,
        horizon: usize,
        replan_every: usize,
    }
    let tasks = catalogue().iter().map(|entry| Task {
        name: entry.name,
        about: entry.about,
        horizon: entry.protocol.horizon,
        replan_every: entry.protocol.replan_every,
    });
    object(&tasks.collect::<Vec<_>>())
}

/// The planners: `[{name, about, multiplier, epsilon}]`, the last two null where the method has none.
#[wasm_bindgen(js_name = planners)]
pub fn all_planners() -> Result<JsValue, JsValue> {
    object(&planners()?)
}

/// A task, a model and a planner in a closed loop.
#[wasm_bindgen]
pub struct Playground(Loop);

#[wasm_bindgen]
impl Playground {
    /// `checkpoint` is a safetensors file's bytes, `setup` `{planner, horizon, multiplier, epsilon,
    /// replanEvery, settings}`, each with a default.
    #[wasm_bindgen(constructor)]
    pub fn new(task: &str, checkpoint: Vec<u8>, setup: JsValue) -> Result<Self, JsValue> {
        Ok(Self(Loop::new(task, checkpoint, read_setup(&setup)?)?))
    }

    /// Plans otherwise from the next step on.
    pub fn configure(&mut self, setup: JsValue) -> Result<(), JsValue> {
        Ok(self.0.configure(read_setup(&setup)?)?)
    }

    /// Begins the episode of this seed.
    pub fn reset(&mut self, seed: u32) -> Result<(), JsValue> {
        Ok(self.0.reset(u64::from(seed))?)
    }

    /// Forgets belief and plan.
    #[wasm_bindgen(js_name = searchAnew)]
    pub fn search_anew(&mut self) {
        self.0.search_anew();
    }

    /// `[{name, position: [x, y], half: [x, y]}]` in shares of the picture.
    pub fn things(&self) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Movable {
            name: &'static str,
            position: [f32; 2],
            half: [f32; 2],
        }
        let things = self.0.things().into_iter().map(|thing| Movable {
            name: thing.name,
            position: thing.position,
            half: thing.half,
        });
        object(&things.collect::<Vec<_>>())
    }

    /// Moves a thing to shares of the picture.
    #[wasm_bindgen(js_name = moveThing)]
    pub fn move_thing(&mut self, name: &str, x: f32, y: f32) -> Result<(), JsValue> {
        Ok(self.0.move_thing(name, [x, y])?)
    }

    /// The scene, RGBA, `size` × `size`.
    pub fn picture(&self, size: usize) -> Result<Uint8ClampedArray, JsValue> {
        Ok(rgba(&[self.0.picture(size)?]))
    }

    /// What the agent sees, RGBA.
    pub fn seen(&self) -> Uint8ClampedArray {
        rgba(std::slice::from_ref(self.0.image()))
    }

    /// Observes and chooses the next action; the figures of the plan that was made, null where none was due.
    /// `on_iteration(index, promised, violation, multiplier)` is called after every iteration, and `record`
    /// keeps what each arrived at.
    pub fn think(
        &mut self,
        record: bool,
        on_iteration: Option<Function>,
    ) -> Result<JsValue, JsValue> {
        let mut tell = |iteration: &Iteration| {
            if let Some(function) = &on_iteration {
                let figures = [
                    iteration.index as f64,
                    f64::from(iteration.reward),
                    f64::from(iteration.violation_max),
                    f64::from(iteration.multiplier_max),
                ];
                let figures = figures.map(JsValue::from).iter().collect::<js_sys::Array>();
                // What the page makes of it is the page's.
                let _ = function.apply(&JsValue::NULL, &figures);
            }
        };
        object(&self.0.think(record, &mut tell)?)
    }

    /// Executes the chosen action: `{step, reward, solved, action}`.
    pub fn execute(&mut self) -> Result<JsValue, JsValue> {
        object(&self.0.execute()?)
    }

    /// The plan's actions, row by row.
    pub fn actions(&self) -> Result<Float32Array, JsValue> {
        let actions = self.0.plan()?.actions.clone().to_data_as::<f32>();
        let actions: Vec<f32> = actions.iter().collect();
        Ok(Float32Array::from(actions.as_slice()))
    }

    /// Steps executed of the plan.
    pub fn executed(&self) -> usize {
        self.0.executed()
    }

    /// What the plan imagines at every `every`-th step and the last: `{steps, path, frames, size}`, the
    /// path's x, y and confidence of each step, the frames RGBA one after another.
    pub fn imagine(&self, every: usize) -> Result<JsValue, JsValue> {
        let answer = js_sys::Object::new().into();
        show(&answer, self.0.imagine(every)?)?;
        Ok(answer)
    }

    /// What the belief shows, RGBA.
    pub fn believed(&self) -> Result<Uint8ClampedArray, JsValue> {
        Ok(rgba(&[self.0.believed()?]))
    }

    /// Iterations that were recorded.
    pub fn recorded(&self) -> usize {
        self.0.recorded()
    }

    /// `{index, promised, rollout, violation, multiplier, relaxed, rolledOut}` of a recorded iteration, with
    /// what its latents imagine as `imagine` has it; `rolledOut` is the path that its actions lead along.
    #[wasm_bindgen(js_name = recordedIteration)]
    pub fn recorded_iteration(&self, index: usize) -> Result<JsValue, JsValue> {
        #[derive(Serialize)]
        struct Figures {
            index: usize,
            promised: f32,
            rollout: f32,
            violation: f32,
            multiplier: f32,
            relaxed: bool,
        }
        let IterationPicture {
            iteration,
            relaxed,
            imagined,
            rollout,
            rollout_return,
        } = self.0.recorded_iteration(index)?;
        let answer = object(&Figures {
            index: iteration.index,
            promised: iteration.reward,
            rollout: rollout_return,
            violation: iteration.violation_max,
            multiplier: iteration.multiplier_max,
            relaxed,
        })?;
        show(&answer, imagined)?;
        js_sys::Reflect::set(&answer, &"rolledOut".into(), &flat(&rollout))?;
        Ok(answer)
    }
}

/// Gives `answer` the `steps`, `path`, `frames` and `size` of what is imagined.
fn show(answer: &JsValue, imagined: Vec<Imagined>) -> Result<(), JsValue> {
    let steps: Vec<_> = imagined.iter().map(|moment| moment.step).collect();
    let places: Vec<_> = imagined.iter().map(|moment| moment.place).collect();
    let images: Vec<_> = imagined.into_iter().map(|moment| moment.image).collect();
    let size = images.first().map_or(0, Image::width);
    js_sys::Reflect::set(answer, &"steps".into(), &object(&steps)?)?;
    js_sys::Reflect::set(answer, &"path".into(), &flat(&places))?;
    js_sys::Reflect::set(answer, &"frames".into(), &rgba(&images))?;
    js_sys::Reflect::set(answer, &"size".into(), &size.into())?;
    Ok(())
}

/// An agent for other people's pages: from pictures to actions.
#[wasm_bindgen]
pub struct Agent {
    agent: LatcoAgent,
    seed: u64,
}

#[wasm_bindgen]
impl Agent {
    /// From the bytes of a checkpoint.
    pub fn load(checkpoint: Vec<u8>) -> Result<Agent, JsValue> {
        let device = latco_agent::device::device("flex").map_err(WebError::from)?;
        let agent = LatcoAgent::from_bytes(checkpoint, "the checkpoint", &device);
        Ok(Self {
            agent: agent.map_err(WebError::from)?,
            seed: 0,
        })
    }

    /// Plans otherwise from the next step on, as if the episode began now.
    pub fn configure(&mut self, setup: JsValue) -> Result<(), JsValue> {
        let setup = read_setup(&setup)?;
        self.agent = setup.agent(self.agent.model().clone())?;
        self.agent.reset(self.seed);
        Ok(())
    }

    /// Forgets the episode; the seed determines the plans of the next.
    pub fn reset(&mut self, seed: u32) {
        self.seed = u64::from(seed);
        self.agent.reset(self.seed);
    }

    /// The action for a picture of RGB or RGBA bytes, in the environment's units.
    pub fn act(
        &mut self,
        pixels: &[u8],
        width: usize,
        height: usize,
    ) -> Result<Float32Array, JsValue> {
        let image = image(pixels, width, height)?;
        let action = self.agent.act(&image).map_err(WebError::from)?;
        Ok(Float32Array::from(action.as_slice()))
    }

    /// The figures of the present plan, null before the first.
    pub fn plan(&self) -> Result<JsValue, JsValue> {
        object(&self.agent.plan().map(PlanReport::from))
    }
}

/// An image from RGB or RGBA bytes.
fn image(pixels: &[u8], width: usize, height: usize) -> Result<Image, WebError> {
    let opaque = match pixels.len() == width.saturating_mul(height).saturating_mul(4) {
        true => pixels
            .chunks_exact(4)
            .flat_map(|rgba| [rgba[0], rgba[1], rgba[2]])
            .collect(),
        false => pixels.to_vec(),
    };
    Ok(Image::new(width, height, opaque)?)
}

fn rgba(images: &[Image]) -> Uint8ClampedArray {
    let pixels = images
        .iter()
        .flat_map(|image| image.pixels().chunks_exact(3));
    let bytes: Vec<u8> = pixels
        .flat_map(|rgb| [rgb[0], rgb[1], rgb[2], u8::MAX])
        .collect();
    Uint8ClampedArray::new(&Uint8Array::from(bytes.as_slice()).buffer())
}

fn flat(places: &[Place]) -> Float32Array {
    let mut numbers = Vec::with_capacity(PLACE * places.len());
    numbers.extend(
        places
            .iter()
            .flat_map(|place| [place.x, place.y, place.confidence]),
    );
    Float32Array::from(numbers.as_slice())
}

fn read_setup(value: &JsValue) -> Result<Setup, JsValue> {
    match value.is_undefined() || value.is_null() {
        true => Ok(Setup::default()),
        false => read("the setup", value),
    }
}

fn read<T: DeserializeOwned>(what: &'static str, value: &JsValue) -> Result<T, JsValue> {
    let text = String::from(JSON::stringify(value)?);
    serde_json::from_str(&text).map_err(|reason| WebError::Text { what, reason }.into())
}

fn object(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let text = serde_json::to_string(value).map_err(|reason| WebError::Text {
        what: "the answer",
        reason,
    })?;
    JSON::parse(&text)
}
