//! A two-link arm that reaches with its fingertip.

use std::f32::consts::PI;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rapier2d::math::Vector;
use rapier2d::prelude::{
    ColliderBuilder, InteractionGroups, PhysicsWorld, RevoluteJointBuilder, RigidBodyBuilder,
    RigidBodyHandle,
};

use super::Task;
use crate::canvas::{Canvas, palette};

/// Length and half width of each link.
const LENGTH: f32 = 0.48;
const HALF_WIDTH: f32 = 0.09;
const TARGET_RADIUS: f32 = 0.22;
const FINGERTIP_RADIUS: f32 = 0.13;
const NEAREST_START: f32 = 0.6;
/// Mass of a link, and its moment of inertia about its centre: those of a thin rod.
const MASS: f32 = 1.0;
/// Torques of a full action at the shoulder and at the elbow.
const TORQUES: Vector = Vector::new(0.6, 0.25);
/// Decay rate of the links' turning, per second.
const DAMPING: f32 = 4.0;
const STEP_SECONDS: f32 = 0.1;
const SUBSTEPS: usize = 8;

/// An arm of two links turns about the middle of the table, driven by torques at its shoulder and
/// elbow. Solved while the fingertip is within 0.22 of the target; the reward is always dense.
pub(crate) struct Reacher {
    physics: PhysicsWorld,
    links: [RigidBodyHandle; 2],
    target: Vector,
}

fn direction(angle: f32) -> Vector {
    Vector::from_angle(angle)
}

impl Reacher {
    fn with_pose(angles: [f32; 2], target: Vector) -> Self {
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::ZERO;
        physics.integration_parameters.dt = STEP_SECONDS / SUBSTEPS as f32;
        let ground = physics.insert_body(RigidBodyBuilder::fixed());
        let mut parent = ground;
        let mut joint = Vector::ZERO;
        let mut anchor = Vector::ZERO;
        let links = angles.map(|angle| {
            let half = direction(angle) * (0.5 * LENGTH);
            let body = RigidBodyBuilder::dynamic()
                .translation(joint + half)
                .rotation(angle)
                .angular_damping(DAMPING)
                .can_sleep(false);
            let rod = ColliderBuilder::cuboid(0.5 * LENGTH, 0.5 * HALF_WIDTH)
                .mass(MASS)
                .collision_groups(InteractionGroups::none());
            let (link, _) = physics.insert(body, rod);
            let hinge = RevoluteJointBuilder::new()
                .local_anchor1(anchor)
                .local_anchor2(Vector::new(-0.5 * LENGTH, 0.0));
            physics.insert_multibody_joint(parent, link, hinge);
            parent = link;
            joint += 2.0 * half;
            anchor = Vector::new(0.5 * LENGTH, 0.0);
            link
        });
        Self {
            physics,
            links,
            target,
        }
    }

    /// The angles of both links against the x axis.
    fn angles(&self) -> [f32; 2] {
        self.links
            .map(|link| self.physics.bodies[link].rotation().angle())
    }

    fn elbow(&self) -> Vector {
        direction(self.angles()[0]) * LENGTH
    }

    fn fingertip(&self) -> Vector {
        self.elbow() + direction(self.angles()[1]) * LENGTH
    }

    /// The angles that bring the fingertip to the target, elbow on the present side.
    fn solution(&self) -> [f32; 2] {
        let distance = self.target.length();
        let bend = (0.5 * distance / LENGTH).min(1.0).acos();
        let heading = self.target.to_angle();
        let [shoulder, forearm] = self.angles();
        let side = wrapped(forearm - shoulder).signum();
        [heading - side * bend, heading + side * bend]
    }
}

/// The same angle in `[-π, π)`.
fn wrapped(angle: f32) -> f32 {
    (angle + PI).rem_euclid(2.0 * PI) - PI
}

impl Task for Reacher {
    const NAME: &'static str = "reacher";
    const ABOUT: &'static str = "reach the green target with the red fingertip of a two-link arm";
    const TIME_LIMIT: usize = 50;
    const REPLAN_EVERY: usize = 25;

    fn new(mut random: ChaCha8Rng) -> Self {
        loop {
            let shoulder = random.random_range(-PI..PI);
            let elbow: f32 =
                random.random_range(0.5..2.2) * if random.random() { 1.0 } else { -1.0 };
            let distance = random.random_range(0.4..0.9);
            let target = direction(random.random_range(-PI..PI)) * distance;
            let start = Self::with_pose([shoulder, shoulder + elbow], target);
            if start.remaining() >= NEAREST_START {
                return start;
            }
        }
    }

    fn advance(&mut self, action: [f32; 2]) {
        let [shoulder, elbow] = (Vector::from(action) * TORQUES).into();
        let [upper, fore] = self.links;
        for (link, torque) in [(upper, shoulder - elbow), (fore, elbow)] {
            self.physics.bodies[link].reset_torques(true);
            self.physics.bodies[link].add_torque(torque, true);
        }
        for _ in 0..SUBSTEPS {
            self.physics.step();
        }
    }

    fn success(&self) -> bool {
        self.remaining() <= TARGET_RADIUS
    }

    fn remaining(&self) -> f32 {
        self.fingertip().distance(self.target)
    }

    fn reward(&self, _dense: bool) -> f32 {
        (-self.remaining()).exp()
    }

    fn draw(&self, canvas: &mut Canvas) {
        canvas.disc(self.target, TARGET_RADIUS, palette::GOAL);
        let half = Vector::new(0.5 * LENGTH, HALF_WIDTH);
        let [upper, fore] = self.angles();
        canvas.rectangle(0.5 * self.elbow(), half, upper, palette::TOOL);
        let middle = 0.5 * (self.elbow() + self.fingertip());
        canvas.rectangle(middle, half, fore, palette::PANE);
        canvas.disc(Vector::ZERO, HALF_WIDTH, palette::FIXTURE);
        canvas.disc(self.elbow(), HALF_WIDTH, palette::TOOL);
        canvas.disc(self.fingertip(), FINGERTIP_RADIUS, palette::EFFECTOR);
    }

    /// Proportional and derivative control of both joint angles.
    fn scripted_action(&self) -> [f32; 2] {
        let [upper, fore] = self.angles();
        let [upper_goal, fore_goal] = self.solution();
        let [upper_speed, fore_speed] = self.links.map(|link| self.physics.bodies[link].angvel());
        let error = Vector::new(
            wrapped(upper_goal - upper),
            wrapped(wrapped(fore_goal - upper_goal) - wrapped(fore - upper)),
        );
        let speed = Vector::new(upper_speed, fore_speed - upper_speed);
        (3.0 * error - 2.0 * speed)
            .clamp(Vector::NEG_ONE, Vector::ONE)
            .into()
    }
}
