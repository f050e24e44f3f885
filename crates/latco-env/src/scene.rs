//! Tasks whose things can be moved by hand while they run.

use crate::canvas::VIEW;
use crate::catalogue::Protocol;
use crate::environment::{EnvError, Environment};
use crate::image::Image;

/// A thing of a [`Scene`], in shares of the picture: x from the left, y from the top, both in `[0, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Thing {
    /// What it is called: `effector`, `goal`, `door`, …
    pub name: &'static str,
    /// Its centre.
    pub position: [f32; 2],
    /// Half its width and height, as shares of the picture's side.
    pub half: [f32; 2],
}

/// A task without a time limit, for demonstrations: things in it can be moved at any time, and it can be
/// drawn at any size. [`scene`](crate::scene) makes one.
pub trait Scene: Environment {
    /// What can be moved, the effector first.
    fn things(&self) -> Vec<Thing>;

    /// Moves a thing towards a place as far as the task allows it to be there. What rests on nothing but
    /// the present episode, such as how far a drawer is open, may start anew.
    ///
    /// # Errors
    /// [`EnvError::Thing`] where there is no such thing, [`EnvError::ActionNotFinite`] where the place is
    /// none.
    fn move_thing(&mut self, name: &str, position: [f32; 2]) -> Result<(), EnvError>;

    /// The present state in `size` × `size` pixels.
    ///
    /// # Errors
    /// [`EnvError::Option`] where the size is none of 16 to 1024.
    fn picture(&self, size: usize) -> Result<Image, EnvError>;

    /// Whether the present state solves the task.
    fn is_solved(&self) -> bool;

    /// Red, green and blue of the effector, which nothing else here is drawn in.
    fn effector_colour(&self) -> [u8; 3];

    /// How it is planned where nothing else is asked for.
    fn protocol(&self) -> Protocol;
}

/// World units as shares of the picture.
pub(crate) fn to_share([x, y]: [f32; 2]) -> [f32; 2] {
    [0.5 * (1.0 + x / VIEW), 0.5 * (1.0 - y / VIEW)]
}

/// Shares of the picture as world units.
pub(crate) fn to_world([x, y]: [f32; 2]) -> [f32; 2] {
    [VIEW * (2.0 * x - 1.0), VIEW * (1.0 - 2.0 * y)]
}
