//! The tabletop that the contact tasks share: a walled square `[-1, 1]²`, seen from above, with an
//! effector that is steered by velocity and pushes, presses and carries things.
//!
//! Every body is made of coloured parts, so that what collides is what is drawn.

use rapier2d::math::Vector;
use rapier2d::prelude::{
    ColliderBuilder, ColliderHandle, FixedJointBuilder, Group, InteractionGroups,
    InteractionTestMode, PhysicsWorld, PrismaticJointBuilder, RigidBodyBuilder, RigidBodyHandle,
};

use crate::canvas::{Canvas, Colour, palette};

/// Radius of the effector.
pub(crate) const EFFECTOR_RADIUS: f32 = 0.16;

/// Seconds of one step, and how many integration steps it is made of.
const STEP_SECONDS: f32 = 0.1;
const SUBSTEPS: usize = 4;
/// Iterations of the contact solver in each: enough that things pressed hard do not sink in.
const SOLVER_ITERATIONS: usize = 8;
/// Mass per area; the effector is heavier than what it pushes, so that it keeps its velocity.
const EFFECTOR_DENSITY: f32 = 10.0;
const DENSITY: f32 = 1.0;
/// Decay rate of the velocity of sliding things, per second: high, so that they stop where they
/// are let go, as on a table with friction.
const TABLE_FRICTION: f32 = 100.0;

const FIXTURES: Group = Group::GROUP_1;
const EFFECTOR: Group = Group::GROUP_2;
const TOOLS: Group = Group::GROUP_3;
const PUCKS: Group = Group::GROUP_4;
const SLIDERS: Group = Group::GROUP_5;
const FENCES: Group = Group::GROUP_6;

/// The outline of a part.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// A disc of this radius.
    Disc(f32),
    /// A rectangle of these half sides.
    Box(Vector),
}

/// A coloured piece of a body.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    shape: Shape,
    offset: Vector,
    colour: Colour,
}

/// A disc at the centre of its body.
pub(crate) fn disc(radius: f32, colour: Colour) -> Part {
    Part {
        shape: Shape::Disc(radius),
        offset: Vector::ZERO,
        colour,
    }
}

/// A rectangle of these half sides at the centre of its body.
pub(crate) fn block(half_width: f32, half_height: f32, colour: Colour) -> Part {
    Part {
        shape: Shape::Box(Vector::new(half_width, half_height)),
        offset: Vector::ZERO,
        colour,
    }
}

impl Part {
    /// The same part, away from the centre of its body.
    pub(crate) fn at(self, x: f32, y: f32) -> Self {
        Self {
            offset: Vector::new(x, y),
            ..self
        }
    }

    fn collider(&self, group: Group, partners: Group) -> ColliderBuilder {
        let collider = match self.shape {
            Shape::Disc(radius) => ColliderBuilder::ball(radius),
            Shape::Box(half) => ColliderBuilder::cuboid(half.x, half.y),
        };
        collider
            .translation(self.offset)
            .density(DENSITY)
            .collision_groups(InteractionGroups::new(
                group,
                partners,
                InteractionTestMode::And,
            ))
    }

    fn draw(&self, body: Vector, canvas: &mut Canvas) {
        let centre = body + self.offset;
        match self.shape {
            Shape::Disc(radius) => canvas.disc(centre, radius, self.colour),
            Shape::Box(half) => canvas.rectangle(centre, half, 0.0, self.colour),
        }
    }
}

/// A body that can be asked for its position.
pub(crate) type Body = RigidBodyHandle;

/// A body on a rail.
pub(crate) struct Slider {
    body: Body,
    closed: Vector,
    axis: Vector,
}

/// How a rail holds its body.
#[derive(Clone, Copy)]
pub(crate) struct Rail {
    /// The unit direction in which travel grows.
    pub(crate) axis: Vector,
    /// The longest travel from the closed position.
    pub(crate) length: f32,
    /// The travel at the start.
    pub(crate) start: f32,
    /// Whether a spring drives the body back to travel 0.
    pub(crate) spring: bool,
}

/// The table, its walls, the effector and what else a task puts there.
pub(crate) struct Tabletop {
    physics: PhysicsWorld,
    ground: Body,
    effector: Body,
    effector_parts: Vec<Part>,
    speed: f32,
    tool: Option<Body>,
    carrying: bool,
    /// Bodies and their parts, in the order in which they are drawn.
    drawn: Vec<(Body, Vec<Part>)>,
}

impl Tabletop {
    /// A walled table with a disc as effector at `position`; a full action moves it by `speed`
    /// world units a step, along each axis.
    pub(crate) fn new(position: Vector, speed: f32) -> Self {
        let parts = vec![disc(EFFECTOR_RADIUS, palette::EFFECTOR)];
        Self::with_effector(position, speed, parts)
    }

    /// A walled table with an effector of these parts, which keeps its attitude.
    pub(crate) fn with_effector(position: Vector, speed: f32, parts: Vec<Part>) -> Self {
        let mut physics = PhysicsWorld::new();
        physics.gravity = Vector::ZERO;
        physics.integration_parameters.dt = STEP_SECONDS / SUBSTEPS as f32;
        physics.integration_parameters.num_solver_iterations = SOLVER_ITERATIONS;
        let ground = physics.insert_body(RigidBodyBuilder::fixed());
        let body = RigidBodyBuilder::dynamic()
            .translation(position)
            .lock_rotations()
            .can_sleep(false);
        let effector = physics.insert_body(body);
        for part in &parts {
            let collider = part
                .collider(EFFECTOR, Group::ALL)
                .density(EFFECTOR_DENSITY)
                .friction(0.2);
            physics.insert_collider(collider, Some(effector));
        }
        let mut tabletop = Self {
            physics,
            ground,
            effector,
            effector_parts: parts,
            speed,
            tool: None,
            carrying: false,
            drawn: Vec::new(),
        };
        tabletop.add_walls();
        tabletop
    }

    /// Walls around the table that let the centre of a disc effector reach every point of
    /// `[-1, 1]²`.
    fn add_walls(&mut self) {
        const THICKNESS: f32 = 0.5;
        const DISTANCE: f32 = 1.0 + EFFECTOR_RADIUS + THICKNESS;
        for side in [Vector::X, Vector::NEG_X, Vector::Y, Vector::NEG_Y] {
            let half = Vector::splat(DISTANCE + THICKNESS) - side.abs() * DISTANCE;
            let wall = block(half.x, half.y, palette::FIXTURE)
                .collider(FIXTURES, Group::ALL)
                .translation(side * DISTANCE);
            self.physics.insert_collider(wall, Some(self.ground));
        }
    }

    /// Something painted on the table, which nothing touches.
    pub(crate) fn add_marking(&mut self, position: Vector, part: Part) {
        let body = RigidBodyBuilder::fixed().translation(position);
        let body = self.physics.insert_body(body);
        self.drawn.push((body, vec![part]));
    }

    /// Something that does not move.
    pub(crate) fn add_fixture(&mut self, position: Vector, part: Part) {
        self.add_static(position, part, FIXTURES, Group::ALL);
    }

    /// A fence that stops the effector and lets everything else pass under it.
    pub(crate) fn add_fence(&mut self, position: Vector, part: Part) {
        self.add_static(position, part, FENCES, EFFECTOR);
    }

    fn add_static(&mut self, position: Vector, part: Part, group: Group, partners: Group) {
        let body = RigidBodyBuilder::fixed().translation(position);
        let (body, _) = self.physics.insert(body, part.collider(group, partners));
        self.drawn.push((body, vec![part]));
    }

    /// Something that slides and turns freely when it is pushed, and soon stops.
    pub(crate) fn add_puck(&mut self, position: Vector, part: Part) -> Body {
        let partners = FIXTURES | EFFECTOR | TOOLS;
        let body = RigidBodyBuilder::dynamic().angular_damping(TABLE_FRICTION);
        self.add_movable(body, position, vec![part], PUCKS, partners)
    }

    /// Something that the effector picks up by touching it, and keeps in the same attitude.
    pub(crate) fn add_tool(&mut self, position: Vector, parts: Vec<Part>) -> Body {
        let partners = EFFECTOR | PUCKS | SLIDERS;
        let body = RigidBodyBuilder::dynamic().lock_rotations();
        let tool = self.add_movable(body, position, parts, TOOLS, partners);
        self.tool = Some(tool);
        tool
    }

    /// Something on a rail that starts at `closed`.
    pub(crate) fn add_slider(&mut self, closed: Vector, parts: Vec<Part>, rail: Rail) -> Slider {
        let position = closed + rail.axis * rail.start;
        let builder = RigidBodyBuilder::dynamic().lock_rotations();
        let body = self.add_movable(builder, position, parts, SLIDERS, EFFECTOR | TOOLS);
        let mut joint = PrismaticJointBuilder::new(rail.axis)
            .local_anchor1(closed)
            .limits([0.0, rail.length]);
        if rail.spring {
            joint = joint.motor_position(0.0, 400.0, 20.0);
        }
        self.physics.insert_impulse_joint(self.ground, body, joint);
        Slider {
            body,
            closed,
            axis: rail.axis,
        }
    }

    fn add_movable(
        &mut self,
        body: RigidBodyBuilder,
        position: Vector,
        parts: Vec<Part>,
        group: Group,
        partners: Group,
    ) -> Body {
        let body = body
            .translation(position)
            .linear_damping(TABLE_FRICTION)
            .can_sleep(false);
        let body = self.physics.insert_body(body);
        for part in &parts {
            self.physics
                .insert_collider(part.collider(group, partners), Some(body));
        }
        self.drawn.push((body, parts));
        body
    }

    /// Moves the effector for one step: velocity `speed · action` per step, stopped by contacts.
    pub(crate) fn drive(&mut self, action: [f32; 2]) {
        let velocity = Vector::from(action) * (self.speed / STEP_SECONDS);
        for _ in 0..SUBSTEPS {
            self.set_velocity(self.effector, velocity);
            if let (Some(tool), true) = (self.tool, self.carrying) {
                self.set_velocity(tool, velocity);
            }
            self.physics.step();
            self.pick_up_what_is_touched();
        }
    }

    /// Puts the effector, with what it carries, somewhere on the table.
    pub(crate) fn put_effector(&mut self, position: Vector) {
        let moved = position.clamp(Vector::NEG_ONE, Vector::ONE) - self.effector();
        let carried = self.tool.filter(|_| self.carrying);
        for body in [Some(self.effector), carried].into_iter().flatten() {
            let position = self.position(body) + moved;
            self.physics.bodies[body].set_translation(position, true);
        }
    }

    fn set_velocity(&mut self, body: Body, velocity: Vector) {
        self.physics.bodies[body].set_linvel(velocity, true);
    }

    fn pick_up_what_is_touched(&mut self) {
        let Some(tool) = self
            .tool
            .filter(|&tool| !self.carrying && self.touches(tool))
        else {
            return;
        };
        let grip = FixedJointBuilder::new()
            .local_anchor1(self.position(tool) - self.effector())
            .contacts_enabled(false);
        self.physics.insert_impulse_joint(self.effector, tool, grip);
        self.carrying = true;
    }

    fn touches(&self, body: Body) -> bool {
        let in_contact = |first, second| {
            self.physics
                .contact_pair(first, second)
                .is_some_and(|pair| pair.has_any_active_contact())
        };
        self.colliders(self.effector).iter().any(|&part| {
            let others = self.colliders(body);
            others.iter().any(|&other| in_contact(part, other))
        })
    }

    fn colliders(&self, body: Body) -> &[ColliderHandle] {
        self.physics.bodies[body].colliders()
    }

    /// Whether the tool has been picked up.
    pub(crate) fn carrying(&self) -> bool {
        self.carrying
    }

    /// The centre of the effector.
    pub(crate) fn effector(&self) -> Vector {
        self.position(self.effector)
    }

    /// The centre of a body.
    pub(crate) fn position(&self, body: Body) -> Vector {
        self.physics.bodies[body].translation()
    }

    /// How far a slider is from its closed position.
    pub(crate) fn travel(&self, slider: &Slider) -> f32 {
        (self.position(slider.body) - slider.closed).dot(slider.axis)
    }

    /// The centre of a slider.
    pub(crate) fn slider_position(&self, slider: &Slider) -> Vector {
        self.position(slider.body)
    }

    /// The action that moves the effector straight to `target`: as fast as it goes, and near the
    /// target half of the way that is left, so that it settles even where actions are repeated.
    pub(crate) fn towards(&self, target: Vector) -> [f32; 2] {
        let way = 0.5 * (target - self.effector()) / self.speed;
        (way / way.abs().max_element().max(1.0)).into()
    }

    /// Draws everything, the effector last.
    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        for (body, parts) in &self.drawn {
            for part in parts {
                part.draw(self.position(*body), canvas);
            }
        }
        for part in &self.effector_parts {
            part.draw(self.effector(), canvas);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEED: f32 = 0.1;

    fn drive(table: &mut Tabletop, action: [f32; 2], steps: usize) {
        for _ in 0..steps {
            table.drive(action);
        }
    }

    #[test]
    fn a_free_step_moves_by_the_speed() {
        let mut table = Tabletop::new(Vector::ZERO, SPEED);
        table.drive([1.0, -0.5]);
        assert!(table.effector().distance(Vector::new(0.1, -0.05)) < 1e-3);
    }

    #[test]
    fn the_walls_hold_the_effector_on_the_table() {
        for action in [[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]] {
            let mut table = Tabletop::new(Vector::ZERO, SPEED);
            drive(&mut table, action, 40);
            let reached = table.effector().abs();
            assert!(reached.distance(Vector::ONE) < 0.02, "{reached}");
        }
    }

    #[test]
    fn a_puck_is_pushed_and_stops() {
        let mut table = Tabletop::new(Vector::new(-0.5, 0.0), SPEED);
        let puck = table.add_puck(Vector::ZERO, disc(0.1, palette::OBJECT));
        drive(&mut table, [1.0, 0.0], 5);
        let pushed = table.position(puck);
        assert!(pushed.x > 0.2 && pushed.y.abs() < 1e-3, "{pushed}");
        drive(&mut table, [0.0, 0.0], 3);
        let rest = table.position(puck);
        drive(&mut table, [0.0, 0.0], 5);
        assert!(table.position(puck).distance(rest) < 1e-3);
    }

    #[test]
    fn a_slider_keeps_to_its_rail_and_its_spring_brings_it_back() {
        for spring in [false, true] {
            let mut table = Tabletop::new(Vector::new(-0.5, 0.05), SPEED);
            let rail = Rail {
                axis: Vector::X,
                length: 0.2,
                start: 0.0,
                spring,
            };
            let parts = vec![block(0.1, 0.1, palette::OBJECT)];
            let slider = table.add_slider(Vector::ZERO, parts, rail);
            drive(&mut table, [1.0, 0.0], 10);
            let pressed = table.travel(&slider);
            assert!((pressed - 0.2).abs() < 0.02, "{pressed}");
            assert!(table.effector().x < 0.0, "{}", table.effector());
            assert!(table.slider_position(&slider).y.abs() < 1e-3);
            drive(&mut table, [-1.0, 0.0], 10);
            let (expected, left) = (if spring { 0.0 } else { 0.2 }, table.travel(&slider));
            assert!((left - expected).abs() < 0.02, "{left}");
        }
    }

    #[test]
    fn a_touched_tool_is_carried_under_the_fence_that_stops_the_effector() {
        let mut table = Tabletop::new(Vector::new(-0.8, 0.0), SPEED);
        table.add_fence(Vector::new(0.3, 0.0), block(0.02, 1.2, palette::FENCE));
        let tool = table.add_tool(Vector::ZERO, vec![block(0.2, 0.05, palette::TOOL)]);
        drive(&mut table, [1.0, 0.0], 2);
        assert!(!table.carrying());
        drive(&mut table, [1.0, 0.0], 20);
        assert!(table.carrying());
        let reach = table.position(tool) - table.effector();
        assert!(table.effector().x < 0.3 - EFFECTOR_RADIUS);
        assert!(table.position(tool).x > 0.3);
        drive(&mut table, [-0.5, 1.0], 5);
        let kept = table.position(tool) - table.effector();
        assert!(kept.distance(reach) < 0.01, "{kept} {reach}");
    }
}
